"""The parameters of the front-end, with units in their names, and the sizes that follow from them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Parameters of the mel image of one fragment.

    Parameters
    ----------
    sample_rate_hz : int
        Sampling rate of the waveform, in Hz.
    fragment_seconds : float
        Length of one fragment, in seconds.
    window_samples : int
        Length of the short-time Fourier transform and of its Hann window, in samples.
    hop_samples : int
        Step from one frame to the next, in samples.
    mel_bands : int
        Number of mel bands (Slaney scale and norm, as librosa's default).
    mel_min_hz : float
        Lower edge of the lowest band, in Hz.
    mel_max_hz : float
        Upper edge of the highest band, in Hz.
    dynamic_range_db : float
        Range of the image below the fragment's own maximum, in dB; lower values are clipped.
    image_height : int
        Rows of the image (mel bands resized), low frequencies at the bottom.
    image_width : int
        Columns of the image (time resized).
    colormap : str
        Name of a matplotlib colour map.

    Raises
    ------
    ValueError
        If a fragment is not a whole number of samples, at least one window long.

    Examples
    --------
    >>> MelSpec().fragment_samples
    661500
    >>> MelSpec().frames
    1292
    """

    sample_rate_hz: int = 22_050
    fragment_seconds: float = 30.0
    window_samples: int = 2_048
    hop_samples: int = 512
    mel_bands: int = 128
    mel_min_hz: float = 0.0
    mel_max_hz: float = 11_025.0
    dynamic_range_db: float = 80.0
    image_height: int = 300
    image_width: int = 300
    colormap: str = "magma"

    def __post_init__(self) -> None:
        samples = self.sample_rate_hz * self.fragment_seconds
        if samples != int(samples) or samples < self.window_samples:
            raise ValueError(
                "A fragment must be a whole number of samples, at least one window long. "
                f"Received: fragment_seconds={self.fragment_seconds}, sample_rate_hz={self.sample_rate_hz}, "
                f"window_samples={self.window_samples}"
            )

    @property
    def fragment_samples(self) -> int:
        """Number of samples in one fragment."""
        return int(self.sample_rate_hz * self.fragment_seconds)

    @property
    def frames(self) -> int:
        """Number of frames in one fragment, centred as in librosa (half a window of zeros on both sides)."""
        return 1 + self.fragment_samples // self.hop_samples

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of the image: rows, columns, RGB."""
        return (self.image_height, self.image_width, 3)


FINE = MelSpec(
    sample_rate_hz=16_000,
    window_samples=512,
    hop_samples=256,
    mel_bands=96,
    mel_max_hz=8_000.0,
    image_height=96,
    image_width=1_876,
)
"""For models that resolve time: one column per 16 ms and one row per band, not resized; musicnn's parameters."""
