"""The front-end's parameters: the paper's by default; invalid ones are refused."""

from __future__ import annotations

import pytest

from tumbao.schema.mel_spec import MelSpec


def test_the_default_is_the_papers_fragment() -> None:
    spec = MelSpec()
    assert (spec.sample_rate_hz, spec.fragment_samples, spec.frames) == (22_050, 661_500, 1_292)
    assert spec.image_shape == (300, 300, 3)


@pytest.mark.parametrize("seconds", [0.33333, 0.05, -30.0])
def test_a_fragment_is_a_whole_number_of_samples(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"Received: fragment_seconds={seconds}"):
        MelSpec(fragment_seconds=seconds)
