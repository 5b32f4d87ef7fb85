"""Reports without plots, which take seconds, for tests of their text."""

from __future__ import annotations

import pytest

from tumbao.analysis.figures import Picture
from tumbao.analysis.report import page


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write reports with empty pictures."""
    monkeypatch.setattr(page, "picture", lambda note, plot: Picture("", "", b"", 300, note))
