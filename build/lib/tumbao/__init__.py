"""Tumbao recognises tropical music genres from audio; importing it costs nothing."""

__version__ = "0.1.0"
