"""SpecAugment masks bands and times of an image with the colour of silence, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tumbao.components.ingest.mel import palette
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.trainer.augment import BAND_SHARE, MASKS, TIME_SHARE, spec_augment


@pytest.mark.parametrize("spec", [MelSpec(), FINE], ids=["paper", "fine"])
def test_whole_bands_and_whole_times_are_masked_and_nothing_else_changes(spec: MelSpec) -> None:
    colours = palette(spec)
    image = np.broadcast_to(colours[200], spec.image_shape).copy()
    bands, times = set(), set()
    for seed in range(12):
        masked = (spec_augment(image, seed, spec).numpy() != image).any(axis=2)
        rows, columns = masked.all(axis=1), masked.all(axis=0)
        np.testing.assert_array_equal(masked, rows[:, np.newaxis] | columns[np.newaxis])
        assert rows.sum() <= MASKS * BAND_SHARE * spec.image_height
        assert columns.sum() <= MASKS * TIME_SHARE * spec.image_width
        bands.add(int(rows.sum()))
        times.add(int(columns.sum()))
        np.testing.assert_array_equal(spec_augment(image, seed, spec).numpy()[masked], colours[[0] * masked.sum()])
    assert len(bands) > 3
    assert len(times) > 3


def test_a_seed_gives_the_same_masks_whatever_came_before() -> None:
    spec = MelSpec()
    image = np.random.default_rng(2).integers(0, 256, spec.image_shape, dtype=np.uint8)
    first = spec_augment(image, 5, spec).numpy()
    spec_augment(image, 6, spec)
    np.testing.assert_array_equal(spec_augment(image, 5, spec), first)
    assert (spec_augment(image, 6, spec).numpy() != first).any()
