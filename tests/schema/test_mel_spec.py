"""The front-end's parameters: the paper's by default; invalid ones are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tumbao.schema.mel_spec import MelSpec


def test_the_default_is_the_papers_fragment() -> None:
    spec = MelSpec()
    assert (spec.sample_rate_hz, spec.fragment_samples, spec.frames) == (22_050, 661_500, 1_292)
    assert spec.image_shape == (300, 300, 3)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fragment_seconds": 0.33333}, "fragment_seconds=0.33333"),
        ({"fragment_seconds": 0.05}, "fragment_seconds=0.05"),
        ({"fragment_seconds": -30.0}, "fragment_seconds=-30"),
        ({"mel_min_hz": -1.0}, "mel_min_hz=-1"),
        ({"mel_min_hz": 11_025.0}, "mel_min_hz=11025"),
        ({"mel_max_hz": 11_026.0}, "mel_max_hz=11026"),
        ({"window_samples": 0}, "window_samples=0"),
        ({"hop_samples": 0}, "hop_samples=0"),
        ({"mel_bands": 0}, "mel_bands=0"),
        ({"dynamic_range_db": 0.0}, "dynamic_range_db=0"),
        ({"image_height": 0}, "image_height=0"),
        ({"image_width": -300}, "image_width=-300"),
    ],
)
def test_invalid_values_are_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"Received: .*{named}"):
        MelSpec(**wrong)
