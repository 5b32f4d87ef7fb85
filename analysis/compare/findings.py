"""Results of a comparison, computed from its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tumbao.analysis.compare.bootstrap import draw
from tumbao.analysis.compare.counts import tally
from tumbao.analysis.compare.differences import Difference, Leak, differences, leak
from tumbao.analysis.compare.pooling import pools
from tumbao.analysis.compare.scores import Score, score
from tumbao.analysis.compare.trial import Trial
from tumbao.components.ingest.splits import SPLIT_BY, is_leaky


@dataclass(frozen=True)
class Board:
    """All models under one split protocol.

    `seeds` are sorted. `scores` are sorted by accuracy, the highest first, then by name. `differences` are by model;
    empty if the reference is not among the models.
    """

    protocol: str
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]
    differences: Mapping[str, Difference]

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)


@dataclass(frozen=True)
class Findings:
    """Results of a comparison.

    `synthetic` is True if the songs of any trial are composed instead of recorded. `boards` are in the order of
    `PROTOCOLS`; the first one ranks the models. `leaks` compares the first protocol with the split by fragment, in the
    order of the first board.
    """

    genres: tuple[str, ...]
    reference: str
    synthetic: bool
    boards: tuple[Board, ...]
    leaks: tuple[Leak, ...]


def find(trials: Sequence[Trial], reference: str) -> Findings:
    """Score models and compare them with the reference; the result does not depend on the order of the trials."""
    pooled = pools(sorted(trials, key=lambda trial: trial.model))
    boards, done = [], {}
    for protocol in [protocol for protocol in SPLIT_BY if protocol in pooled]:
        models = pooled[protocol]
        weights = draw(np.zeros(len(next(iter(models.values())).songs), np.int64))
        tallies = {model: tally(pool) for model, pool in models.items()}
        scores = {model: score(pool, tallies[model], weights) for model, pool in models.items()}
        ranked = sorted(scores.values(), key=lambda one: -one.accuracy.value)
        against = differences(tallies, scores, reference, weights) if reference in models else {}
        seeds = sorted({seed for pool in models.values() for seed in pool.seeds})
        boards.append(Board(protocol, tuple(seeds), tuple(ranked), against))
        done[protocol] = {model: (pool, tallies[model], scores[model]) for model, pool in models.items()}
    first, by_fragment = done[boards[0].protocol], done.get("fragment", {})
    ranked_models = [] if boards[0].leaky else [one.model for one in boards[0].scores]
    return Findings(
        genres=trials[0].genres,
        reference=reference,
        synthetic=any(trial.synthetic for trial in trials),
        boards=tuple(boards),
        leaks=tuple(leak(first[model], by_fragment[model]) for model in ranked_models if model in by_fragment),
    )
