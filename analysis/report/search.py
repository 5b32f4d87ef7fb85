"""The search for hyperparameters: a figure of all trials, and the comparison of the best one with the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from tumbao.analysis.compare.page import points, rounded_p, signed
from tumbao.analysis.compare.scores import interval, p_value, song_weights
from tumbao.components.evaluation.metrics import SIGNIFICANCE
from tumbao.components.evaluation.run_data import Search, SearchTrial
from tumbao.serving.formatting import percent
from tumbao.serving.page import WIDTH_INCHES, Look, Theme

SHOWN = 10
"""Trials in the table; that of the paper and that of the run's own setting are always included."""

LEAST_SPAN = 0.2
"""Smallest range of accuracies in the panels, so that single fragments do not look important."""


class Advantage(NamedTuple):
    """Accuracy of the best setting minus that of the paper's, with its 95 % interval (None without spread)."""

    value: float
    ends: tuple[float, float] | None
    p_value: float  # of a setting that was chosen beforehand
    corrected: float  # of the best of as many as were tried (Bonferroni)


def shown_trials(search: Search) -> list[SearchTrial]:
    """Return the rows of the table, the best first."""
    named = (search.paper, search.given)
    return [one for index, one in enumerate(search.trials) if index < SHOWN or one.number in named]


def advantage(search: Search) -> Advantage | None:
    """Compare the best setting with the paper's; None if the paper's is the best or did not finish."""
    if search.right_paper is None or search.best.number == search.paper:
        return None
    _, song_of, fragments = np.unique(search.songs, return_inverse=True, return_counts=True)
    best, paper = (np.bincount(song_of, right) for right in (search.right_best, search.right_paper))
    weights = song_weights(np.zeros(len(fragments), np.int64))
    replicates = (weights @ (best - paper)) / (weights @ fragments)
    p = p_value(replicates, differing=int((best != paper).sum()))
    value = float((best - paper).sum() / fragments.sum())
    return Advantage(value, interval(replicates), p, min(1.0, p * (search.tried - 1)))


def conclusion(search: Search) -> str:
    """Return sentences about the difference of the best setting from the paper's."""
    opening = "The paper found no significant difference between numbers and sizes of layers."
    if search.paper is None:
        return f"{opening} Here the trial with the paper's setting failed, so nothing can be compared with it."
    found = advantage(search)
    if found is None:
        return f"{opening} Here none of the {search.tried - 1} other settings was better than the paper's."
    paper = next(one for one in search.trials if one.number == search.paper)
    spread = (
        f" (95 % interval {signed(found.ends[0])} to {signed(found.ends[1])}, bootstrap over songs)"
        if found.ends
        else ""
    )
    outcome = (
        "the difference is significant, unlike in the paper"
        if found.corrected < SIGNIFICANCE
        else "the difference is not significant here either"
    )
    return (
        f"{opening} Here the best setting classifies {percent(search.best.accuracy)} of the {len(search.songs)} "
        f"fragments of {len(set(search.songs))} validation songs correctly and the paper's {percent(paper.accuracy)}, "
        f"{points(found.value)}{spread}. With p = {rounded_p(found.p_value)}, or p = {rounded_p(found.corrected)} "
        f"corrected for the best of {search.tried - 1} settings, {outcome}. The accuracy of the best setting is biased "
        "upwards, because it was selected on these fragments; for the accuracy on other songs, see the test split."
    )


def search_figure(search: Search, look: Look) -> Figure:
    """Plot validation accuracy by each setting, a panel for each."""
    accuracies = [one.accuracy for one in search.trials]
    weights = sorted({one.l2 for one in search.trials})
    figure = look.figure(WIDTH_INCHES, 6.0)
    figure.suptitle("Settings and validation accuracy", x=0.02, ha="left", fontsize=11, weight="bold")
    layers, units, dropout, l2, rate, legend = figure.subplots(3, 2, sharey=True).flat
    for axes, name, values in (
        (layers, "dense layers", [len(one.units) for one in search.trials]),
        (units, "total units", [sum(one.units) for one in search.trials]),
        (dropout, "dropout", [one.dropout for one in search.trials]),
        (l2, "L2", [weights.index(one.l2) for one in search.trials]),
        (rate, "learning rate", [one.learning_rate for one in search.trials]),
    ):
        _panel(axes, search, values, look.theme)
        axes.set_xlabel(name)
    layers.xaxis.set_major_locator(MaxNLocator(integer=True))
    units.set_xscale("symlog", base=2, linthresh=16, linscale=0.5)
    units.set_xlim(-6, 2048)
    units.set_xticks([0, 32, 256, 1024], ["0", "32", "256", "1024"])
    units.minorticks_off()
    l2.set_xticks(range(len(weights)), list(map(_short, weights)))
    l2.set_xlim(-0.6, len(weights) - 0.4)
    rate.set_xscale("log")
    rate.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    rate.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    rate.xaxis.set_minor_formatter(NullFormatter())
    lowest = min(*accuracies, max(accuracies) - LEAST_SPAN)
    margin = 0.1 * (max(accuracies) - lowest)
    rate.set_ylim(lowest - margin, max(accuracies) + margin)
    for axes in (layers, dropout, rate):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend.legend(*rate.get_legend_handles_labels(), loc="center", frameon=False, labelspacing=1)
    legend.axis("off")
    return figure


def _panel(axes: Axes, search: Search, values: Sequence[float], theme: Theme) -> None:
    points = {one.number: (value, one.accuracy) for one, value in zip(search.trials, values, strict=True)}
    marked = {search.given: ("s", theme.muted, "this run's"), search.paper: ("D", theme.second, "the paper's")}
    others = [point for number, point in points.items() if number not in marked]
    axes.plot([x for x, _ in others], [y for _, y in others], "o", color=theme.first, alpha=0.7, label="random")
    for number, (marker, colour, label) in marked.items():
        if number is not None:
            axes.plot(*points[number], marker, color=colour, label=label)
    axes.plot(*points[search.best.number], "o", ms=13, mfc="none", mec=theme.ink, mew=1.3, label="best")
    axes.grid(axis="y")
    axes.margins(x=0.12)


def _short(value: float) -> str:
    """Format a small number, such as 3e-4."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"
