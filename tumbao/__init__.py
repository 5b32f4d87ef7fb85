"""Tumbao recognises tropical music genres from audio; importing it costs nothing.

`__all__` is the public Python API, which follows semantic versioning; docs/python.md describes it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tumbao.components.ingest.audio_error import AudioError
    from tumbao.pipeline.train import TrainingError, TrainingRun, train
    from tumbao.schema.errors import UserError
    from tumbao.serving.classify.classifier import Classifier
    from tumbao.serving.classify.results import (
        Classification,
        ClassifiedFragment,
        ClassifiedSection,
        Rejection,
        Results,
    )

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "Classification",
    "ClassifiedFragment",
    "ClassifiedSection",
    "Classifier",
    "Rejection",
    "Results",
    "TrainingError",
    "TrainingRun",
    "UserError",
    "__version__",
    "train",
]

_API = {
    "AudioError": "tumbao.components.ingest.audio_error",
    "Classification": "tumbao.serving.classify.results",
    "ClassifiedFragment": "tumbao.serving.classify.results",
    "ClassifiedSection": "tumbao.serving.classify.results",
    "Classifier": "tumbao.serving.classify.classifier",
    "Rejection": "tumbao.serving.classify.results",
    "Results": "tumbao.serving.classify.results",
    "TrainingError": "tumbao.pipeline.train",
    "TrainingRun": "tumbao.pipeline.train",
    "UserError": "tumbao.schema.errors",
    "train": "tumbao.pipeline.train",
}
_ARTIFACTS = {
    "AgreementReport": "tumbao.components.mobile_check",
    "FinalFigures": "tumbao.components.final_model",
    "IngestedSongs": "tumbao.components.ingest.component",
    "ModelCardPages": "tumbao.components.model_card.component",
    "RejectedSongs": "tumbao.components.ingest.component",
    "ReportPage": "tumbao.components.pusher",
    "SongDecision": "tumbao.components.song_gate",
    "SongFigures": "tumbao.components.song_evaluation",
}
"""Types of artefacts, which a compiled pipeline names by a package and a class, with nothing between."""


def __getattr__(name: str) -> Any:
    """Import a public name, or a type of artefact, when it is used."""
    if module := _API.get(name) or _ARTIFACTS.get(name):
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
