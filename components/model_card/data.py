"""The data of a model card, from the artefacts of one run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np
import tensorflow as tf

from tumbao.components.evaluation.intervals import Interval, wilson_interval
from tumbao.components.evaluation.run_data import Evaluation
from tumbao.components.evaluation.scores import Scores, interval_over_songs, scores
from tumbao.components.evaluation.song_metrics import SongMetrics
from tumbao.components.ingest.tags import artist_key
from tumbao.schema.record import SPLITS
from tumbao.serving.calibration import song_probabilities
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
    `loss` are the Evaluator's, for the test fragments; `history` has the epochs and the best one; `artefacts`
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
        data, test = self.info.training_data, [one for one in self.judged if one["split"] == "test"]
        fragments = {split: sum(one.fragments[split] for one in self.music) for split in SPLITS}
        found: dict[str, tuple[object, object]] = {
            "genres": (list(self.info.genres), self.catalog["genres"]),
            "probabilities of a fragment": (len(self.info.genres), len(self.tested[0]["probabilities"])),
            "fragments ingested": (data.fragments, fragments),
            "test fragments predicted by the float model": (data.fragments["test"], len(self.tested)),
            "test fragments predicted by the head": (data.fragments["test"], len(test)),
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
        return count_music(self.ingested, self.artists, self.info.genres)

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


EXAMPLES = 5
"""Number of misclassified songs shown for a genre, the most confident first, as these mislead most."""


@dataclass(frozen=True)
class Mistake:
    """A misclassified song.

    `number` is that of SongEvaluation's predictions; `answer` is the predicted genre; `confidence` and `of_truth` are
    the calibrated probabilities of that genre and of the true one, 0–1.
    """

    song: str
    number: int
    answer: str
    confidence: float
    of_truth: float
    wrong_fragments: int
    fragments: int


@dataclass(frozen=True)
class GenreAnswers:
    """Predictions for the test songs of one genre.

    `recall` has Wilson's interval, and is None without songs; `mistakes` begins with the most confident one.
    """

    genre: str
    songs: int
    right: int
    recall: Interval | None
    mistakes: tuple[Mistake, ...]

    @property
    def taken_for(self) -> tuple[tuple[str, int], ...]:
        """Wrong genres with their number of songs, the most frequent first."""
        return tuple(Counter(one.answer for one in self.mistakes).most_common())

    def surely(self, threshold: float) -> int:
        """Count the mistakes whose confidence reaches the threshold, 0–1."""
        return sum(one.confidence >= threshold for one in self.mistakes)


def genre_answers(
    predictions: Iterable[Mapping[str, Any]], genres: Sequence[str], temperature: float
) -> tuple[GenreAnswers, ...]:
    """Classify the test songs as the product does, and collect the misclassified ones.

    `predictions` are fragments with song, its number, label and probabilities; the result is in the order of the
    genres.
    """
    songs: dict[str, list[np.ndarray]] = {}
    labels: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for one in predictions:
        songs.setdefault(one["song"], []).append(np.array(one["probabilities"]))
        labels[one["song"]], numbers[one["song"]] = one["label"], one["number"]
    answers = song_probabilities([np.stack(song) for song in songs.values()], temperature)
    mistakes: dict[int, list[Mistake]] = {label: [] for label in range(len(genres))}
    for (song, fragments), probabilities in zip(songs.items(), answers, strict=True):
        truth, answer = labels[song], int(probabilities.argmax())
        if answer != truth:
            wrong = sum(int(fragment.argmax()) != truth for fragment in fragments)
            sure = float(probabilities[answer]), float(probabilities[truth])
            mistakes[truth].append(Mistake(song, numbers[song], genres[answer], *sure, wrong, len(fragments)))
    counts = Counter(labels.values())
    return tuple(
        _of_genre(genre, counts[label], sorted(mistakes[label], key=lambda one: -one.confidence))
        for label, genre in enumerate(genres)
    )


def _of_genre(genre: str, songs: int, mistakes: list[Mistake]) -> GenreAnswers:
    right = songs - len(mistakes)
    return GenreAnswers(genre, songs, right, wilson_interval(right, songs) if songs else None, tuple(mistakes))


@dataclass(frozen=True)
class GenreMusic:
    """Counts of one genre.

    `songs` and `fragments` are by split; `artists` counts known artists, `unsigned` songs without one, `largest` the
    songs of the artist with the most.
    """

    genre: str
    songs: Mapping[str, int]
    fragments: Mapping[str, int]
    artists: int
    unsigned: int
    largest: int

    @property
    def all_songs(self) -> int:
        """Number of songs, each counted once for every split that contains it."""
        return sum(self.songs.values())


def count_music(
    ingested: Iterable[Mapping[str, Any]], artists: Mapping[str, str], genres: Sequence[str]
) -> tuple[GenreMusic, ...]:
    """Count the music of each genre, in the order of the genres.

    `ingested` are the lines of `ingested.jsonl`: parts of songs, which count as one song together; parts without a
    fragment are ignored. `artists` maps songs to artists, empty where not known.
    """
    parts = [part for part in ingested if part["fragments"]]
    return tuple(_count_genre(genre, [part for part in parts if part["genre"] == genre], artists) for genre in genres)


def _count_genre(genre: str, parts: Sequence[Mapping[str, Any]], artists: Mapping[str, str]) -> GenreMusic:
    songs = Counter(split for split, _ in {(part["split"], part["song"]) for part in parts})
    fragments: Counter[str] = Counter()
    for part in parts:
        fragments[part["split"]] += part["fragments"]
    signed = Counter(artist_key(artists.get(song, "")) for song in {part["song"] for part in parts})
    unsigned = signed.pop("", 0)
    return GenreMusic(
        genre=genre,
        songs={split: songs[split] for split in SPLITS},
        fragments={split: fragments[split] for split in SPLITS},
        artists=len(signed),
        unsigned=unsigned,
        largest=max(signed.values(), default=0),
    )


PACKAGES = (
    "tumbao",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "apache-beam",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "librosa",
    "numpy",
)
"""Packages whose versions are shown in the card and the report."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """Content of a folder; `sha256` is over the lines that ``sha256sum`` prints for its files, sorted by path."""

    files: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """An artefact of the model's run.

    `role` is its name in the card, `type_name` its type in ML Metadata, `identity` its name or number there (empty
    without either).
    """

    role: str
    type_name: str
    identity: str
    content: Content


def content(folder: str) -> Content:
    """Hash all files in a folder, on any of TensorFlow's file systems, independent of the listing order.

    A folder without files raises ValueError.
    """
    root = folder.rstrip("/")
    paths = [f"{parent.rstrip('/')}/{name}" for parent, _, names in tf.io.gfile.walk(root) for name in names]
    below = {path[len(root) + 1 :]: path for path in paths}
    if not below:
        raise ValueError(f"Expected an artefact that contains files. Received: {folder!r}, which contains none.")
    lines, size = hashlib.sha256(), 0
    for name in sorted(below, key=lambda name: name.encode()):
        digest = hashlib.sha256()
        with tf.io.gfile.GFile(below[name], "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
        lines.update(f"{digest.hexdigest()}  {name}\n".encode())
    return Content(len(below), size, lines.hexdigest())


def fine_tuned(architecture: str) -> bool:
    """Return whether VGG-16's fifth block is trainable in a model's architecture (the text of `ARCHITECTURE_FILE`)."""
    layers = [layer["config"] for layer in json.loads(architecture)["config"]["layers"]]
    return any(layer.get("name", "").startswith("block5_conv") and layer["trainable"] for layer in layers)


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES` in this process."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
