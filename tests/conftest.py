"""Sound made on the spot: a seeded generator of random numbers and a maker of tones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

Tone = Callable[..., np.ndarray]


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20_240_517)


@pytest.fixture(scope="session")
def tone() -> Tone:
    """Make a sine: tone(seconds, hz=440, rate=22_050) -> float32 [n], peak 0.5."""

    def make(seconds: float, hz: float = 440.0, rate: int = 22_050) -> np.ndarray:
        return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)

    return make
