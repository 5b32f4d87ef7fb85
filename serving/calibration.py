"""Calibration of song probabilities: temperature, confidence threshold, and measures of their quality.

Songs are a sequence of arrays [k, g] as in `serving.song`; labels are indexes of genres [n]. The probability of a song
is the mean over its fragments after temperature scaling: each fragment's probabilities are raised to the power 1 / T
and normalised, which equals scaling the logits. The confidence of a song is its largest probability.

The temperature minimises the cross-entropy of the song probabilities. If all songs are answered correctly, however few
they are, hard targets would drive it towards zero. The target is therefore not 1 for the true genre but (n + 1) / (n +
2), with the rest spread over the other genres: Platt's correction.

The threshold minimises the cost on the validation songs: 1 for a wrong answer, `NO_ANSWER_COST` for no answer. It is at
least 1 - `NO_ANSWER_COST`, the optimum for a perfectly calibrated model (Chow's rule). Of equally good gaps between two
confidences, the midpoint of the highest is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.serving.song import log_probabilities

TEMPERATURES = np.exp(np.arange(np.log(0.25), np.log(8.0), 0.01))  # candidate temperatures, in steps of 1 %
NO_ANSWER_COST = 0.5  # cost of no answer relative to a wrong answer: two missing answers cost as much as a wrong one

FEW_SONGS = 50
"""With fewer validation songs the calibration is rough: even 50 correct of 50 are compatible with a 7 % error rate."""

METHOD = (
    "temperature: least cross-entropy of held-out songs' mean probabilities, with Platt's smoothed targets; "
    f"threshold: least cost of held-out songs, a wrong answer 1 and no answer {NO_ANSWER_COST}"
)
"""How temperature and threshold are found, as written to model.json."""

BIN_SONGS = 5  # minimum number of songs in a bin of the calibration error
MAX_BINS = 10  # maximum number of bins of the calibration error


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Temperature and threshold found on validation songs, of which `errors` were classified wrongly."""

    temperature: float
    threshold: float
    songs: int
    errors: int
    method: str = METHOD

    @property
    def rough(self) -> bool:
        """Whether there were fewer validation songs than `FEW_SONGS`."""
        return self.songs < FEW_SONGS


@dataclasses.dataclass(frozen=True)
class Bin:
    """Number, mean confidence and accuracy of songs of similar confidence."""

    songs: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class CoveragePoint:
    """Coverage and accuracy if only songs with a confidence of at least `threshold` are answered."""

    threshold: float
    coverage: float
    accuracy: float


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Apply temperature scaling to fragments: probabilities [k, g] → float64 [k, g] with rows that sum to 1.

    They are clipped, so that the zeros of a quantized model and a float model's small values give the same result.
    """
    powers = np.exp(log_probabilities(probabilities) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def song_probabilities(songs: Sequence[np.ndarray], temperature: float | None) -> np.ndarray:
    """Compute the probabilities of songs, float64 [n, g]; None stands for no temperature scaling."""
    fragments = np.concatenate(songs).astype(np.float64)
    if temperature is not None:
        fragments = temper(fragments, temperature)
    sums = np.add.reduceat(fragments, np.cumsum([0, *map(len, songs[:-1])]))
    return sums / sums.sum(axis=1, keepdims=True)


def calibrate(songs: Sequence[np.ndarray], labels: np.ndarray) -> Calibration:
    """Find temperature and threshold on validation songs."""
    if len(songs) != len(labels) or not len(labels):
        raise ValueError(f"Expected songs, and a label for each. Received: {len(songs)} songs, {len(labels)} labels")
    losses = [_smoothed_loss(song_probabilities(songs, temperature), labels) for temperature in TEMPERATURES]
    temperature = round(float(TEMPERATURES[np.argmin(losses)]), 4)
    probabilities = song_probabilities(songs, temperature)
    right = probabilities.argmax(axis=1) == labels
    threshold = _threshold(probabilities.max(axis=1), right)
    return Calibration(temperature, round(threshold, 4), len(labels), int((~right).sum()))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean cross-entropy of songs [n, g] in nats, with probabilities clipped as in `log_probabilities`."""
    return float(np.abs(log_probabilities(probabilities)[np.arange(len(labels)), labels]).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[Bin, ...]:
    """Compare confidence and accuracy in bins of equally many songs, in ascending order of confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    bins = min(MAX_BINS, max(1, len(labels) // BIN_SONGS))
    return tuple(
        Bin(len(part), float(confidence[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, bins)
    )


def expected_error(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error: the mean |confidence - accuracy| of bins, weighted by their songs."""
    return sum(one.songs * abs(one.confidence - one.accuracy) for one in bins) / sum(one.songs for one in bins)


def coverage_curve(probabilities: np.ndarray, labels: np.ndarray) -> tuple[CoveragePoint, ...]:
    """Compute accuracy in ascending order of coverage; songs of equal confidence share one point."""
    confidence = probabilities.max(axis=1).round(6)  # so that rounding errors do not separate equal songs
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order], np.cumsum(right[order])
    last = np.append(sure[1:] < sure[:-1], True)
    return tuple(
        CoveragePoint(float(sure[i]), (i + 1) / len(labels), float(hits[i] / (i + 1))) for i in np.flatnonzero(last)
    )


def _smoothed_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    n, genres = probabilities.shape
    target = np.full((n, genres), 1 / (n + 2) / (genres - 1))
    target[np.arange(n), labels] = (n + 1) / (n + 2)
    return float(-(target * np.log(probabilities)).sum(axis=1).mean())


def _threshold(confidence: np.ndarray, right: np.ndarray) -> float:
    lowest, confidence = 1 - NO_ANSWER_COST, confidence.round(4)  # so that rounding errors do not create gaps
    ends = np.unique(np.concatenate([[lowest], confidence[confidence > lowest]]))
    if len(ends) == 1:
        return lowest
    middles = (ends[1:] + ends[:-1]) / 2
    costs = [np.where(confidence < middle, NO_ANSWER_COST, ~right).sum() for middle in middles]
    return float(middles[np.flatnonzero(costs == np.min(costs))[-1]])
