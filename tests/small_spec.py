"""A fast front-end: fragments of 4 s at 8 kHz, images of 32×40."""

from tumbao.schema.mel_spec import MelSpec

SMALL = MelSpec(
    sample_rate_hz=8_000,
    fragment_seconds=4.0,
    window_samples=512,
    hop_samples=128,
    mel_bands=32,
    mel_max_hz=4_000.0,
    image_height=32,
    image_width=40,
)
