"""Figures of the report, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from tumbao.components.evaluation.metrics import Confidence, Scores, SongMetrics, wilson_interval
from tumbao.components.evaluation.run_data import (
    PAPER_ACCURACY,
    PAPER_LOSS,
    SampleImage,
    Search,
)
from tumbao.schema.hierarchy import has_subgenres, main_genres
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.page import WIDTH_INCHES, Look, Theme, frequencies

LEAST_SPAN = 0.2
"""Smallest range of accuracies in the panels of a search, so that single fragments do not look important."""


def by_epoch(history: Mapping[str, Any], metric: str, look: Look) -> Figure:
    """Plot accuracy or loss of training and validation split by epoch (the paper's figures 3 and 4)."""
    train, val = ([epoch[name] for epoch in history["epochs"]] for name in (metric, f"val_{metric}"))
    epochs, best = range(1, len(train) + 1), history["best_epoch"]
    figure, axes = look.panel(f"{metric.capitalize()} by epoch", 2.7)
    axes.axvline(best, color=look.theme.line, linewidth=10, zorder=0)
    axes.plot(epochs, train, "o-", color=look.theme.first, label="training")
    axes.plot(epochs, val, "s--", color=look.theme.second, label="validation")
    axes.set_xlabel(f"epoch (shaded: {best}, the best, whose weights are used)")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.6, len(train) + 0.4)
    axes.margins(y=0.12)
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="best")
    return figure


def test_figures(scores: Scores, look: Look) -> Figure:
    """Plot test loss and accuracy beside the paper's (its figure 5)."""
    figure = look.figure(WIDTH_INCHES, 3.0)
    loss, accuracy = figure.subplots(2, 1)
    _beside_the_paper(loss, "Test loss (lower is better)", scores.loss, PAPER_LOSS, look.theme)
    loss.set_xlim(0, 1.25 * max(scores.loss, PAPER_LOSS))
    _beside_the_paper(accuracy, "Test accuracy", scores.accuracy.value, PAPER_ACCURACY, look.theme)
    accuracy.set_xlim(0, 1.25)
    accuracy.set_xticks([0, 0.25, 0.5, 0.75, 1])
    return figure


