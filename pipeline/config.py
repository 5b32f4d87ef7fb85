"""Settings of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key, tidy_genre
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.training import Training


class UsageError(UserError):
    """An invalid setting of a run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """Settings as they are requested, before the library is scanned; the same for local runs and runs in the cloud.

    - `layout`: the library's form, one of `formats.LAYOUTS`.
    - `protocol`: what a split keeps whole, one of `splits.SPLIT_BY`.
    - `method`: how the split is made, one of `splits.SPLIT_STRATEGIES`, `library.FIXED` or `splits.GIVEN`.
    - `seed`: of the split, the initial weights and the shuffling.
    - `weights`: file of the backbone's weights, `random`, or empty to search for them.
    - `precision`: `auto`, `float32` or `mixed_bfloat16`.
    - `training`: settings of `Training` that replace the model's defaults.
    - `settings`: settings of `PipelineConfig`, such as `min_accuracy`.
    - `min_songs`: songs a sub-genre needs to become a label of its own; None for no sub-genres.
    - `growing`: paths of files that are still being written, which are left to a later run.
    """

    data: AnyPath | str
    layout: str
    genres: tuple[str, ...]
    protocol: str
    method: str
    seed: int
    model: str
    weights: str
    precision: str
    training: Mapping[str, Any]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    min_songs: int | None = None
    growing: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings that the graph is built from; a value out of its range raises a `UsageError`.

    - `workspace`: folder of metadata, artefacts, runs and, by default, pushed models.
    - `manifests`: folder written by `library.write_manifests`.
    - `genres`: in the order of the labels.
    - `weights`, `weights_digest`: the backbone's weights; empty for random weights or a backbone without weights.
    - `policy`: Keras' dtype policy for the backbone's features.
    - `push_to`: folder of pushed models, one numbered version each.
    - `resume`: file of a head to start from; empty for new initial weights.
    - `tune`: trials of a search, whose best settings train the model; 0 for no search.
    - `min_accuracy`, `min_recall`: lowest accuracy on the test split and lowest recall of each genre, in 0..1.
    - `max_accuracy_drop`: how much lower the accuracy may be than that of the baseline.
    - `baseline`: where the baseline is found: in the "metadata" of former runs, or in the "push place" if there is no
      metadata store to query.
    - `vertex_training`: Vertex AI's custom job for training; empty to train where the component runs.
    - `endpoint`, `serving_image`, `region`: the endpoint of Vertex AI to deploy to, its container and its region.
    - `beam_args`: Beam's flags. `--runner` is required, since Beam would otherwise download a runner. By default Beam
      runs in this process; without the name of a container image, TFX would package itself for workers that do not
      exist.
    - `cache`: whether results of earlier runs are reused.
    """

    workspace: str
    manifests: str
    genres: tuple[str, ...]
    weights: str
    weights_digest: str
    policy: str
    push_to: str
    model: str = PAPER
    training: Training = dataclasses.field(default_factory=Training)
    resume: str = ""
    tune: int = 0
    min_accuracy: float = 0.80
    min_recall: float = 0.50
    max_accuracy_drop: float = 0.01
    baseline: str = "metadata"
    vertex_training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    endpoint: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    serving_image: str = ""
    region: str = ""
    mel_spec: MelSpec = dataclasses.field(default_factory=MelSpec)
    beam_args: tuple[str, ...] = ("--runner=FnApiRunner", "--sdk_container_image=none")
    cache: bool = True

    def __post_init__(self) -> None:
        expected: Mapping[str, tuple[bool, str]] = {
            "min_accuracy": (0 <= self.min_accuracy <= 1, "between 0 and 1"),
            "min_recall": (0 <= self.min_recall <= 1, "between 0 and 1"),
            "max_accuracy_drop": (0 <= self.max_accuracy_drop <= 1, "between 0 and 1"),
            "tune": (self.tune >= 0, "0 or more"),
            "resume": (not (self.tune and self.resume), "empty where there is a search: each trial begins anew"),
            "model": (
                not (self.tune or self.resume) or find_model(self.model).train is None,
                "that gradients train where there is a search, or training goes on from an earlier run",
            ),
            "beam_args": (any(flag.startswith("--runner") for flag in self.beam_args), "with a --runner among them"),
            "baseline": (self.baseline in {"metadata", "push place"}, "metadata or push place"),
            "genres": (
                len(set(map(genre_key, self.genres))) == len(self.genres) >= 2
                and all(name and name == tidy_genre(name) for name in self.genres),
                "at least 2, each once, without ends of lines or needless spaces",
            ),
        }
        for name, (holds, rule) in expected.items():
            if not holds:
                raise UsageError(f"Expected {name} {rule}. Received: {name}={getattr(self, name)!r}")
