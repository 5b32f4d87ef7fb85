"""Drift detection from a run's training data and new songs to the page and its files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tumbao.analysis.drift.comparison import Comparison, compare
from tumbao.analysis.drift.descriptors import DESCRIPTORS
from tumbao.analysis.drift.examples import choose_examples
from tumbao.analysis.drift.new_songs import NewSongs, listen
from tumbao.analysis.drift.render import Sides, write_drift
from tumbao.analysis.drift.song_descriptors import SongDescriptors
from tumbao.analysis.drift.training import TrainingData, recall
from tumbao.analysis.tfdv_statistics import write_statistics
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError

PAGE, FIGURES, TRAINING_STATISTICS, NEW_STATISTICS = "index.html", "drift.json", "training.pbtxt", "new.pbtxt"
"""File names."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a comparison; `comparison` is None if no new song could be measured."""

    new: NewSongs
    comparison: Comparison | None


def run_drift(training: TrainingData, library: AnyPath, out: Path, layout: str) -> Outcome:
    """Compare new songs with training data and write the results.

    `out` receives `FIGURES` and, unless no song could be measured, `PAGE` and both statistics.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"Expected a folder to write the page to. Received: {out}, which is a file.")
    new = listen(library, layout, training.spec, training.genres)
    if not new.heard:
        _write_figures(out, training, new, {}, None)
        return Outcome(new, None)
    recalled, songs = recall(training)
    comparison = compare(recalled, new.heard, training.genres)
    counts = {"songs": songs, "songs_compared": len(recalled), "fragments": _fragments(recalled)}
    write_statistics(comparison.training_statistics, out / TRAINING_STATISTICS)
    write_statistics(comparison.new_statistics, out / NEW_STATISTICS)
    _write_figures(out, training, new, counts, comparison)
    examples = choose_examples(comparison.drifted, training, recalled, new.heard)
    write_drift(Sides(training, recalled, songs, new), comparison, examples, out / PAGE)
    return Outcome(new, comparison)


def _fragments(songs: tuple[SongDescriptors, ...]) -> int:
    return sum(len(song.starts) for song in songs)


def _write_figures(
    out: Path, training: TrainingData, new: NewSongs, counts: dict[str, int], comparison: Comparison | None
) -> None:
    measures = comparison.measures if comparison else ()
    names = [descriptor.name for descriptor in DESCRIPTORS]
    figures: dict[str, Any] = {
        "drift": bool(comparison.drifted) if comparison else None,
        "training": {"run": training.run, "library": training.library, "synthetic": training.synthetic, **counts},
        "new": {
            "library": new.name,
            "synthetic": new.synthetic,
            "songs": len(new.heard),
            "fragments": _fragments(new.heard),
            "rejected": len(new.rejected),
        },
        "measures": [
            {
                "name": measure.descriptor.name,
                "unit": measure.descriptor.unit,
                "category": measure.category,
                "training": measure.training,
                "new": measure.new,
                "distance": measure.distance,
                "threshold": measure.threshold,
                "drift": measure.drifted,
            }
            for measure in measures
        ],
        "songs": [
            {
                "song": song.song,
                "path": song.path,
                "fragments": len(song.starts),
                "means": dict(zip(names, song.values.mean(axis=0).tolist(), strict=True)),
            }
            for song in new.heard
        ],
        "rejected": [
            {"song": one.song, "path": one.path, "reason": one.reason, "detail": one.detail} for one in new.rejected
        ],
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    write_whole(out / FIGURES, text.encode("utf-8", errors="backslashreplace"))
