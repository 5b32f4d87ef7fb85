"""Misclassified test songs of each genre: predicted genre, confidence and number of wrong fragments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumbao.components.evaluation.intervals import Interval, wilson_interval
from tumbao.serving.calibration import song_probabilities

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
