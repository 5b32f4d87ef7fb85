"""The table that a person judges by: written with the suspicious songs, read with a verdict on each."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from tumbao.analysis.curate.label_issues import Suspect
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.tables import read_table, write_csv
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import find_genre, genre_key

COLUMNS = ("song", "file", "given", "suggested", "score", "disagreeing", "fragments", "looks", "verdict")
"""Columns of the table; only `song`, `given` and `verdict` are read again."""

KEEP, REJECT = "keep", "reject"
"""Verdicts beside the genres: the label is right; the song does not belong into the library."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a person decided.

    Parameters
    ----------
    line : int
        Where it stands in the table, from 1.
    given : str
        The genre that the song had.
    says : str
        A genre, `KEEP`, `REJECT`, or empty where nothing is decided.
    """

    line: int
    given: str
    says: str


def write_suspects(file: Path, suspects: Sequence[Suspect]) -> None:
    """Write the table.

    Parameters
    ----------
    file : Path
        Where to.
    suspects : sequence of Suspect
        The songs, a row each; the last column is left empty.
    """
    rows: list[tuple[object, ...]] = []
    for one in suspects:
        fragments = one.disagreeing, len(one.rows)
        rows.append((one.song, one.file, one.given, one.suggested, f"{one.score:.4f}", *fragments, one.looks, ""))
    write_whole(file, write_csv(COLUMNS, rows).encode())


def read_verdicts(file: Path, genres: Sequence[str]) -> dict[str, Verdict]:
    """Read the table.

    Parameters
    ----------
    file : Path
        As `write_suspects` left it, with verdicts; columns and rows may be missing, rows of other songs added.
    genres : sequence of str
        What verdicts may name.

    Returns
    -------
    verdicts : dict of str to Verdict
        By song.

    Raises
    ------
    ValueError
        If a column is missing, a song stands there twice, or a verdict is none; the message names the line.
    """
    table = read_table(file, ("song", "given", "verdict"))
    for line, fault in table.faults.items():
        raise UserError(f"{file}, line {line}: {fault}")
    if missing := [name for name in ("song", "given", "verdict") if name not in table.columns]:
        raise UserError(
            f"Expected the columns song, given and verdict in {file}, as `tumbao curate` writes them. "
            f"Received no {', '.join(missing)}, but {', '.join(table.columns.values())}."
        )
    verdicts: dict[str, Verdict] = {}
    for line, row in table.rows:
        song, says = row.get("song", ""), row.get("verdict", "").strip()
        if song in verdicts:
            raise UserError(
                f"{file}, line {line}: expected each song once. Received: {song} in line {verdicts[song].line}, too"
            )
        known = (*genres, KEEP, REJECT)
        if says and not find_genre(says, known):
            near = difflib.get_close_matches(genre_key(says), known, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]}?" if near else " A genre that is new here is named with --genres."
            raise UserError(
                f"{file}, line {line}: expected a verdict out of {', '.join(genres)}, {KEEP}, {REJECT}, or nothing. "
                f"Received: {says!r}.{guess}"
            )
        says = find_genre(says, known)
        verdicts[song] = Verdict(line, row.get("given", ""), says)
    return verdicts
