"""Pictures of the report and of the comparison: each figure for a light and a dark page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from tumbao.serving.page import DARK, DOTS_PER_INCH, LIGHT, Look, data_uri, png


@dataclass(frozen=True)
class Picture:
    """A figure on a page."""

    light: str  # data URI for light pages
    dark: str
    png: bytes  # for light pages
    width: int  # in the page's pixels
    note: str  # text at its foot


def figure_note(*, synthetic: bool, leaky: bool) -> str:
    """Return the text at the foot of a figure, which says what limits its meaning."""
    return " · ".join(["synthetic library"] * synthetic + ["leaky split (by fragment)"] * leaky)


def picture(note: str, plot: Callable[[Look], Figure]) -> Picture:
    """Plot a figure for light and dark pages."""
    light, dark = (png(plot, Look(theme, note)) for theme in (LIGHT, DARK))
    pixels_wide = int.from_bytes(light[16:20], "big")  # width in the PNG header
    width = pixels_wide * 96 // DOTS_PER_INCH
    return Picture(data_uri("image/png", light), data_uri("image/png", dark), light, width, note)
