"""Pictures of the report and of the comparison: each figure for a light and a dark page, and heat maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tumbao.serving.page import DARK, DOTS_PER_INCH, LIGHT, Look, data_uri, png

SYNTHETIC_NOTE = "synthetic library"
LEAKY_NOTE = "leaky split (by fragment)"


@dataclass(frozen=True)
class Picture:
    """A figure on a page."""

    light: str  # data URI for light pages
    dark: str
    png: bytes  # for light pages
    width: int  # in the page's pixels
    note: str  # text at its foot


def picture(note: str, plot: Callable[[Look], Figure]) -> Picture:
    """Plot a figure for light and dark pages."""
    light, dark = (png(plot, Look(theme, note)) for theme in (LIGHT, DARK))
    pixels_wide = int.from_bytes(light[16:20], "big")  # width in the PNG header
    width = pixels_wide * 96 // DOTS_PER_INCH
    return Picture(data_uri("image/png", light), data_uri("image/png", dark), light, width, note)


def heat_map(
    axes: Axes, shares: npt.NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], look: Look
) -> None:
    """Plot shares [rows, columns] as cells between thin lines."""
    theme = look.theme
    colours = LinearSegmentedColormap.from_list("share", [theme.panel, theme.first])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor", color=theme.ink)
    axes.set_yticks(range(len(rows)), rows, color=theme.ink)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", linewidth=1.5, color=theme.panel)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
