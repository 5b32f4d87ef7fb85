"""Entry point of the command `tumbao`."""

from __future__ import annotations

from tumbao.pipeline.commands import library, model, run
from tumbao.pipeline.commands.app import app
from tumbao.pipeline.standard_streams import standard_streams

GROUPS = (run, model, library)
"""Modules whose import adds their commands to the application."""


def main() -> None:
    """Run the command; Ctrl-C ends it with exit code 130 and without a traceback."""
    with standard_streams():
        app()
