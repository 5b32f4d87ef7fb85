"""The table of songs in doubt, to which a person adds verdicts."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from tumbao.analysis.curate.label_issues import Suspect
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.tables import read_table, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genres import find_genre, genre_key

COLUMNS = ("song", "file", "given", "suggested", "score", "disagreeing", "fragments", "looks", "verdict")
"""Columns of the table; only `song`, `given` and `verdict` are read."""

KEEP, REJECT = "keep", "reject"
"""Verdicts other than a genre: the label is right; the song does not belong in the library."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A person's decision about a song.

    `line` is its line in the table, from 1, and `given` the genre that the song had. `says` is a genre, `KEEP`,
    `REJECT`, or empty if undecided.
    """

    line: int
    given: str
    says: str


def write_suspects(file: Path, suspects: Sequence[Suspect]) -> None:
    """Write a row for each song, with an empty column for the verdict."""
    rows: list[tuple[object, ...]] = []
    for one in suspects:
        fragments = one.disagreeing, len(one.rows)
        rows.append((one.song, one.file, one.given, one.suggested, f"{one.score:.4f}", *fragments, one.looks, ""))
    write_whole(file, write_csv(COLUMNS, rows).encode())


def read_verdicts(file: Path, genres: Sequence[str]) -> dict[str, Verdict]:
    """Read the table that `write_suspects` wrote, with verdicts added; the result is by song.

    Other columns and rows may be missing, and rows of other songs may be added. Raises UserError if a column is missing
    or rows are invalid; the message names all of them by line.
    """
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
        song, says = row.get("song", ""), row.get("verdict", "").strip()
        verdict = find_genre(says, known)
        if song in verdicts:
            faults[line] = f"expected each song once. Received: {song} in line {verdicts[song].line}, too"
        elif says and not verdict:
            near = difflib.get_close_matches(genre_key(says), known, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]}?" if near else " A genre that is new here is named with --genres."
            faults[line] = (
                f"expected a verdict out of {', '.join(genres)}, {KEEP}, {REJECT}, or nothing. "
                f"Received: {says!r}.{guess}"
            )
        else:
            verdicts[song] = Verdict(line, row.get("given", ""), verdict)
    if faults:
        lines = "".join(f"\n  line {line}: {fault}" for line, fault in sorted(faults.items()))
        raise UserError(f"Expected rows that can be used in {file}; nothing is applied until they are mended.{lines}")
    return verdicts
