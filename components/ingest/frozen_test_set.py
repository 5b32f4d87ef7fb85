"""Test songs that stay the same while a library grows, so that all models of a workspace are tested on the same songs.

The table of test songs is kept beside the manifests. Its songs are found again by content, or by name where edited
tags changed the content. Test songs are chosen once for each genre that has none: from the songs that no earlier run
was trained on, according to the manifests, or from all songs if there are no such songs; these are marked.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.manifest import Row, table_rows
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.splits import Assignment, Songs, fixed_split
from tumbao.components.ingest.tables import read_csv, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import genre_key

KEPT_FILE = "fixed/test.csv"
"""Path of the table of test songs, relative to the manifests: a manifest with the additional column `LEARNED`."""

LEARNED = "learned"
"""Column of that table: `yes` for songs that earlier runs had been trained on when they were chosen."""

Content = tuple[str, str, str]
"""Identifies a song's sound in a manifest: the file's hash, start and end."""


@dataclasses.dataclass(frozen=True)
class FixedSplit:
    """A split with frozen test songs.

    `assignment` maps split → song → indexes of its fragments. `learned` holds test songs that earlier runs had been
    trained on when they were chosen, `gone` test songs that are currently missing from the library.
    """

    assignment: Assignment
    learned: frozenset[str]
    gone: tuple[Row, ...]


def draw(songs: Songs, contents: Mapping[Content, str], catalogs: AnyPath, seed: int) -> FixedSplit:
    """Split the songs, with the test songs that are kept; write nothing, see `keep`.

    `songs` maps genre → song → number of fragments, `contents` maps content → song (several for a song of several
    parts). `catalogs` is the folder of all runs' manifests. Raises ValueError if a genre has too few songs, or if its
    test songs are missing and earlier runs were trained on all others.
    """
    names = {song for counts in songs.values() for song in counts}
    former = functools.cache(functools.partial(_learned, catalogs, contents))  # reads many tables: only if needed
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


def kept(catalogs: AnyPath) -> list[Row]:
    """Read the rows of the kept test songs, one for each song or part of a song; none if the folder does not exist."""
    file = catalogs / KEPT_FILE
    return table_rows(str(file)) if file.exists() else []


def keep(split: FixedSplit, manifest: str, catalogs: AnyPath) -> None:
    """Save the test songs of a split, and the missing ones, for later splits.

    `manifest` is the test split's manifest, `catalogs` the folder of all runs' manifests.
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
    """Return a sentence that counts the test songs chosen between two states of `kept`; empty if there are none."""
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


def _learned(catalogs: AnyPath, contents: Mapping[Content, str]) -> tuple[set[str], set[str]]:
    """Return the songs in earlier runs' training and validation manifests, found by content and by name."""
    names: set[str] = set()
    songs: set[str] = set()
    for split in ("train", "val"):
        for table in catalogs.glob(f"*/{split}.csv"):
            for row in table_rows(str(table)):
                names.add(row["song"])
                songs.add(contents.get(_content(row), ""))
    return songs, names
