"""The inspection page."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path

from tumbao.analysis.inspect import summary
from tumbao.analysis.inspect.contact_sheet import Frame
from tumbao.analysis.inspect.data import Inspection
from tumbao.components.ingest.audio_error import Reason
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template, write_page

TOP_ARTISTS = 10


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
        tallies={
            "Format": summary.tally(songs, lambda song: song.audio_format),
            "Sampling rate": summary.tally(songs, lambda song: f"{song.sample_rate_hz} Hz"),
            "Channels": summary.tally(songs, lambda song: str(song.channels)),
            "Audio tracks": summary.tally(songs, lambda song: str(song.audio_tracks)),
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
