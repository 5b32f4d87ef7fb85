"""The data of a model card, from the artefacts of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tumbao.components.evaluation.intervals import Interval
from tumbao.components.evaluation.run_data import Evaluation
from tumbao.components.evaluation.scores import Scores, interval_over_songs, scores
from tumbao.components.evaluation.song_metrics import SongMetrics
from tumbao.components.model_card.failures import GenreAnswers, genre_answers
from tumbao.components.model_card.music import GenreMusic, count
from tumbao.components.model_card.provenance import Source
from tumbao.schema.record import SPLITS
from tumbao.serving.model_info import ModelInfo
from tumbao.trainer.models.spec import ModelSpec

Lines = Sequence[Mapping[str, Any]]
"""Objects of a JSON Lines file."""


@dataclass(frozen=True, eq=False)
class Card:
    """All data of a card; ValueError if the artefacts are not of one run.

    `catalog` is `catalog.json`; `ingested` and `rejected` are the lines of ingest's parts of songs and rejected files;
    `artists` maps songs to artists, empty where not known; `tested` has the float model's predictions for every test
    fragment, `judged` the head's for every validation and test fragment, from which `songs` is computed. `accuracy` and
    `loss` are the Evaluator's, for the test fragments; `history` has the epochs and which of them was kept; `artefacts`
    compares every exported variant with the float model. `blessed` and `infra_blessed` are the decisions of Evaluator
    and MobileCheck.
    """

    info: ModelInfo
    model_spec: ModelSpec
    fine_tuned: bool
    catalog: Mapping[str, Any]
    ingested: Lines
    rejected: Lines
    artists: Mapping[str, str]
    tested: Lines
    judged: Lines
    songs: SongMetrics
    accuracy: float
    loss: float
    history: Mapping[str, Any]
    artefacts: Lines
    blessed: bool
    infra_blessed: bool
    sources: tuple[Source, ...]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        known, test = self.info.training_data, [one for one in self.judged if one["split"] == "test"]
        fragments = {split: sum(one.fragments[split] for one in self.music) for split in SPLITS}
        found: dict[str, tuple[object, object]] = {
            "genres": (list(self.info.genres), self.catalog["genres"]),
            "probabilities of a fragment": (len(self.info.genres), len(self.tested[0]["probabilities"])),
            "fragments ingested": (known.fragments, fragments),
            "test fragments that the float model answered": (known.fragments["test"], len(self.tested)),
            "test fragments that the head answered": (known.fragments["test"], len(test)),
            "test accuracy": (self.info.metrics["test_accuracy"], self.accuracy),
            "calibration": (self.info.calibration, self.songs.calibration),
        }
        for name, (expected, received) in found.items():
            if expected != received:
                raise ValueError(
                    f"Expected artefacts of one run: {name} {expected} as in the model's model.json. "
                    f"Received: {received}. Give the outputs of the run that exported this model."
                )

    @cached_property
    def music(self) -> tuple[GenreMusic, ...]:
        """Counts of songs, fragments and artists of each genre."""
        return count(self.ingested, self.artists, self.info.genres)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The float model's predictions on the test split."""
        return Evaluation(
            genres=self.info.genres,
            labels=np.array([one["label"] for one in self.tested]),
            probabilities=np.array([one["probabilities"] for one in self.tested]),
            songs=np.array([one["song"] for one in self.tested]),
            accuracy=self.accuracy,
            loss=self.loss,
        )

    @cached_property
    def scores(self) -> Scores:
        """Metrics of the test fragments."""
        return scores(self.evaluation)

    @cached_property
    def recalls(self) -> tuple[Interval | None, ...]:
        """Recall of each genre's fragments, with intervals resampled by song; None for a genre without fragments."""
        labels, right = self.evaluation.labels, self.evaluation.probabilities.argmax(axis=1) == self.evaluation.labels
        of_genres = [labels == label for label in range(len(self.info.genres))]
        return tuple(
            interval_over_songs(right[mine], self.evaluation.songs[mine]) if mine.any() else None for mine in of_genres
        )

    @cached_property
    def answers(self) -> tuple[GenreAnswers, ...]:
        """The product's predictions for the test songs of each genre."""
        test = [one for one in self.judged if one["split"] == "test"]
        return genre_answers(test, self.info.genres, self.songs.calibration.temperature)

    @property
    def refused(self) -> Counter[str]:
        """Number of rejected files by reason."""
        return Counter(one["reason"] for one in self.rejected)

    @property
    def failures(self) -> tuple[str, ...]:
        """Failures found by MobileCheck, as whole sentences."""
        return tuple(
            f"{one['name']} ({one['through']}) {failure}." for one in self.artefacts for failure in one["failures"]
        )
