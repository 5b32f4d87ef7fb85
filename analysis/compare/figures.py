"""Figures of the comparison, as PNG.

Where names do not fit, a model is labelled with its rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tumbao.analysis.compare.differences import Leak
from tumbao.analysis.compare.findings import Board
from tumbao.analysis.compare.scores import Score
from tumbao.analysis.compare.summary import SPLITS
from tumbao.serving.style import WIDTH_INCHES, Look, png

_ROW_INCHES = 0.27


def accuracies(board: Board, reference: str, look: Look) -> bytes:
    """Plot each model's accuracy, interval and seeds; the reference is a line across all rows."""
    theme = look.theme
    with look.applied():
        figure, axes = look.panel("Accuracy of fragments", 1.0 + _ROW_INCHES * len(board.scores))
        for row, score in enumerate(board.scores):
            estimate, difference = score.accuracy, board.differences.get(score.model)
            clear = score.model == reference or (difference is not None and difference.means_something)
            colour = theme.second if score.model == reference else theme.first
            axes.hlines(row, estimate.low, estimate.high, color=colour, linewidth=2)
            axes.plot(estimate.seeds, [row + 0.24] * len(estimate.seeds), ".", color=theme.muted, markersize=3.5)
            axes.plot(estimate.value, row, "o", color=colour, markerfacecolor=colour if clear else theme.panel)
            if score.model == reference:
                axes.axvline(estimate.value, color=theme.second, linewidth=1, linestyle=":", zorder=0)
        _rows(axes, [score.model for score in board.scores], look)
        axes.set_xlabel(f"share of fragments, {SPLITS[board.protocol]}")
        return png(figure)


def accuracy_by_cost(
    board: Board, reference: str, title: str, axis: str, cost: Callable[[Score], float | None], look: Look
) -> bytes:
    """Plot accuracy against a cost on a logarithmic scale.

    `cost` returns a positive number, or None for a model to leave out.
    """
    theme = look.theme
    with look.applied():
        figure, axes = look.panel(title, 3.3)
        for rank, score in enumerate(board.scores, start=1):
            x, accuracy = cost(score), score.accuracy
            if x is None:
                continue
            layer = 2 + len(board.scores) - rank  # the more accurate model is on top
            axes.vlines(x, accuracy.low, accuracy.high, color=theme.muted, linewidth=1, alpha=0.5, zorder=1)
            colour = theme.second if score.model == reference else theme.first
            axes.plot(x, accuracy.value, "o", color=colour, markeredgecolor=theme.panel, markersize=13, zorder=layer)
            style = {"ha": "center", "va": "center_baseline", "fontsize": 8, "weight": "bold", "zorder": layer + 0.5}
            axes.text(x, accuracy.value, str(rank), color=theme.panel, **style)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter("")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.margins(x=0.12)
        axes.set_xlabel(axis)
        axes.set_ylabel(f"accuracy, {SPLITS[board.protocol]}")
        axes.grid(axis="both")
        return png(figure)


def f1_by_genre(board: Board, genres: Sequence[str], look: Look) -> bytes:
    """Plot F1 by model (rows) and genre (columns); the figure widens with the number of genres."""
    theme, f1 = look.theme, np.array([[one.value for one in score.f1] for score in board.scores])
    with look.applied():
        width = max(WIDTH_INCHES, 1.5 + 0.46 * len(genres))
        figure, axes = look.panel("F1 by genre", 1.3 + _ROW_INCHES * len(f1), width)
        colours = LinearSegmentedColormap.from_list("share", [theme.panel, theme.first])
        axes.imshow(f1, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(f1):
            colour = theme.panel if value > 0.55 else theme.ink
            words = "–" if np.isnan(value) else f"{value:.2f}"
            axes.text(column, row, words, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(genres)), genres, rotation=35, ha="right", rotation_mode="anchor", color=theme.ink)
        axes.set_yticks(range(len(f1)), [score.model for score in board.scores], color=theme.ink)
        axes.set_xticks(np.arange(len(genres) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(f1) + 1) - 0.5, minor=True)
        axes.grid(which="minor", linewidth=1.5, color=theme.panel)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        return png(figure)


def leaks(found: Sequence[Leak], look: Look) -> bytes:
    """Plot each model's accuracy under both splits, joined by a line."""
    theme, rows = look.theme, range(len(found))
    with look.applied():
        figure, axes = look.panel("What the split by fragment adds", 1.25 + _ROW_INCHES * len(found))
        apart, fragment = [one.apart.value for one in found], [one.fragment.value for one in found]
        axes.hlines(rows, apart, fragment, color=theme.muted, linewidth=1.5, zorder=1)
        axes.plot(apart, rows, "o", color=theme.first)
        axes.plot(fragment, rows, "D", color=theme.second)
        _rows(axes, [one.model for one in found], look)
        axes.set_xlabel(f"● {SPLITS[found[0].protocol]}   ◆ {SPLITS['fragment']}", loc="right")
        return png(figure)


def _rows(axes: Axes, names: Sequence[str], look: Look) -> None:
    """Label the rows from top to bottom and format the x axis in percent."""
    axes.set_yticks(range(len(names)), names, color=look.theme.ink)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.04)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
