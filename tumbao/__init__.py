"""Tumbao recognises tropical music genres from audio; importing it costs nothing."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ARTIFACTS = {
    "AgreementReport": "tumbao.components.mobile_check",
    "IngestedSongs": "tumbao.components.ingest.component",
    "ModelCardPages": "tumbao.components.model_card.component",
    "RejectedSongs": "tumbao.components.ingest.component",
    "ReportPage": "tumbao.components.pusher",
    "SongFigures": "tumbao.components.song_evaluation",
}


def __getattr__(name: str) -> Any:
    """Find a type of artefact; a compiled pipeline names it by a package and a class, with nothing between."""
    if name in _ARTIFACTS:
        return getattr(importlib.import_module(_ARTIFACTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
