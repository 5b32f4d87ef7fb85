"""One run's settings in one frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tumbao.components.ingest.places import Place
from tumbao.errors import UserError
from tumbao.schema.genre_names import genre_key, tidy_genre
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.peers.registry import PAPER, peer
from tumbao.trainer.training import Training


class UsageError(UserError):
    """A setting that no run can have: the command was used in a wrong way."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What a person asks a run for, wherever it runs.

    Parameters
    ----------
    data : Place or str
        The library: a folder or a list of songs, see `layouts.read_library`.
    layout : str
        The library's form, one of `layouts.LAYOUTS`.
    genres : tuple of str
        The run's genres.
    protocol : str
        What a split keeps whole, one of `splits.PROTOCOLS`.
    method : str
        How it is drawn: one of `splits.METHODS`, or `catalog.GIVEN`.
    seed : int
        Of the split, of initial weights and of shuffling.
    model : str
        Name of the model, see `peers.registry`.
    weights : str
        File of its trunk's weights, `random`, or empty to look for them.
    precision : str
        `auto`, `float32` or `mixed_bfloat16`.
    training : mapping of str to Any
        Settings of `Training` that are wanted otherwise than the model has them by itself.
    settings : mapping of str to Any
        Settings of `PipelineConfig`, such as min_accuracy.
    min_songs : int or None
        Songs that a sub-genre needs to be told apart from its genre; None where no sub-genre is to be.
    growing : frozenset of str
        Paths of files that are still being written, and wait for a later run.
    """

    data: Place | str
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
    """Everything that the graph depends on.

    Parameters
    ----------
    workspace : str
        Folder of metadata, artefacts, runs and, by default, pushed models.
    manifests : str
        Folder of `catalog.write_manifests`.
    genres : tuple of str
        The run's genres, in the order of the labels.
    weights : str
        File of the trunk's weights; empty for random ones, or where it has none.
    weights_digest : str
        Digest of the trunk's weights; empty for random ones, or where it has none.
    policy : str
        Keras' dtype policy in which the trunk's features are computed.
    push_to : str
        Where blessed models are pushed, as numbered versions.
    model : str
        Name of the model, see `peers.registry`.
    training : Training
        How it is trained.
    resume : str
        File of a head to start from; empty to start anew.
    tune : int
        Trials of a search for better settings, whose best the model is trained with; 0 for no search.
    min_accuracy : float
        Lowest accuracy over the test split, in 0..1.
    min_recall : float
        Lowest recall of each genre, in 0..1.
    max_accuracy_drop : float
        By how much the accuracy may be lower than the latest blessed model's.
    baseline : str
        Where the model that a new one is compared with is found: in the "metadata" of former runs, or in the
        "push place", where there is no store of metadata that can be asked.
    vertex_training : mapping of str to Any
        The custom job of Vertex AI that trains; empty to train where the component runs.
    endpoint : mapping of str to Any
        The endpoint of Vertex AI that blessed models are deployed to; empty for none.
    serving_image, region : str
        The container that the endpoint serves with, and where on Vertex AI things run.
    mel_spec : MelSpec
        The front-end's parameters.
    beam_args : tuple of str
        Flags for Beam, among them `--runner`: left alone, Beam would download one. By default all happens in this
        process; without an image's name TFX would pack itself for workers that there are none of.
    cache : bool
        Whether finished work is taken over from earlier runs.

    Raises
    ------
    UsageError
        If a value is out of its range.
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
                not (self.tune or self.resume) or peer(self.model).learn is None,
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
