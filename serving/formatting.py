"""Formatting of numbers and names for readers, on pages and in the terminal."""

from __future__ import annotations

import math
import re
from typing import Any

from rich.console import Console
from rich.text import Text


def duration(seconds: float) -> str:
    """Format a duration, such as ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``1 h 20 min``."""
    if seconds < 9.95:
        return _on_one_line(f"{seconds:.1f} s")
    whole = round(seconds)
    if whole < 60:
        return _on_one_line(f"{whole} s")
    if whole < 3600:
        return _on_one_line(f"{whole // 60} min {whole % 60:02d} s")
    return _on_one_line(f"{whole // 3600} h {whole % 3600 // 60:02d} min")


def clock(seconds: float) -> str:
    """Format a length or position in a song, such as ``3:05`` or ``1:00:00``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def percent(share: float) -> str:
    """Format a share in 0..1 as a percentage, such as ``87.5 %``; NaN as a dash."""
    return "–" if math.isnan(share) else _on_one_line(f"{100 * share:.1f} %")


def decimal(value: float | None, places: int = 3) -> str:
    """Format a number, such as ``0.875``; None and NaN as a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.{places}f}"


def rounded_p(p_value: float) -> str:
    """Format a p-value, such as ``0.031`` or ``< 0.001``."""
    return "<\N{NO-BREAK SPACE}0.001" if p_value < 0.001 else f"{p_value:.3f}"


def megabytes(size_bytes: int) -> str:
    """Format a size in units of 1,000,000 bytes, such as ``36.2 MB``."""
    return _on_one_line(f"{size_bytes / 1e6:.1f} MB")


def _on_one_line(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LIST_ITEM = "\n  "


def one_line(text: str) -> str:
    r"""Escape control characters and line ends as in Python's string literals."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class TerminalConsole(Console):
    """A console that escapes control characters of file names and tags, with `one_line`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Create a rich text without control characters; see `rich.console.Console.render_str`."""
        return super().render_str(_LIST_ITEM.join(map(one_line, text.split(_LIST_ITEM))), **options)
