"""The inspection of a library from its songs to the page and the statistics beside it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tumbao.analysis.inspect import summary
from tumbao.analysis.inspect.library import Inspection, MeasuredSong, inspect_library, middle_fragment
from tumbao.analysis.tfdv_statistics import statistics_of, write_statistics, write_view
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.errors import UserError
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
    if out.exists() and not out.is_dir():
        raise UserError(f"Expected a folder to write the page to. Received: {out}, which is a file.")
    inspection = inspect_library(library, genres, layout, spec)
    chosen = [song for genre in summary.genres(inspection) for song in choose(genre.songs)]
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


@dataclasses.dataclass(frozen=True)
class Frame:
    """A song and the mel image of its middle fragment, a PNG as in a record."""

    song: MeasuredSong
    png: bytes


def choose(songs: Sequence[MeasuredSong]) -> list[MeasuredSong]:
    """Choose at most `PICTURES_PER_GENRE` songs that are evenly spread over a list, in the same order."""
    count = min(PICTURES_PER_GENRE, len(songs))
    return [songs[index * len(songs) // count] for index in range(count)]


def contact_sheet(songs: Sequence[MeasuredSong], spec: MelSpec) -> list[Frame]:
    """Render songs; one that has become unusable since it was measured is left out."""
    from tumbao.components.ingest import mel, records  # imports TensorFlow: slow, not for an empty library

    progress.start("render", len(songs))
    frames = []
    with WorkerPool() as pool:
        for song in songs:
            try:
                fragment = middle_fragment(song, spec, pool)
            except AudioError:
                continue
            finally:
                progress.advance("render")
            frames.append(Frame(song, records.to_png(mel.traced_levels(spec)(fragment), mel.palette(spec))))
    return frames


def write_inspection(inspection: Inspection, frames: Sequence[Frame], spec: MelSpec, out: Path) -> Path:
    """Write ``index.html``, which needs no other file, and return its path."""
    songs = inspection.songs
    sheet = collections.defaultdict(list)
    for frame in frames:
        sheet[frame.song.song.genre].append((frame.song, data_uri("image/png", frame.png)))
    reasons = collections.Counter(item.reason for item in inspection.rejected)
    durations = summary.bins([song.seconds for song in songs], summary.DURATION_STEPS) if songs else None
    loudness = summary.bins([song.rms_dbfs for song in songs], summary.LOUDNESS_STEPS) if songs else None
    page = template(Path(__file__).parent).render(
        inspection=inspection,
        seconds=sum(song.seconds for song in songs),
        genres=summary.genres(inspection),
        artists=summary.artists(songs),
        top_artists=TOP_ARTISTS,
        unnamed=sum(not summary.artist_key(song.song.artist) for song in songs),
        reasons=sorted(reasons.items(), key=lambda one: (-one[1], one[0])),
        duplicates=[item for item in inspection.rejected if item.reason == Reason.DUPLICATE.value],
        counts={
            "Format": summary.count_by(songs, lambda song: song.audio_format),
            "Sampling rate": summary.count_by(songs, lambda song: f"{song.sample_rate_hz} Hz"),
            "Channels": summary.count_by(songs, lambda song: str(song.channels)),
            "Audio tracks": summary.count_by(songs, lambda song: str(song.audio_tracks)),
        },
        flagged=[song for song in songs if song.truncated or song.padded],
        duration_bins=durations,
        loudness_bins=loudness,
        clock=clock,
        decibels=decibels,
        sheet=sheet,
        fragment_seconds=spec.fragment_seconds,
    )
    index = out / "index.html"
    write_page(index, page)
    return index


def decibels(level: float) -> str:
    """Format a level in dB with a minus sign, such as ``−14.2``."""
    return f"{level:.1f}".replace("-", "−")


def song_columns(songs: Sequence[MeasuredSong]) -> dict[str, list[str | float | bool | None]]:
    """Return columns with a value for each song; None where it is unknown."""
    return {
        "genre": [song.song.genre for song in songs],
        "artist": [song.song.artist or None for song in songs],
        "audio_format": [song.audio_format for song in songs],
        "seconds": [song.seconds for song in songs],
        "sample_rate_hz": [song.sample_rate_hz for song in songs],
        "channels": [song.channels for song in songs],
        "audio_tracks": [song.audio_tracks for song in songs],
        "rms_dbfs": [song.rms_dbfs for song in songs],
        "peak_dbfs": [song.peak_dbfs for song in songs],
        "truncated": [song.truncated for song in songs],
        "padded": [song.padded for song in songs],
    }


def write_song_statistics(inspection: Inspection, out: Path) -> None:
    """Write TFDV's statistics of the usable songs, at least one, and TFDV's own view of them."""
    statistics = statistics_of(song_columns(inspection.songs))
    write_statistics(statistics, out / STATISTICS_FILE)
    label = " (synthetic library)" if inspection.synthetic else ""
    write_view(statistics, out / VIEW_FILE, f"{inspection.library}{label}")
