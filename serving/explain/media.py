"""Images and audio as data URIs for the page."""

from __future__ import annotations

import numpy as np

from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_png
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import mp3
from tumbao.serving.page import data_uri

_COMPRESSION = 0.75
"""48 kbit/s at 22,050 Hz keep audio up to 10 kHz; half that rate would end at 6 kHz."""


def picture(levels: np.ndarray, spec: MelSpec) -> str:
    """Encode a mel image (uint8 [height, width], in palette steps) as the data URI of a PNG."""
    return data_uri("image/png", to_png(levels, palette(spec)))


def player(samples: np.ndarray, spec: MelSpec) -> str:
    """Encode mono samples in [-1, 1] as the data URI of an MP3."""
    return data_uri("audio/mpeg", mp3(samples, spec.sample_rate_hz, _COMPRESSION))
