"""Formatting of numbers for readers, with a no-break space between number and unit."""

from __future__ import annotations

import math


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


def megabytes(size_bytes: int) -> str:
    """Format a size in units of 1,000,000 bytes, such as ``36.2 MB``."""
    return _on_one_line(f"{size_bytes / 1e6:.1f} MB")


def _on_one_line(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")
