"""A library's list of songs with a person's verdicts applied; audio files are neither moved nor changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tumbao.analysis.curate.table import KEEP, REJECT, Verdict
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import LIBRARY_FILE, is_synthetic
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.song_list import COLUMNS
from tumbao.components.ingest.tables import write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key

_FIELDS = {"file_name": "path", "start": "start_seconds", "end": "end_seconds"}


@dataclasses.dataclass(frozen=True)
class Corrections:
    """Result of applying verdicts to a library.

    `entries` are those that are left, in the library's order. `changed` holds song, former genre and new genre,
    `rejected` song and genre, and `undecided` the songs in the table without a verdict, which stay as they are.
    """

    entries: tuple[Entry, ...]
    changed: tuple[tuple[str, str, str], ...]
    rejected: tuple[tuple[str, str], ...]
    undecided: tuple[str, ...]


def correct(entries: Sequence[Entry], verdicts: Mapping[str, Verdict]) -> Corrections:
    """Apply verdicts by song; all other entries stay as they are.

    Raises UserError if a song is not in the library, or has another genre there than in the table.
    """
    genres = {entry.song: entry.genre for entry in entries}
    for song, verdict in verdicts.items():
        if song not in genres or genre_key(genres[song]) != genre_key(verdict.given):
            there = f"the genre {genres[song]!r}" if song in genres else "no such song"
            raise UserError(
                f"Line {verdict.line} of the table: expected {song!r} with the genre {verdict.given!r} in the library. "
                f"Received: {there}. Verdicts belong to the library, --layout and --genres that the table was made of; "
                "if the library has changed since, run `tumbao curate` on it again."
            )
    new = {song: one.says for song, one in verdicts.items() if one.says not in ("", KEEP, REJECT, genres[song])}
    out = {song for song, one in verdicts.items() if one.says == REJECT}
    return Corrections(
        entries=tuple(
            dataclasses.replace(entry, genre=new[entry.song], subgenre="") if entry.song in new else entry
            for entry in entries
            if entry.song not in out
        ),
        changed=tuple((song, genres[song], genre) for song, genre in new.items()),
        rejected=tuple((song, genres[song]) for song in verdicts if song in out),
        undecided=tuple(song for song, one in verdicts.items() if not one.says),
    )


def write_list(entries: Sequence[Entry], file: Path, *, synthetic: bool) -> None:
    """Write songs to a new CSV file that `song_list.read_manifest` reads.

    Paths are absolute, because the songs may be in another folder. Whether a list is synthetic is stated in the
    `LIBRARY_FILE` beside it, which is written if needed. Raises UserError if the file exists or does not end in .csv,
    or if an existing `LIBRARY_FILE` says otherwise.
    """
    if file.suffix.lower() != ".csv" or file.exists():
        what = "which exists; delete it, or choose another name" if file.exists() else "which has another ending"
        raise UserError(f"Expected the name of a new .csv to write the corrected list to. Received: {file}, {what}.")
    beside = file.parent / LIBRARY_FILE
    if is_synthetic(file.parent) != synthetic:
        if beside.exists() or not synthetic:
            raise UserError(
                f"Expected a folder for {file.name} whose {LIBRARY_FILE} fits the library, which is "
                f"{'' if synthetic else 'not '}synthetic. Received: {beside}, which says otherwise of all lists beside "
                "it. Choose another folder."
            )
        write_whole(beside, f"{json.dumps({'synthetic': True})}\n".encode())
    extras = dict.fromkeys(name for entry in entries for name in entry.extras)
    rows = (
        [*(getattr(entry, _FIELDS.get(name, name)) for name in COLUMNS), *map(entry.extras.get, extras)]
        for entry in entries
    )
    write_whole(file, write_csv((*COLUMNS, *extras), rows).encode())
