"""A search in words: whether the best setting answers more than the paper's, beyond what chance and choice can do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumbao.analysis.compare.bootstrap import draw, interval, p_value
from tumbao.analysis.compare.summary import chance, points, signed
from tumbao.components.evaluation.song_metrics import SIGNIFICANCE
from tumbao.components.search import Search, SearchTrial
from tumbao.serving.formatting import percent

SHOWN = 10
"""Trials in the table; the paper's and the asked one stand there in any case."""


@dataclass(frozen=True)
class Finding:
    """What the page says of a search.

    Parameters
    ----------
    shown : tuple of SearchTrial
        Rows of the table, the best first.
    sentence : str
        What was found against the paper's setting.
    """

    shown: tuple[SearchTrial, ...]
    sentence: str


@dataclass(frozen=True)
class Advantage:
    """The best setting against the paper's on the validation fragments.

    Parameters
    ----------
    value : float
        Accuracy of the best less the paper's.
    ends : tuple of float or None
        The 95 % interval of the paired bootstrap over songs; None where drawing finds no spread.
    p_value : float
        How probable so large a difference is by chance, had the best been chosen beforehand.
    corrected : float
        The same for the best of as many as were tried (Bonferroni).
    """

    value: float
    ends: tuple[float, float] | None
    p_value: float
    corrected: float


def finding(search: Search) -> Finding:
    """Say what a search found.

    Parameters
    ----------
    search : Search
        The search.

    Returns
    -------
    Finding
        What the page says of it.
    """
    named = (search.paper, search.asked)
    shown = [one for place, one in enumerate(search.trials) if place < SHOWN or one.number in named]
    return Finding(tuple(shown), _sentence(search))


def advantage(search: Search) -> Advantage | None:
    """Compare the best setting with the paper's.

    Parameters
    ----------
    search : Search
        The search.

    Returns
    -------
    Advantage or None
        None where the paper's is the best, or came to no end.
    """
    if search.right_paper is None or search.best.number == search.paper:
        return None
    _, song_of, fragments = np.unique(search.songs, return_inverse=True, return_counts=True)
    best, paper = (np.bincount(song_of, right) for right in (search.right_best, search.right_paper))
    weights = draw(np.zeros(len(fragments), np.int64))
    drawn = (weights @ (best - paper)) / (weights @ fragments)
    p = p_value(drawn, differing=int((best != paper).sum()))
    value = float((best - paper).sum() / fragments.sum())
    return Advantage(value, interval(drawn), p, min(1.0, p * (search.tried - 1)))


def _sentence(search: Search) -> str:
    opening = "The paper found no significant difference between numbers and sizes of layers."
    if search.paper is None:
        return f"{opening} Here its own setting came to no end, so nothing can be compared with it."
    found = advantage(search)
    if found is None:
        return f"{opening} Here none of the {search.tried - 1} other settings did better than its own."
    paper = next(one for one in search.trials if one.number == search.paper)
    spread = (
        f" (95 % interval {signed(found.ends[0])} to {signed(found.ends[1])}, whole songs drawn)" if found.ends else ""
    )
    outcome = (
        "a significant difference, otherwise than in the paper"
        if found.corrected < SIGNIFICANCE
        else "no significant difference here either"
    )
    others = search.tried - 1
    return (
        f"{opening} Here the best setting answers {percent(search.best.accuracy)} of the {len(search.songs)} "
        f"fragments of {len(set(search.songs))} validation songs rightly and the paper's {percent(paper.accuracy)}, "
        f"{points(found.value)}{spread}. Chance makes so large a difference with p = {chance(found.p_value)}, and in "
        f"the best of {others}, chosen on these very fragments, with p = {chance(found.corrected)}: {outcome}. The "
        "choice flatters the best; how well it does on songs that had no part in it, the figures of the test split say."
    )
