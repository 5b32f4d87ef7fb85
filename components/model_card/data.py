"""What a model card is made of: what the artefacts of one run say of the model, in one frozen value."""

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
    """Everything that a card says.

    Parameters
    ----------
    info : ModelInfo
        What the model says of itself.
    model_spec : ModelSpec
        Which network it is.
    fine_tuned : bool
        Whether the last block of its backbone learned too.
    catalog : mapping
        The catalogue's description, `catalog.json`.
    ingested, rejected : sequence of mapping
        What ingest tells of each part of a song, and of each file that was refused.
    artists : mapping of str to str
        Song → artist, empty where not known.
    tested : sequence of mapping
        The float model's answer to every test fragment.
    judged : sequence of mapping
        The head's answer to every validation and test fragment: what `songs` is computed from.
    songs : SongMetrics
        How well whole songs are answered.
    accuracy, loss : float
        Of the test fragments, as the evaluator measured them for the gate.
    history : mapping
        The training's epochs, and which of them was kept.
    artefacts : sequence of mapping
        Every way to an answer against the float model.
    blessed, infra_blessed : bool
        Whether the evaluator and the mobile check let the model pass.
    sources : tuple of Source
        The artefacts that all this was read from.
    versions : mapping of str to str
        Versions by package.

    Raises
    ------
    ValueError
        If the artefacts are not of one run.
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
        """The music of each genre."""
        return count(self.ingested, self.artists, self.info.genres)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The float model's answers to the test split."""
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
        """The figures of the test fragments."""
        return scores(self.evaluation)

    @cached_property
    def recalls(self) -> tuple[Interval | None, ...]:
        """Share of each genre's fragments that are found, resampled by song; None for a genre without any."""
        labels, right = self.evaluation.labels, self.evaluation.probabilities.argmax(axis=1) == self.evaluation.labels
        of_genres = [labels == label for label in range(len(self.info.genres))]
        return tuple(
            interval_over_songs(right[mine], self.evaluation.songs[mine]) if mine.any() else None for mine in of_genres
        )

    @cached_property
    def answers(self) -> tuple[GenreAnswers, ...]:
        """How the test songs of each genre are answered by the product."""
        test = [one for one in self.judged if one["split"] == "test"]
        return genre_answers(test, self.info.genres, self.songs.calibration.temperature)

    @property
    def refused(self) -> Counter[str]:
        """How many files were refused, by reason."""
        return Counter(one["reason"] for one in self.rejected)

    @property
    def failures(self) -> tuple[str, ...]:
        """What the mobile check found wrong, as whole sentences."""
        return tuple(
            f"{one['name']} ({one['through']}) {failure}." for one in self.artefacts for failure in one["failures"]
        )
