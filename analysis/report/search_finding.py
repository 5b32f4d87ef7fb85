"""The result of a search in words: whether the best setting beats the paper's by more than chance and selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumbao.analysis.compare.bootstrap import draw, interval, p_value
from tumbao.analysis.compare.summary import chance, points, signed
from tumbao.components.evaluation.run_data import Search, SearchTrial
from tumbao.components.evaluation.song_metrics import SIGNIFICANCE
from tumbao.serving.formatting import percent

SHOWN = 10
"""Trials in the table; that of the paper and that of the run's own setting are always included."""


@dataclass(frozen=True)
class Finding:
    """Rows of the table, the best first, and a sentence about the difference from the paper's setting."""

    shown: tuple[SearchTrial, ...]
    sentence: str


@dataclass(frozen=True)
class Advantage:
    """Accuracy of the best setting minus that of the paper's, on the validation fragments.

    `ends` is the 95 % interval of the paired bootstrap over songs; None if the draws have no spread. `p_value` is that
    of a setting that was chosen beforehand, `corrected` that of the best of as many as were tried (Bonferroni).
    """

    value: float
    ends: tuple[float, float] | None
    p_value: float
    corrected: float


def finding(search: Search) -> Finding:
    """Describe the result of a search."""
    named = (search.paper, search.asked)
    shown = [one for place, one in enumerate(search.trials) if place < SHOWN or one.number in named]
    return Finding(tuple(shown), _sentence(search))


def advantage(search: Search) -> Advantage | None:
    """Compare the best setting with the paper's; None if the paper's is the best or did not finish."""
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
