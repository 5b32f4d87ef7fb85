"""How sure a song's answer is: temperature, threshold of confidence, and what they are worth.

Conventions: songs are a sequence of arrays [k, g] as `serving.song` says, labels are indexes of genres [n]. A song's
confidence is its largest probability after tempering: each fragment's probabilities are raised to the power 1 / T and
normalised (which is temperature scaling, since the logarithm of a softmax is its logits less a constant), and their
mean over the fragments is taken.

The temperature minimises the cross-entropy of the songs' probabilities. Songs that were all answered correctly would
make it as cold as it can be, however few they are; so the target is not 1 for the true genre but (n + 1) / (n + 2), the
rule of succession, the rest spread over the other genres: n songs cannot promise more. This is Platt's correction.

The threshold minimises what the validation songs cost: 1 for a wrong answer, `NO_ANSWER_COST` for none. It is at least
1 - `NO_ANSWER_COST`, where a perfectly calibrated model stands best (Chow's rule). As good as each other are all
thresholds between two confidences that follow each other: the middle is taken; and of several such gaps the highest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.serving.song import log_probabilities

TEMPERATURES = np.exp(np.arange(np.log(0.25), np.log(8.0), 0.01))
"""Temperatures that are tried, in steps of 1 %."""

NO_ANSWER_COST = 0.5
"""What no answer costs where a wrong answer costs 1: two missing answers are as bad as a wrong one."""

FEW_SONGS = 50
"""With fewer validation songs the calibration is rough: 50 right answers in 50 still allow for 7 % of wrong ones."""

METHOD = (
    "temperature: least cross-entropy of the validation songs' mean probabilities, with Platt's smoothed targets; "
    f"threshold: least cost of the validation songs, a wrong answer 1 and no answer {NO_ANSWER_COST}"
)
"""How temperature and threshold are found, as model.json says it."""

BIN_SONGS = 5
"""Songs in a bin of the calibration error, at least."""

MAX_BINS = 10
"""Bins of the calibration error, at most."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was found on the validation songs.

    Parameters
    ----------
    temperature : float
        Above 1, the model was too sure; below 1, not sure enough.
    threshold : float
        Smallest probability of a confident song's answer, in [0, 1].
    songs : int
        How many validation songs it rests on.
    errors : int
        How many of these the model answered wrongly.
    method : str
        How temperature and threshold were found.

    Raises
    ------
    ValueError
        If the temperature is not above 0, or the threshold not in [0, 1].
    """

    temperature: float
    threshold: float
    songs: int
    errors: int
    method: str = METHOD

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and 0 <= self.threshold <= 1):
            raise ValueError(
                "Expected a temperature above 0 and a threshold in [0, 1]. "
                f"Received: temperature={self.temperature}, threshold={self.threshold}"
            )

    @property
    def rough(self) -> bool:
        """Whether it rests on fewer songs than `FEW_SONGS`."""
        return self.songs < FEW_SONGS


@dataclasses.dataclass(frozen=True)
class Bin:
    """Songs of similar confidence.

    Parameters
    ----------
    songs : int
        How many.
    confidence : float
        Mean confidence, in [0, 1].
    accuracy : float
        Share of right answers, in [0, 1].
    """

    songs: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class CoveragePoint:
    """What remains if only the surest songs are answered.

    Parameters
    ----------
    threshold : float
        Confidence of the least sure song that is answered, in [0, 1].
    coverage : float
        Share of songs that are answered, in (0, 1].
    accuracy : float
        Share of right answers among them, in [0, 1].
    """

    threshold: float
    coverage: float
    accuracy: float


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Apply a temperature.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows); `song.SMALLEST_PROBABILITY` at least counts, so
        that a quantized model's zeros and a float model's small numbers come to the same.
    temperature : float
        Above 0.

    Returns
    -------
    np.ndarray [shape=(k, g), dtype=float64]
        Probabilities whose rows have the sum 1 and the order that they had.

    Examples
    --------
    >>> temper(np.array([[0.8, 0.2]]), 2.0).round(3)
    array([[0.667, 0.333]])
    """
    powers = np.exp(log_probabilities(probabilities) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def song_probabilities(songs: Sequence[np.ndarray], temperature: float | None) -> np.ndarray:
    """Tell the probabilities of songs.

    Parameters
    ----------
    songs : sequence of np.ndarray [shape=(k, g)]
        Probabilities of the fragments of each song; k may differ.
    temperature : float or None
        The temperature; None leaves the probabilities as they are.

    Returns
    -------
    np.ndarray [shape=(n, g), dtype=float64]
        A row a song, its sum 1.
    """
    fragments = np.concatenate(songs).astype(np.float64)
    if temperature is not None:
        fragments = temper(fragments, temperature)
    firsts = np.cumsum([0, *map(len, songs[:-1])])
    sums = np.add.reduceat(fragments, firsts)
    return sums / sums.sum(axis=1, keepdims=True)


def calibrate(songs: Sequence[np.ndarray], labels: np.ndarray) -> Calibration:
    """Find temperature and threshold on validation songs.

    Parameters
    ----------
    songs : sequence of np.ndarray [shape=(k, g)]
        Probabilities of the fragments of each song.
    labels : np.ndarray [shape=(n,), dtype=int]
        The true genre of each song.

    Returns
    -------
    Calibration
        What was found; the same songs give the same.

    Raises
    ------
    ValueError
        If there is no song, or not a label for each.
    """
    if len(songs) != len(labels) or not len(labels):
        raise ValueError(f"Expected songs, and a label for each. Received: {len(songs)} songs, {len(labels)} labels")
    losses = [_smoothed_loss(song_probabilities(songs, temperature), labels) for temperature in TEMPERATURES]
    temperature = round(float(TEMPERATURES[np.argmin(losses)]), 4)
    probabilities = song_probabilities(songs, temperature)
    right = probabilities.argmax(axis=1) == labels
    threshold = _threshold(probabilities.max(axis=1), right)
    return Calibration(temperature, round(threshold, 4), len(labels), int((~right).sum()))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean cross-entropy of songs.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, g)]
        Probabilities of songs.
    labels : np.ndarray [shape=(n,), dtype=int]
        The true genres.

    Returns
    -------
    float
        In nats; a probability counts as `song.SMALLEST_PROBABILITY` at least.
    """
    return float(np.abs(log_probabilities(probabilities)[np.arange(len(labels)), labels]).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[Bin, ...]:
    """Compare confidence and accuracy in bins of equally many songs.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, g)]
        Probabilities of songs.
    labels : np.ndarray [shape=(n,), dtype=int]
        The true genres.

    Returns
    -------
    tuple of Bin
        From the least sure to the surest; n // `BIN_SONGS` bins, at least one and at most `MAX_BINS`.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    bins = min(MAX_BINS, max(1, len(labels) // BIN_SONGS))
    return tuple(
        Bin(len(part), float(confidence[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, bins)
    )


def expected_error(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error.

    Parameters
    ----------
    bins : sequence of Bin
        Of `reliability`.

    Returns
    -------
    float
        Mean distance of confidence and accuracy over the bins, weighted by their songs, in [0, 1].

    Examples
    --------
    >>> expected_error([Bin(3, 0.5, 0.75), Bin(1, 0.75, 1.0)])
    0.25
    """
    return sum(one.songs * abs(one.confidence - one.accuracy) for one in bins) / sum(one.songs for one in bins)


def coverage_curve(probabilities: np.ndarray, labels: np.ndarray) -> tuple[CoveragePoint, ...]:
    """Tell accuracy by coverage as the threshold falls.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, g)]
        Probabilities of songs.
    labels : np.ndarray [shape=(n,), dtype=int]
        The true genres.

    Returns
    -------
    tuple of CoveragePoint
        From the surest song to all; songs of the same confidence come together.
    """
    confidence = probabilities.max(axis=1).round(6)  # rounding errors part no songs
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
    lowest, confidence = 1 - NO_ANSWER_COST, confidence.round(4)  # rounding errors open no gap
    ends = np.unique(np.concatenate([[lowest], confidence[confidence > lowest]]))
    if len(ends) == 1:
        return lowest
    middles = (ends[1:] + ends[:-1]) / 2
    costs = [np.where(confidence < middle, NO_ANSWER_COST, ~right).sum() for middle in middles]
    return float(middles[np.flatnonzero(costs == np.min(costs))[-1]])
