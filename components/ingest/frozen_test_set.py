"""Test songs that stay the same while a library changes, so that all models of a workspace have the same test songs.

The table of test songs is stored beside the manifests. Its songs are found again by content, or by name where edited
tags changed the content. Test songs are chosen once for each genre that has none: from the songs that are not in the
training data of earlier runs, according to the manifests, or from all songs if there are no others; these are marked.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.splits import Assignment, Songs, frozen_split
from tumbao.components.ingest.tables import Row, read_csv, table_rows, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key

TEST_SONGS_FILE = "fixed/test.csv"
"""Path of the table of test songs, relative to the manifests: a manifest with the additional column `LEARNED`."""

LEARNED = "learned"
"""Column of that table: `yes` for songs that were in earlier training data when they were chosen."""

Content = tuple[str, str, str]
"""Identifies a song's sound in a manifest: the file's hash, start and end."""


@dataclasses.dataclass(frozen=True)
class FrozenSplit:
    """A split with frozen test songs.

    `learned` holds test songs that were in earlier training data when they were chosen, `missing` test songs that are
    currently not in the library.
    """

    assignment: Assignment
    learned: frozenset[str]
    missing: tuple[Row, ...]


def split_with_test_songs(songs: Songs, contents: Mapping[Content, str], catalogs: AnyPath, seed: int) -> FrozenSplit:
    """Split songs so that the saved test songs are in test; write nothing, see `save_test_songs`.

    `contents` maps content → song (several for a song of several parts). `catalogs` is the folder of all runs'
    manifests.
    """
    names = {song for counts in songs.values() for song in counts}
    learned_songs = functools.cache(functools.partial(_learned, catalogs, contents))  # reads many tables
    tests: dict[str, str] = {}
    missing: list[Row] = []
    for row in read_test_songs(catalogs):
        song = contents.get(_content(row), "")
        if not song and row["song"] in names and row["song"] not in learned_songs()[0]:
            song = row["song"]
        if song:
            tests[song] = row.get(LEARNED, "")
        else:
            missing.append(row)
    without = {genre: counts.keys() for genre, counts in songs.items() if not counts.keys() & tests.keys()}
    learned = set.union(*learned_songs()) if without else set()
    lost = {genre_key(row["genre"]) for row in missing}
    if stuck := [genre for genre, members in without.items() if genre_key(genre) in lost and members <= learned]:
        raise UserError(
            f"Expected the test songs of {', '.join(stuck)} in the library, or songs that are in no earlier training "
            "data. Received: neither. Restore the test songs, add new songs, or delete "
            f"{catalogs / TEST_SONGS_FILE}: new test songs are then chosen, and the served model may have been trained "
            "on some of them."
        )
    assignment = frozen_split(songs, tests, seed, learned)
    marked = frozenset(
        song for song in assignment["test"] if tests.get(song) or (song in learned and song not in tests)
    )
    return FrozenSplit(assignment, marked, tuple(missing))


def read_test_songs(catalogs: AnyPath) -> list[Row]:
    """Read the table of test songs, one row for each song or part of a song; empty if there is no table."""
    file = catalogs / TEST_SONGS_FILE
    return table_rows(str(file)) if file.exists() else []


def save_test_songs(split: FrozenSplit, manifest: str, catalogs: AnyPath) -> None:
    """Save the test songs of a split, and the missing ones, for later splits."""
    current = [{**row, LEARNED: "yes" if row["song"] in split.learned else ""} for row in read_csv(manifest)]
    before = read_test_songs(catalogs)
    rows = [*split.missing, *current]
    if rows == before:
        return
    columns = dict.fromkeys(name for row in (*current, *rows) for name in row)
    write_whole(catalogs / TEST_SONGS_FILE, write_csv(columns, rows).encode())
    if message := newly_chosen(before, rows):
        logging.warning(message)


def newly_chosen(before: Sequence[Row], after: Sequence[Row]) -> str:
    """Count in a sentence the test songs chosen between two states of the table; empty if there are none."""
    names, contents = {row["song"] for row in before}, {_content(row) for row in before}
    new = {row["song"]: row for row in after if row["song"] not in names and _content(row) not in contents}
    if not new:
        return ""
    counts = collections.Counter(row["genre"] for row in new.values())
    chosen = ", ".join(f"{count} of {genre}" for genre, count in sorted(counts.items()))
    message = f"New test songs, which later runs keep: {chosen}."
    if learned := sum(row.get(LEARNED) == "yes" for row in new.values()):
        message += f" Earlier models were trained on {learned} of them: their test figures are too optimistic."
    return message


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
