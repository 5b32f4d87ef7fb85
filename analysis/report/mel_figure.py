"""Figure of a fragment's mel image (the paper's figures 1 and 2)."""

from __future__ import annotations

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from tumbao.components.evaluation.run_data import SampleImage
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.style import Look, frequencies, png


def mel_figure(sample: SampleImage, spec: MelSpec, look: Look) -> bytes:
    """Plot a mel image over time in seconds and mel frequency."""
    start, end = sample.start_seconds, sample.start_seconds + spec.fragment_seconds
    with look.applied():
        figure, axes = look.panel(sample.genre, 3.1)
        axes.imshow(sample.image, extent=(start, end, 0, 1), aspect="auto", interpolation="nearest")
        axes.set_xticks([start + spec.fragment_seconds * part / 3 for part in range(4)])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("time (s)")
        marks = frequencies(spec)
        axes.set_yticks([height for _, height in marks], [kilohertz for kilohertz, _ in marks])
        axes.set_ylabel("mel frequency (kHz)")
        axes.spines[:].set_visible(False)
        colours = ScalarMappable(Normalize(-spec.dynamic_range_db, 0), spec.colormap)
        bar = figure.colorbar(colours, ax=axes, aspect=28, pad=0.03, label="dB under the maximum")
        bar.outline.set_visible(False)
        return png(figure)
