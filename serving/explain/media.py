"""Pictures and sounds as the page holds them."""

from __future__ import annotations

import numpy as np

from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_png
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import mp3
from tumbao.serving.page import data_uri

_COMPRESSION = 0.75
"""48 kbit/s at 22,050 Hz: sound up to 10 kHz stays as it was; half as much would end at 6 kHz."""


def picture(levels: np.ndarray, spec: MelSpec) -> str:
    """Give a mel image as an address.

    Parameters
    ----------
    levels : np.ndarray [shape=(height, width), dtype=uint8]
        In the palette's steps.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    uri : str
        A PNG inside.
    """
    return data_uri("image/png", to_png(levels, palette(spec)))


def player(samples: np.ndarray, spec: MelSpec) -> str:
    """Give a sound as an address.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Mono, in [-1, 1].
    spec : MelSpec
        Gives the rate.

    Returns
    -------
    uri : str
        An MP3 inside.
    """
    return data_uri("audio/mpeg", mp3(samples, spec.sample_rate_hz, _COMPRESSION))
