"""What the tests of the components share: a front-end small enough to be quick, and songs written on the spot."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.small_spec import SMALL
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]


@pytest.fixture(scope="session")
def small_spec() -> MelSpec:
    """Fragments of 4 s at 8 kHz, images of 32×40."""
    return SMALL


@pytest.fixture(scope="session")
def write_song() -> WriteSong:
    """Write noise that no other path has: write_song(path, seconds, gain=0.5) -> path; folders are made."""

    def write(path: Path, seconds: float, gain: float = 0.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(str(path).encode())).uniform(-1, 1, round(8_000 * seconds))
        soundfile.write(path, gain * noise, 8_000, format="WAV")
        return path

    return write
