"""Verdicts of a person on the songs in doubt: their table, and a library's list of songs with them applied.

Audio files are neither moved nor changed.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tumbao.analysis.curate.label_issues import SongIssue
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import LIBRARY_FILE, is_synthetic
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.song_list import COLUMNS as LIST_COLUMNS
from tumbao.components.ingest.tables import read_table, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genres import find_genre, genre_key

COLUMNS = ("song", "file", "given", "suggested", "score", "disagreeing", "fragments", "looks", "duplicates", "verdict")
KEEP, REJECT = "keep", "reject"  # verdicts other than a genre

_FIELDS = {"file_name": "path", "start": "start_seconds", "end": "end_seconds"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A person's decision: a genre, `KEEP`, `REJECT`, or empty; `line` of the table, and the genre given so far."""

    line: int
    given: str
    decision: str


def write_issues(file: Path, issues: Sequence[SongIssue]) -> None:
    """Write a row for each song, with an empty column for the verdict."""
    rows: list[tuple[object, ...]] = []
    for one in issues:
        about = one.song, one.file, one.given, one.suggested, f"{one.score:.4f}", one.disagreeing, len(one.rows)
        duplicates = "; ".join(f"{copy.duplicate} ({copy.duplicate_genre})" for copy in one.conflicts)
        rows.append((*about, one.status, duplicates, ""))
    write_whole(file, write_csv(COLUMNS, rows).encode())


def read_verdicts(file: Path, genres: Sequence[str]) -> dict[str, Verdict]:
    """Read verdicts by song from the table that `write_issues` wrote; UserError names all invalid rows by line."""
    table = read_table(file, ("song", "given", "verdict"))
    if missing := [name for name in ("song", "given", "verdict") if name not in table.columns]:
        raise UserError(
            f"Expected the columns song, given and verdict in {file}, as `tumbao curate` writes them. "
            f"Received no {', '.join(missing)}, but {', '.join(table.columns.values())}."
        )
    faults = dict(table.faults)
    verdicts: dict[str, Verdict] = {}
    known = (*genres, KEEP, REJECT)
    for line, row in table.rows:
        song, text = row.get("song", ""), row.get("verdict", "").strip()
        verdict = find_genre(text, known)
        if song in verdicts:
            faults[line] = f"expected each song once. Received: {song} in line {verdicts[song].line}, too"
        elif text and not verdict:
            near = difflib.get_close_matches(genre_key(text), known, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]}?" if near else " Add a new genre with --genres."
            faults[line] = (
                f"expected a verdict out of {', '.join(genres)}, {KEEP}, {REJECT}, or nothing. "
                f"Received: {text!r}.{guess}"
            )
        else:
            verdicts[song] = Verdict(line, row.get("given", ""), verdict)
    if faults:
        lines = "".join(f"\n  line {line}: {fault}" for line, fault in sorted(faults.items()))
        raise UserError(f"Cannot read these rows of {file}; no verdict is applied.{lines}")
    return verdicts


@dataclasses.dataclass(frozen=True)
class Corrections:
    """Result of applying verdicts to a library."""

    entries: tuple[Entry, ...]  # those that are left, in the library's order
    changed: tuple[tuple[str, str, str], ...]  # song, former genre and new genre
    rejected: tuple[tuple[str, str], ...]  # song and genre
    undecided: tuple[str, ...]  # songs in the table without a verdict, which stay as they are


def correct(entries: Sequence[Entry], verdicts: Mapping[str, Verdict]) -> Corrections:
    """Apply verdicts by song; UserError if a song is not in the library, or has another genre than in the table."""
    genres = {entry.song: entry.genre for entry in entries}
    for song, verdict in verdicts.items():
        if song not in genres or genre_key(genres[song]) != genre_key(verdict.given):
            found = f"the genre {genres[song]!r}" if song in genres else "no such song"
            raise UserError(
                f"Line {verdict.line} of the table: expected {song!r} with the genre {verdict.given!r} in the library. "
                f"Received: {found}. Pass the same library, --layout and --genres as for the table; "
                "if the library has changed since, run `tumbao curate` on it again."
            )
    new = {song: one.decision for song, one in verdicts.items() if one.decision not in ("", KEEP, REJECT, genres[song])}
    dropped = {song for song, one in verdicts.items() if one.decision == REJECT}
    return Corrections(
        entries=tuple(
            dataclasses.replace(entry, genre=new[entry.song], subgenre="") if entry.song in new else entry
            for entry in entries
            if entry.song not in dropped
        ),
        changed=tuple((song, genres[song], genre) for song, genre in new.items()),
        rejected=tuple((song, genres[song]) for song in verdicts if song in dropped),
        undecided=tuple(song for song, one in verdicts.items() if not one.decision),
    )


def write_list(entries: Sequence[Entry], file: Path, *, synthetic: bool) -> None:
    """Write songs to a new CSV file, and to the `LIBRARY_FILE` beside it that they are synthetic.

    Raises UserError if the file exists or does not end in .csv, or if an existing `LIBRARY_FILE` declares the opposite.
    """
    if file.suffix.lower() != ".csv" or file.exists():
        fault = "which exists; delete it, or choose another name" if file.exists() else "which has another extension"
        raise UserError(f"Expected the name of a new .csv file for the corrected list. Received: {file}, {fault}.")
    beside = file.parent / LIBRARY_FILE
    if is_synthetic(file.parent) != synthetic:
        if beside.exists() or not synthetic:
            raise UserError(
                f"Expected a folder for {file.name} whose {LIBRARY_FILE} fits the library, which is "
                f"{'' if synthetic else 'not '}synthetic. Received: {beside}, which declares the opposite for all "
                "lists in the folder. Choose another folder."
            )
        write_whole(beside, f"{json.dumps({'synthetic': True})}\n".encode())
    extras = dict.fromkeys(name for entry in entries for name in entry.extras)
    rows = (
        [*(getattr(entry, _FIELDS.get(name, name)) for name in LIST_COLUMNS), *map(entry.extras.get, extras)]
        for entry in entries
    )
    write_whole(file, write_csv((*LIST_COLUMNS, *extras), rows).encode())
