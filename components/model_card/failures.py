"""Which songs of each genre go wrong, and how: what they are taken for, how surely, and in how many fragments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumbao.components.evaluation.intervals import Interval, wilson_interval
from tumbao.serving.calibration import song_probabilities

EXAMPLES = 5
"""Wrongly answered songs of a genre that are shown, the surest first: those mislead most."""


@dataclass(frozen=True)
class Mistake:
    """A song that is answered wrongly.

    Parameters
    ----------
    song : str
        Its name in the library.
    number : int
        Its number in SongEvaluation's predictions.
    answer : str
        The genre that it is taken for.
    confidence, of_truth : float
        Calibrated probability of that genre and of the true one, 0–1.
    wrong_fragments, fragments : int
        How many of its fragments are answered wrongly, and how many there are.
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
    """How the test songs of one genre are answered.

    Parameters
    ----------
    genre : str
        The true genre.
    songs, right : int
        How many there are, and how many are answered rightly.
    recall : Interval or None
        Their share with Wilson's interval; None if there is no song.
    mistakes : tuple of Mistake
        The others, the surest first.
    """

    genre: str
    songs: int
    right: int
    recall: Interval | None
    mistakes: tuple[Mistake, ...]

    @property
    def taken_for(self) -> tuple[tuple[str, int], ...]:
        """The wrong answers and how many songs got each, the most frequent first."""
        return tuple(Counter(one.answer for one in self.mistakes).most_common())

    def surely(self, threshold: float) -> int:
        """Count the mistakes that would be told with confidence.

        Parameters
        ----------
        threshold : float
            Smallest probability of a confident answer, 0–1.

        Returns
        -------
        int
            How many reach it.
        """
        return sum(one.confidence >= threshold for one in self.mistakes)


def genre_answers(
    predictions: Iterable[Mapping[str, Any]], genres: Sequence[str], temperature: float
) -> tuple[GenreAnswers, ...]:
    """Answer the test songs as the product does, and find those that go wrong.

    Parameters
    ----------
    predictions : iterable of mapping
        Song, its number, label and probabilities of each fragment.
    genres : sequence of str
        The genres in the order of the labels.
    temperature : float
        Of the calibration, above 0.

    Returns
    -------
    tuple of GenreAnswers
        In the order of the genres.
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
