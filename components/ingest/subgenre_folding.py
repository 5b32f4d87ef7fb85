"""Fold sub-genres that have too few songs into their genre.

Songs of a folded sub-genre go to the genre's own leaf, which also holds the songs without a sub-genre. If that leaf
then has songs, but too few, the smallest remaining sub-genre joins it, until it has enough or the genre is one leaf. A
sub-genre that is its genre's only leaf is renamed to the genre. No song is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tumbao.schema.hierarchy import SEPARATOR


@dataclasses.dataclass(frozen=True)
class Folded:
    """A sub-genre that is not a leaf of the model, with the number of its songs and the genre that they count for.

    `because` is the end of the sentence if the reason is not that there are too few songs.
    """

    leaf: str
    songs: int
    into: str
    because: str = ""

    @property
    def sentence(self) -> str:
        """What was done, as a sentence."""
        songs = f"{self.songs} song{'' if self.songs == 1 else 's'}"
        return f"{self.leaf}: {songs}, folded into {self.into}{self.because}"


def fold(genre: str, songs: Mapping[str, int], min_songs: int) -> tuple[dict[str, str], tuple[Folded, ...]]:
    """Choose the leaves of one genre; a leaf beside others has at least `min_songs`.

    `songs` maps each sub-genre to its number of songs, and the empty name to the songs without a sub-genre. Returns
    sub-genre → leaf, and the folded sub-genres in their order. With `min_songs` of 10, 9 songs of salsa, 12 of
    romantica and 4 of dura become the leaves salsa (13) and salsa/romantica (12).
    """
    left = sorted((name for name in songs if name), key=lambda name: (songs[name], name))
    own = songs.get("", 0)
    folded: list[Folded] = []
    while left and (songs[left[0]] < min_songs or 0 < own < min_songs or (not own and len(left) == 1)):
        name = left.pop(0)
        because = ""
        if songs[name] >= min_songs:
            because = f", which had only {own} beside it" if own else ": there is no other leaf"
        folded.append(Folded(f"{genre}{SEPARATOR}{name}", songs[name], genre, because))
        own += songs[name]
    leaf_of = {name: f"{genre}{SEPARATOR}{name}" if name in left else genre for name in songs}
    return leaf_of, tuple(folded)