def confusion_matrix(matrix: npt.NDArray[np.int64], genres: Sequence[str], look: Look) -> Figure:
    """Plot a confusion matrix [g, g] (rows true, columns predicted), with lines between leaves of different genres."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    theme, size = look.theme, max(WIDTH_INCHES, 0.55 * len(genres) + 1.0)
    figure, axes = look.panel("True and predicted genre", size + 0.1, size)
    _plot_cells(axes, shares, genres, look)
    for (row, column), count in np.ndenumerate(matrix):
        colour = theme.panel if shares[row, column] > 0.55 else theme.ink if count else theme.muted
        axes.text(column, row - 0.12, str(count), ha="center", va="center", weight="bold", color=colour)
        share = f"{shares[row, column]:.0%}"
        axes.text(column, row + 0.24, share, ha="center", va="center", fontsize=7.5, color=colour)
    for border, (genre, other) in enumerate(pairwise(main_genres(genres) if has_subgenres(genres) else ())):
        if genre != other:
            axes.axhline(border + 0.5, color=theme.ink, linewidth=1.2)
            axes.axvline(border + 0.5, color=theme.ink, linewidth=1.2)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def _plot_cells(axes: Axes, shares: npt.NDArray[np.float64], genres: Sequence[str], look: Look) -> None:
    """Plot shares [g, g] as cells between thin lines."""
    theme, ticks, borders = look.theme, range(len(genres)), np.arange(len(genres) + 1) - 0.5
    colours = LinearSegmentedColormap.from_list("share", [theme.panel, theme.first])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(ticks, genres, rotation=35, ha="right", rotation_mode="anchor", color=theme.ink)
    axes.set_yticks(ticks, genres, color=theme.ink)
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", linewidth=1.5, color=theme.panel)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def mel_figure(sample: SampleImage, spec: MelSpec, look: Look) -> Figure:
    """Plot a mel image over time in seconds and mel frequency."""
    start, end = sample.start_seconds, sample.start_seconds + spec.fragment_seconds
    figure, axes = look.panel(sample.genre, 3.1)
    axes.imshow(sample.image, extent=(start, end, 0, 1), aspect="auto", interpolation="nearest")
    axes.set_xticks([start + spec.fragment_seconds * part / 3 for part in range(4)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("time (s)")
    marks = frequencies(spec)
    axes.set_yticks([height for _, height in marks], [kilohertz for kilohertz, _ in marks])
    axes.set_ylabel("mel frequency (kHz)")
    axes.spines[:].set_visible(False)
    colours = ScalarMappable(Normalize(-spec.dynamic_range_db, 0), spec.colormap)
    bar = figure.colorbar(colours, ax=axes, aspect=28, pad=0.03, label="dB under the maximum")
    bar.outline.set_visible(False)
    return figure


def reliability_diagram(metrics: SongMetrics, look: Look) -> Figure:
    """Plot accuracy by confidence, without and with temperature; both are equal on the diagonal."""
    series: tuple[tuple[Confidence, str, str, str], ...] = (
        (metrics.before, "o", look.theme.first, "without temperature"),
        (metrics.after, "s", look.theme.second, f"with temperature {metrics.calibration.temperature:.2f}"),
    )
    figure, axes = look.panel("Confidence and accuracy", 3.3)
    axes.plot([0, 1], [0, 1], "--", color=look.theme.muted, linewidth=1)
    for confidence, marker, colour, label in series:
        x = [one.confidence for one in confidence.bins]
        shares = [wilson_interval(one.accuracy * one.songs, one.songs) for one in confidence.bins]
        axes.vlines(x, [s.low for s in shares], [s.high for s in shares], color=colour, linewidth=1, alpha=0.6)
        axes.plot(x, [s.value for s in shares], f"{marker}-", color=colour, label=label)
    _set_shares(axes, "mean confidence of the songs of a bin", "upper left")
    return figure


def accuracy_by_coverage(metrics: SongMetrics, look: Look) -> Figure:
    """Plot the accuracy of the most confident songs by their share of all, and mark the threshold."""
    coverage = [point.coverage for point in metrics.curve]
    counts = [round(share * metrics.songs) for share in coverage]
    shares = [wilson_interval(point.accuracy * n, n) for point, n in zip(metrics.curve, counts, strict=True)]
    answered = metrics.answered
    figure, axes = look.panel("Accuracy by coverage", 3.3)
    low, high = [share.low for share in shares], [share.high for share in shares]
    axes.fill_between(coverage, low, high, color=look.theme.first, alpha=0.15, linewidth=0, label="95 % interval")
    style = "o-" if len(coverage) <= 40 else "-"  # with more, markers overlap
    axes.plot(coverage, [share.value for share in shares], style, color=look.theme.first, label="accuracy")
    if answered.accuracy:
        at = f"threshold {metrics.calibration.threshold:.2f}"
        axes.plot(answered.coverage.value, answered.accuracy.value, "D", color=look.theme.second, ms=9, label=at)
    _set_shares(axes, "share of songs with a prediction", "lower left")
    return figure


def learning_curve(curve: Sequence[tuple[int, float]], look: Look) -> Figure:
    """Plot the balanced accuracy by number of training songs of each genre."""
    figure, axes = look.panel("Learning curve", 2.7)
    songs, accuracy = zip(*curve, strict=True)
    axes.plot(songs, accuracy, "o-", color=look.theme.first)
    axes.set_xscale("log", base=2)
    axes.set_xticks(songs, [str(one) for one in songs])
    axes.minorticks_off()
    axes.set(xlabel="training songs of each genre, at most", ylabel="balanced accuracy", ylim=(0, 1.05))
    axes.grid(axis="y")
    return figure


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


def _set_shares(axes: Axes, label: str, legend: str) -> None:
    """Set the axes of a figure of correct predictions by another share."""
    axes.set(xlabel=label, ylabel="share of correct predictions", xlim=(0, 1.03), ylim=(0, 1.05))
    axes.grid(axis="both")
    axes.legend(frameon=False, loc=legend)


def _beside_the_paper(axes: Axes, title: str, ours: float, paper: float, theme: Theme) -> None:
    axes.set_title(title)
    bars = axes.barh([0, 1], [ours, paper], height=0.6, color=[theme.first, theme.muted])
    axes.bar_label(bars, [f"{ours:.4f}", f"{paper:.4f}"], padding=4)
    axes.set_yticks([0, 1], ["this run", "the paper"], color=theme.ink)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.spines[:].set_visible(False)
