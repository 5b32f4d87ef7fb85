"""Shared code of the self-contained HTML pages: templates, embedded media, colours and figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib
import numpy as np
from librosa import hz_to_mel, mel_to_hz
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import formatting

WIDTH_INCHES = 3.8
"""Width of a standard figure: 365 points, the width of a phone, where its text then has the nominal size."""

DOTS_PER_INCH = 192  # twice the pixel density of a page, for high-resolution screens and print


@dataclass(frozen=True)
class Theme:
    """Colours of the page in light or dark mode."""

    page: str
    panel: str
    ink: str
    muted: str
    line: str
    first: str
    second: str
    good: str
    bad: str


LIGHT = Theme("#f6f4ef", "#ffffff", "#1b2428", "#59656b", "#dcdfdd", "#0067a3", "#c25700", "#00704f", "#b3261e")
DARK = Theme("#101416", "#1a2023", "#e9ecea", "#a3afb4", "#364046", "#5ab4ea", "#f0a04b", "#4fc79d", "#ff8a75")


def template(folder: Path, name: str = "template.html.j2") -> jinja2.Template:
    """Load a page's Jinja template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"light": LIGHT, "dark": DARK}
    environment.filters |= {
        "decimal": formatting.decimal,
        "duration": formatting.duration,
        "megabytes": formatting.megabytes,
        "percent": formatting.percent,
    }
    return environment.get_template(name)


def data_uri(kind: str, content: bytes) -> str:
    """Encode a picture or sound of a media type, such as ``image/png``, as a data URI for a ``src``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_page(path: Path, page: str) -> None:
    """Write a page atomically; parent folders are created."""
    write_whole(path, page.encode("utf-8", errors="backslashreplace"))


@dataclass(frozen=True)
class Look:
    """Style of a figure."""

    theme: Theme
    note: str

    def applied(self) -> AbstractContextManager[None]:
        """Return a context with Matplotlib's settings of this style."""
        theme = self.theme
        return matplotlib.rc_context(
            {
                "font.family": "DejaVu Sans",
                "font.size": 9,
                "axes.titlesize": 11,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.titlepad": 9,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "axes.edgecolor": theme.muted,
                "axes.facecolor": theme.panel,
                "axes.labelcolor": theme.muted,
                "figure.facecolor": theme.panel,
                "grid.color": theme.line,
                "lines.linewidth": 2,
                "lines.markersize": 6,
                "text.color": theme.ink,
                "text.parse_math": False,
                "xtick.color": theme.muted,
                "ytick.color": theme.muted,
            }
        )

    def figure(self, width_inches: float, height_inches: float) -> Figure:
        """Create an empty figure with the note at the bottom."""
        figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
        if self.note:
            figure.supxlabel(self.note, fontsize=7.5, color=self.theme.muted, x=0.02, horizontalalignment="left")
        return figure

    def panel(self, title: str, height_inches: float, width_inches: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
        """Create a figure with one pair of axes."""
        figure = self.figure(width_inches, height_inches)
        axes = figure.add_subplot()
        axes.set_title(title)
        return figure, axes


def png(plot: Callable[[Look], Figure], look: Look) -> bytes:
    """Plot a figure as a PNG of at most 256 colours, which is not visible and more than halves the report's size."""
    with look.applied():
        canvas = FigureCanvasAgg(plot(look))
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return buffer.getvalue()


_TICKS_HZ = (500, 1_000, 2_000, 4_000, 8_000, 16_000)


def frequencies(spec: MelSpec) -> list[tuple[str, float]]:
    """Return the tick labels in kHz and their heights in the image, 0 to 1."""
    heights = ((hz, height_of(hz, spec)) for hz in _TICKS_HZ)
    return [(f"{hz / 1_000:g}", height) for hz, height in heights if 0.04 <= height <= 1]


def height_of(hz: float, spec: MelSpec) -> float:
    """Return the height of a frequency in the mel image: 0 at the lower edge, 1 at the upper; it may lie outside."""
    low, high, mel = hz_to_mel([spec.mel_min_hz, spec.mel_max_hz, hz])
    return float(((mel - low) / (high - low) * (spec.mel_bands + 1) - 0.5) / spec.mel_bands)


def hz_at(height: float, spec: MelSpec) -> float:
    """Return the frequency in Hz at a height in the mel image; the inverse of `height_of`."""
    low, high = hz_to_mel([spec.mel_min_hz, spec.mel_max_hz])
    return float(mel_to_hz(low + (height * spec.mel_bands + 0.5) / (spec.mel_bands + 1) * (high - low)))
