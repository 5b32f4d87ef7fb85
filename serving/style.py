"""How the report looks: one place for colours, type and size, used by the page and by its figures."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

WIDTH_INCHES = 3.8
"""Width of a usual figure: a phone's 365 points, so that type is read at its own size there."""

DOTS_PER_INCH = 192
"""Twice the density of a page's pixels, for sharp screens and print."""


@dataclass(frozen=True)
class Theme:
    """Colours of the page by light or by dark; series differ for every kind of colour vision (after Okabe and Ito).

    Parameters
    ----------
    page, panel, ink, muted, line : str
        Page, panels and figures, type, secondary type, rules and grids.
    first, second : str
        The two series.
    good, bad : str
        Passed and failed; never without a word or a sign beside them.
    """

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


@dataclass(frozen=True)
class Look:
    """How one figure is drawn.

    Parameters
    ----------
    theme : Theme
        Its colours.
    note : str
        What has to stand under the figure wherever it goes, such as ``synthetic library``; may be empty.
    """

    theme: Theme
    note: str

    def applied(self) -> AbstractContextManager[None]:
        """Give the context in which this look's figures are built and saved.

        Returns
        -------
        contextlib.AbstractContextManager
            Matplotlib's settings, put back at its end.
        """
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
        """Make an empty figure with the note at its foot.

        Parameters
        ----------
        width_inches, height_inches : float
            Its size.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, laid out by constraints.
        """
        figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
        if self.note:
            figure.supxlabel(self.note, fontsize=7.5, color=self.theme.muted, x=0.02, horizontalalignment="left")
        return figure

    def panel(self, title: str, height_inches: float, width_inches: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
        """Make a figure with one pair of axes.

        Parameters
        ----------
        title : str
            Its title.
        height_inches, width_inches : float
            Its size.

        Returns
        -------
        tuple of matplotlib.figure.Figure and matplotlib.axes.Axes
            The figure and its axes.
        """
        figure = self.figure(width_inches, height_inches)
        axes = figure.add_subplot()
        axes.set_title(title)
        return figure, axes


def png(figure: Figure) -> bytes:
    """Draw a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.

    Returns
    -------
    bytes
        PNG of at most 256 colours, which the eye does not miss and which more than halves the report.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return buffer.getvalue()
