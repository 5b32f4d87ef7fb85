"""A library as a table for TensorFlow Data Validation; a row is a usable song."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tumbao.analysis.inspect.data import Inspection
from tumbao.analysis.inspect.measure import Measured
from tumbao.analysis.tfdv_statistics import statistics_of, write_statistics, write_view

STATISTICS_FILE, VIEW_FILE = "statistics.pbtxt", "statistics.html"


def song_columns(songs: Sequence[Measured]) -> dict[str, list[str | float | bool | None]]:
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
