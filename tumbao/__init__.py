"""Tumbao recognises tropical music genres from audio; importing it costs nothing."""

from __future__ import annotations

import importlib
import sys
import types
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


def _load_extensions_when_used() -> None:
    """Keep `tfx.v1` from importing its extensions: Vertex AI's client takes a third of the time of that import."""
    name = "tfx.v1.extensions"
    extensions = types.ModuleType(name)

    def load(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # of a tool that inspects all modules
            raise AttributeError(attribute)
        if sys.modules[name] is extensions:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    extensions.__dict__["__getattr__"] = load
    sys.modules.setdefault(name, extensions)


_load_extensions_when_used()
