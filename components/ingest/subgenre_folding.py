"""Which sub-genres have songs enough to be told apart, and what becomes of the others.

A sub-genre with too few songs is folded up: its songs go to the genre's own leaf, where songs of which no sub-genre is
known are as well. If that leaf in its turn has songs, but too few, the smallest sub-genre that is left joins it, until
it has enough or the genre is one leaf. A sub-genre that is its genre's only leaf is the genre: there is nothing to tell
it from. No song is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tumbao.schema.hierarchy import SEPARATOR


@dataclasses.dataclass(frozen=True)
class Folded:
    """A sub-genre that is none of the model's leaves.

    Parameters
    ----------
    leaf : str
        The leaf that it would have been.
    songs : int
        How many songs it has.
    into : str
        The genre that they count for.
    because : str
        Why, where it is not that they are too few: the end of the sentence.
    """

    leaf: str
    songs: int
    into: str
    because: str = ""

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        songs = f"{self.songs} song{'' if self.songs == 1 else 's'}"
        return f"{self.leaf}: {songs}, folded into {self.into}{self.because}"


def fold(genre: str, songs: Mapping[str, int], min_songs: int) -> tuple[dict[str, str], tuple[Folded, ...]]:
    """Choose the leaves of one genre.

    Parameters
    ----------
    genre : str
        Its name.
    songs : mapping of str to int
        Sub-genre → number of songs; under the empty name, songs without a sub-genre.
    min_songs : int
        A leaf beside others has at least so many songs.

    Returns
    -------
    leaf_of : dict of str to str
        Sub-genre → leaf.
    folded : tuple of Folded
        What was folded up, in the order in which it was.

    Examples
    --------
    >>> leaf_of, folded = fold("salsa", {"": 9, "romantica": 12, "dura": 4}, min_songs=10)
    >>> leaf_of
    {'': 'salsa', 'romantica': 'salsa/romantica', 'dura': 'salsa'}
    >>> folded[0].sentence
    'salsa/dura: 4 songs, folded into salsa'
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
