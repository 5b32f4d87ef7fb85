"""Figure of a search: each setting against the validation accuracy, with every trial."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from tumbao.components.evaluation.run_data import Search
from tumbao.serving.style import WIDTH_INCHES, Look, Theme, png

LEAST_SPAN = 0.2
"""Smallest range of accuracies in the panels, so that single fragments do not look important."""


def search_figure(search: Search, look: Look) -> bytes:
    """Plot a panel for each setting."""
    trials = search.trials
    accuracies = [one.accuracy for one in trials]
    lowest = min(*accuracies, max(accuracies) - LEAST_SPAN)
    weights = sorted({one.l2 for one in trials})
    with look.applied():
        figure = look.figure(WIDTH_INCHES, 6.0)
        figure.suptitle("Settings and validation accuracy", x=0.02, ha="left", fontsize=11, weight="bold")
        panels = figure.subplots(3, 2, sharey=True).flat
        layers, units, dropout, l2, rate, legend = panels
        _panel(layers, "dense layers", search, [len(one.units) for one in trials], 0.12, look.theme)
        layers.xaxis.set_major_locator(MaxNLocator(integer=True))
        _panel(units, "units in all", search, [sum(one.units) for one in trials], 0.0, look.theme)
        units.set_xscale("symlog", base=2, linthresh=16, linscale=0.5)
        units.set_xlim(-6, 2048)
        units.set_xticks([0, 32, 256, 1024], ["0", "32", "256", "1024"])
        units.minorticks_off()
        _panel(dropout, "dropout", search, [one.dropout for one in trials], 0.015, look.theme)
        _panel(l2, "L2", search, [weights.index(one.l2) for one in trials], 0.12, look.theme)
        l2.set_xticks(range(len(weights)), list(map(_short, weights)))
        l2.set_xlim(-0.6, len(weights) - 0.4)
        _panel(rate, "learning rate", search, [one.learning_rate for one in trials], 0.0, look.theme)
        rate.set_xscale("log")
        rate.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        rate.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        rate.xaxis.set_minor_formatter(NullFormatter())
        rate.set_ylim(lowest - 0.1 * (max(accuracies) - lowest), max(accuracies) + 0.1 * (max(accuracies) - lowest))
        for axes in (layers, dropout, rate):
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        legend.legend(*rate.get_legend_handles_labels(), loc="center", frameon=False, labelspacing=1)
        legend.axis("off")
        return png(figure)


def _panel(axes: Axes, name: str, search: Search, values: Sequence[float], step: float, theme: Theme) -> None:
    accuracies = [one.accuracy for one in search.trials]
    places = _apart(values, accuracies, step)
    marked = {search.asked: ("s", theme.muted, "as asked"), search.paper: ("D", theme.second, "the paper's")}
    others = [i for i, one in enumerate(search.trials) if one.number not in marked]
    axes.plot(
        [places[i] for i in others], [accuracies[i] for i in others], "o", color=theme.first, alpha=0.7, label="drawn"
    )
    for number, (marker, colour, label) in marked.items():
        if number is None:
            continue
        at = [i for i, one in enumerate(search.trials) if one.number == number]
        axes.plot([places[i] for i in at], [accuracies[i] for i in at], marker, color=colour, label=label)
    axes.plot(places[0], accuracies[0], "o", ms=13, mfc="none", mec=theme.ink, mew=1.3, label="the best one")
    axes.set_xlabel(name)
    axes.grid(axis="y")
    axes.margins(x=0.12)


def _short(value: float) -> str:
    """Format a small number, such as 3e-4."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _apart(values: Sequence[float], heights: Sequence[float], step: float) -> list[float]:
    """Move points at the same position sideways, in steps."""
    stacks: dict[tuple[float, float], list[int]] = {}
    for index, point in enumerate(zip(values, heights, strict=True)):
        stacks.setdefault(point, []).append(index)
    places = list(map(float, values))
    for stack in stacks.values():
        for place, index in enumerate(stack):
            places[index] += step * (place - (len(stack) - 1) / 2)
    return places
