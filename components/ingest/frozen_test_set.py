"""Test songs that stay while a library grows, so that the models of all runs in a workspace are asked the same.

They are kept beside the manifests and found again by content, or by name where other tags changed the content. A genre
that has none is given some, once: of the songs that no earlier run learned from, as far as the manifests tell, or of
all where there are no such songs; these are marked.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.manifest import Row, table_rows
from tumbao.components.ingest.paths import Place
from tumbao.components.ingest.splits import Assignment, Songs, fixed_split
from tumbao.components.ingest.tables import read_csv, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import genre_key

KEPT_FILE = "fixed/test.csv"
"""The table of test songs, beside the manifests: a manifest with the column `LEARNED`."""

LEARNED = "learned"
"""Column of that table: `yes` where earlier runs had learned from the song when it was chosen."""

Content = tuple[str, str, str]
"""What is heard, as a manifest tells it: the file's hash, begin and end."""


@dataclasses.dataclass(frozen=True)
class FixedSplit:
    """A split, and what is to be kept of it beside its test songs.

    Parameters
    ----------
    assignment : Assignment
        Split → song → indexes of its fragments.
    learned : frozenset of str
        Test songs that earlier runs had learned from when they were chosen.
    gone : tuple of Row
        Test songs that the library does not have, this time.
    """

    assignment: Assignment
    learned: frozenset[str]
    gone: tuple[Row, ...]


def draw(songs: Songs, contents: Mapping[Content, str], catalogs: Place, seed: int) -> FixedSplit:
    """Split by song, with the test songs that are kept.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    contents : mapping of Content to str
        What is heard → its song; several for a song of several parts.
    catalogs : Place
        Where the manifests of all runs lie.
    seed : int
        Changes who goes where.

    Returns
    -------
    split : FixedSplit
        Nothing is written of it, see `keep`.

    Raises
    ------
    ValueError
        If a genre has too few songs, or its test songs are gone and earlier runs learned from all others.
    """
    names = {song for counts in songs.values() for song in counts}
    former = functools.cache(functools.partial(_learned, catalogs, contents))  # many tables: read only if it has to be
    tests: dict[str, str] = {}
    gone: list[Row] = []
    for row in kept(catalogs):
        song = contents.get(_content(row), "")
        if not song and row["song"] in names and row["song"] not in former()[0]:
            song = row["song"]
        if song:
            tests[song] = row.get(LEARNED, "")
        else:
            gone.append(row)
    without = {genre: counts.keys() for genre, counts in songs.items() if not counts.keys() & tests.keys()}
    learned = set.union(*former()) if without else set()
    lost = {genre_key(row["genre"]) for row in gone}
    if stuck := [genre for genre, members in without.items() if genre_key(genre) in lost and members <= learned]:
        raise UserError(
            f"Expected the test songs of {', '.join(stuck)} in the library, or others that no earlier run learned "
            f"from. Received neither. Bring them back, add new songs, or delete {catalogs / KEPT_FILE}: test songs are "
            "chosen anew then, and the model that stands may be asked about songs that it knows."
        )
    assignment = fixed_split(songs, tests, seed, learned)
    marked = frozenset(
        song for song in assignment["test"] if tests.get(song) or (song in learned and song not in tests)
    )
    return FixedSplit(assignment, marked, tuple(gone))


def kept(catalogs: Place) -> list[Row]:
    """Read which test songs are kept.

    Parameters
    ----------
    catalogs : Place
        Where the manifests of all runs lie; it need not exist.

    Returns
    -------
    rows : list of Row
        One for each song or part of one.
    """
    file = catalogs / KEPT_FILE
    return table_rows(str(file)) if file.exists() else []


def keep(split: FixedSplit, manifest: str, catalogs: Place) -> None:
    """Keep the test songs of a split, and those that are gone, for later splits.

    Parameters
    ----------
    split : FixedSplit
        As drawn.
    manifest : str
        The manifest of its test songs.
    catalogs : Place
        Where the manifests of all runs lie.
    """
    now = [{**row, LEARNED: "yes" if row["song"] in split.learned else ""} for row in read_csv(manifest)]
    before = kept(catalogs)
    rows = [*split.gone, *now]
    if rows == before:
        return
    columns = dict.fromkeys(name for row in (*now, *rows) for name in row)
    write_whole(catalogs / KEPT_FILE, write_csv(columns, rows).encode())
    if sentence := newly_chosen(before, rows):
        logging.warning(sentence)


def newly_chosen(before: Sequence[Row], now: Sequence[Row]) -> str:
    """Say which test songs were chosen between two looks at what is kept.

    Parameters
    ----------
    before, now : sequence of Row
        See `kept`.

    Returns
    -------
    sentence : str
        How many of each genre, and how many of them earlier runs learned from; empty where none were chosen.
    """
    names, contents = {row["song"] for row in before}, {_content(row) for row in before}
    new = {row["song"]: row for row in now if row["song"] not in names and _content(row) not in contents}
    if not new:
        return ""
    counts = collections.Counter(row["genre"] for row in new.values())
    chosen = ", ".join(f"{count} of {genre}" for genre, count in sorted(counts.items()))
    sentence = f"Test songs chosen, which stay from now on: {chosen}."
    if learned := sum(row.get(LEARNED) == "yes" for row in new.values()):
        sentence += f" Earlier runs learned from {learned} of them: their models look better than they are."
    return sentence


def _content(row: Row) -> Content:
    return row["sha256"], row["start"], row["end"]


def _learned(catalogs: Place, contents: Mapping[Content, str]) -> tuple[set[str], set[str]]:
    """Tell which songs earlier runs were given for training or validation: by content, and by name."""
    names: set[str] = set()
    songs: set[str] = set()
    for split in ("train", "val"):
        for table in catalogs.glob(f"*/{split}.csv"):
            for row in table_rows(str(table)):
                names.add(row["song"])
                songs.add(contents.get(_content(row), ""))
    return songs, names
