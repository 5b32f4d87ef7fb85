"""Inspection from a library to its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tumbao.analysis.inspect.contact_sheet import choose, contact_sheet
from tumbao.analysis.inspect.data import inspect_library
from tumbao.analysis.inspect.render import write_inspection
from tumbao.analysis.inspect.summary import genres as by_genre
from tumbao.analysis.inspect.table import write_song_statistics
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec


def run_inspect(
    library: AnyPath,
    out: Path,
    genres: Sequence[str],
    layout: str,
    say: Callable[[str], None],
    spec: MelSpec | None = None,
) -> int:
    """Inspect a library, write the page and report the result.

    `out` receives ``index.html`` and, if any song is usable, TFDV's statistics. No `genres` means all genres of the
    library. `say` is called with each line for the user, plain text; progress goes to
    `tumbao.components.ingest.progress`. Returns 0, or 1 if no song is usable; the page is written either way.
    """
    spec = spec or MelSpec()
    if out.exists() and not out.is_dir():
        raise UserError(f"Expected a folder to write the page to. Received: {out}, which is a file.")
    inspection = inspect_library(library, genres, layout, spec)
    chosen = [song for genre in by_genre(inspection) for song in choose(genre.songs)]
    if inspection.songs:
        write_song_statistics(inspection, out)
    page = write_inspection(inspection, contact_sheet(chosen, spec) if chosen else [], spec, out)
    for note in inspection.notes:
        say(note)
    hours = sum(song.seconds for song in inspection.songs) / 3_600
    label = " (synthetic library)" if inspection.synthetic else ""
    say(
        f"found {inspection.found} = usable {len(inspection.songs)} + rejected {len(inspection.rejected)}; "
        f"{hours:.1f} h in {len(inspection.genres)} genres{label}"
    )
    say(str(page))
    return 0 if inspection.songs else 1
