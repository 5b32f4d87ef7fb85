"""The inspection of a library from its songs to the page and the statistics beside it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from pathlib import Path

from tumbao.analysis.inspect import library as contents
from tumbao.analysis.inspect.library import Inspection, MeasuredSong, inspect_library
from tumbao.analysis.songs import render_fragments
from tumbao.analysis.tfdv_statistics import statistics_of, write_statistics, write_view
from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template, write_page

PICTURES_PER_GENRE = 6

TOP_ARTISTS = 10

STATISTICS_FILE, VIEW_FILE = "statistics.pbtxt", "statistics.html"


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
    inspection = inspect_library(library, genres, layout, spec)
    label = " (synthetic library)" if inspection.synthetic else ""
    if inspection.songs:
        statistics = statistics_of(contents.song_table(inspection.songs))
        write_statistics(statistics, out / STATISTICS_FILE)
        write_view(statistics, out / VIEW_FILE, f"{inspection.library}{label}")
    write_page(out / "index.html", render_page(inspection, spec))
    for note in inspection.notes:
        say(note)
    hours = sum(song.seconds for song in inspection.songs) / 3_600
    say(
        f"found {inspection.found} = usable {len(inspection.songs)} + rejected {len(inspection.rejected)}; "
        f"{hours:.1f} h in {len(inspection.genres)} genres{label}"
    )
    say(str(out / "index.html"))
    return 0 if inspection.songs else 1


def contact_sheet(inspection: Inspection, spec: MelSpec) -> dict[str, list[tuple[MeasuredSong, str]]]:
    """Render the middle of songs that are evenly spread over each genre, as data URI by genre.

    A song that has become unusable since it was measured, or is silent there, is left out.
    """
    chosen, parts = [], []
    for genre in contents.genres(inspection):
        count = min(PICTURES_PER_GENRE, len(genre.songs))
        chosen += [genre.songs[index * len(genre.songs) // count] for index in range(count)]
    for one in chosen:
        end = one.middle_seconds + spec.fragment_seconds
        if one.song.end_seconds is not None:
            end = min(end, one.song.end_seconds)
        parts.append((AudioSegment(one.song.path, one.middle_seconds, end), one.song.sha256))
    sheet = collections.defaultdict(list)
    for song, png in zip(chosen, render_fragments(parts, spec) if parts else (), strict=True):
        if png:
            sheet[song.song.genre].append((song, data_uri("image/png", png)))
    return sheet


def render_page(inspection: Inspection, spec: MelSpec) -> str:
    """Render the page, which needs no other file but the statistics."""
    songs = inspection.songs
    table = contents.song_table(songs)
    reasons = collections.Counter(item.reason for item in inspection.rejected)
    columns = {
        "Format": "audio_format",
        "Sampling rate": "sample_rate_hz",
        "Channels": "channels",
        "Audio tracks": "audio_tracks",
    }
    artists = contents.artists(table) if songs else []
    return template(Path(__file__).parent).render(
        inspection=inspection,
        seconds=sum(song.seconds for song in songs),
        genres=contents.genres(inspection),
        artists=artists,
        top_artists=TOP_ARTISTS,
        unnamed=len(songs) - sum(one.songs for one in artists),
        reasons=sorted(reasons.items(), key=lambda one: (-one[1], one[0])),
        duplicates=[item for item in inspection.rejected if item.reason == Reason.DUPLICATE.value],
        counts={label: contents.count_by(table, column) for label, column in columns.items()} if songs else {},
        flagged=[song for song in songs if song.truncated or song.padded],
        duration_bins=contents.bins(table.seconds, contents.DURATION_STEPS) if songs else None,
        loudness_bins=contents.bins(table.rms_dbfs, contents.LOUDNESS_STEPS) if songs else None,
        clock=clock,
        decibels=decibels,
        sheet=contact_sheet(inspection, spec),
        fragment_seconds=spec.fragment_seconds,
    )


def decibels(level: float) -> str:
    """Format a level in dB with a minus sign, such as ``−14.2``."""
    return f"{level:.1f}".replace("-", "−")
