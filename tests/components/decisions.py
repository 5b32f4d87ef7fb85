"""Made decisions of SongGate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from tumbao.components.evaluation.decision import Songs, decide
from tumbao.components.song_gate import DECISION_FILE, SongDecision


def write_decision(folder: Path, right: int = 20, songs: int = 20) -> SongDecision:
    """Write the decision on a model that recognises some of the songs of two genres."""
    labels = np.arange(songs) % 2
    predicted = np.where(np.arange(songs) < right, labels, 1 - labels)
    found = decide(Songs(labels, predicted, 0), ("cumbia", "salsa"), min_accuracy=0.8, min_recall=0.5)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DECISION_FILE).write_text(json.dumps(dataclasses.asdict(found)))
    artifact = SongDecision()
    artifact.uri = str(folder)
    return artifact
