"""Numbers as a reader wants them; a number and its unit stay on one line."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Write a duration.

    Parameters
    ----------
    seconds : float
        The duration, not negative.

    Returns
    -------
    str
        Such as ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``1 h 20 min``.
    """
    if seconds < 9.95:
        return _on_one_line(f"{seconds:.1f} s")
    whole = round(seconds)
    if whole < 60:
        return _on_one_line(f"{whole} s")
    if whole < 3600:
        return _on_one_line(f"{whole // 60} min {whole % 60:02d} s")
    return _on_one_line(f"{whole // 3600} h {whole % 3600 // 60:02d} min")


def clock(seconds: float) -> str:
    """Write a length or a place in a song.

    Parameters
    ----------
    seconds : float
        Not negative.

    Returns
    -------
    str
        Such as ``3:05`` or ``1:00:00``.
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def percent(share: float) -> str:
    """Write a share in percent.

    Parameters
    ----------
    share : float
        0–1, NaN where undefined.

    Returns
    -------
    str
        Such as ``87.5 %``, or a dash where undefined.
    """
    return "–" if math.isnan(share) else _on_one_line(f"{100 * share:.1f} %")


def decimal(value: float | None, places: int = 3) -> str:
    """Write a figure.

    Parameters
    ----------
    value : float or None
        The figure; None or NaN where there is none.
    places : int
        Places after the point.

    Returns
    -------
    str
        Such as ``0.875``, or a dash where there is none.
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{places}f}"


def megabytes(size_bytes: int) -> str:
    """Write a size.

    Parameters
    ----------
    size_bytes : int
        The size, in bytes.

    Returns
    -------
    str
        In units of 1,000,000 bytes, such as ``36.2 MB``.
    """
    return _on_one_line(f"{size_bytes / 1e6:.1f} MB")


def _on_one_line(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")
