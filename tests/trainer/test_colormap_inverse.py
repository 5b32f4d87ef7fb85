import numpy as np
import pytest

from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.trainer.colormap_inverse import levels


@pytest.mark.parametrize("spec", [MelSpec(), FINE], ids=["paper", "fine"])
def test_the_colour_map_is_undone_exactly(spec: MelSpec) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, *spec.image_shape[:2]))
    frames = levels(spec)(palette(spec)[image]).numpy()
    assert frames.shape == (2, spec.image_width, spec.image_height)
    np.testing.assert_array_equal(np.rint(frames * 255), image[:, ::-1].transpose(0, 2, 1))
    assert frames.dtype == np.float32


def test_low_bands_and_early_frames_come_first() -> None:
    time = np.arange(FINE.fragment_samples) / FINE.sample_rate_hz
    low_and_early = np.where(time < 10, np.sin(2 * np.pi * 100 * time), 0).astype(np.float32)[np.newaxis]
    frames = levels(FINE)(palette(FINE)[mel_levels(low_and_early, FINE).numpy()]).numpy()[0]
    assert frames[:600, :10].max() > 0.9
    assert frames[700:].max() == 0
    assert frames[:600, 60:].mean() < 0.2
