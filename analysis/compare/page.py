"""The comparison page, with its figures, and the tables beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tumbao.analysis.compare import tables
from tumbao.analysis.compare.findings import Board, Findings, Leak, find
from tumbao.analysis.compare.scores import ENOUGH, MEASURES, SHARES, Score
from tumbao.analysis.compare.tables import SPLITS
from tumbao.analysis.compare.trial import Trial
from tumbao.analysis.figures import LEAKY_NOTE, SYNTHETIC_NOTE, heat_map, picture
from tumbao.components.evaluation.metrics import RESAMPLES
from tumbao.serving.page import template, write_page
from tumbao.serving.style import WIDTH_INCHES, Look

PAGE = "index.html"

_ROW_INCHES = 0.27


def write_comparison(
    trials: Sequence[Trial], out: Path, *, reference: str, library: str, failures: Mapping[str, str] | None = None
) -> Findings:
    """Compare models, and write ``index.html``, ``table.md``, ``table.csv`` and ``trials.json``.

    The page needs no other file. All files are written atomically. Without trials of `reference`, no model is compared.
    `failures` are the reasons why models could not be trained or exported. Raises ValueError if the trials cannot be
    compared, see `trial.pools`.
    """
    findings, failed = find(trials, reference), dict(failures or {})
    context = {
        "findings": findings,
        "library": library,
        "failures": failed,
        "measures": MEASURES,
        "shares": SHARES,
        "text": tables,
    }
    page = template(Path(__file__).parent).render(
        **context,
        trials=len(trials),
        pictures={name: picture(note, plot) for name, note, plot in _figures(findings)},
        resamples=RESAMPLES,
        enough=ENOUGH,
    )
    write_page(out / "table.md", template(Path(__file__).parent, "table.md.j2").render(**context))
    write_page(out / "table.csv", tables.comma_separated(findings))
    write_page(out / "trials.json", tables.as_json(findings, trials, library, failed))
    write_page(out / PAGE, page)
    return findings


def _figures(findings: Findings) -> Iterator[tuple[str, str, Callable[[Look], Figure]]]:
    """Yield name, note and plot function of each figure that the findings allow."""
    board = findings.boards[0]
    library = SYNTHETIC_NOTE if findings.synthetic else ""
    note = " · ".join(filter(None, [library, LEAKY_NOTE if board.leaky else ""]))
    yield "accuracies", note, partial(accuracies, board, findings.reference)
    yield "genres", note, partial(f1_by_genre, board, findings.genres)
    by_cost = partial(accuracy_by_cost, board, findings.reference)
    if any(map(_megabytes, board.scores)):
        yield "size", note, partial(by_cost, "Accuracy and size", "TFLite file, MB", _megabytes)
    if any(map(_train_seconds, board.scores)):
        yield "training", note, partial(by_cost, "Accuracy and training", "time of one training, s", _train_seconds)
    if findings.leaks:
        yield "leaks", library, partial(leak_effects, findings.leaks)


def accuracies(board: Board, reference: str, look: Look) -> Figure:
    """Plot each model's accuracy, interval and seeds; the reference is a line across all rows."""
    theme = look.theme
    figure, axes = look.panel("Accuracy of fragments", 1.0 + _ROW_INCHES * len(board.scores))
    for row, score in enumerate(board.scores):
        estimate, difference = score.accuracy, board.differences.get(score.model)
        clear = score.model == reference or (difference is not None and difference.significant)
        colour = theme.second if score.model == reference else theme.first
        axes.hlines(row, estimate.low, estimate.high, color=colour, linewidth=2)
        axes.plot(estimate.seeds, [row + 0.24] * len(estimate.seeds), ".", color=theme.muted, markersize=3.5)
        axes.plot(estimate.value, row, "o", color=colour, markerfacecolor=colour if clear else theme.panel)
        if score.model == reference:
            axes.axvline(estimate.value, color=theme.second, linewidth=1, linestyle=":", zorder=0)
    _rows(axes, [score.model for score in board.scores], look)
    axes.set_xlabel(f"share of fragments, {SPLITS[board.protocol]}")
    return figure


def accuracy_by_cost(
    board: Board, reference: str, title: str, axis: str, cost: Callable[[Score], float | None], look: Look
) -> Figure:
    """Plot accuracy against a cost on a logarithmic scale.

    `cost` returns a positive number, or None for a model to leave out.
    """
    theme = look.theme
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
    return figure


def f1_by_genre(board: Board, genres: Sequence[str], look: Look) -> Figure:
    """Plot F1 by model (rows) and genre (columns); the figure widens with the number of genres."""
    theme, f1 = look.theme, np.array([[one.value for one in score.f1] for score in board.scores])
    width = max(WIDTH_INCHES, 1.5 + 0.46 * len(genres))
    figure, axes = look.panel("F1 by genre", 1.3 + _ROW_INCHES * len(f1), width)
    heat_map(axes, f1, [score.model for score in board.scores], genres, look)
    for (row, column), value in np.ndenumerate(f1):
        colour = theme.panel if value > 0.55 else theme.ink
        label = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, label, ha="center", va="center", fontsize=8, color=colour)
    return figure


def leak_effects(found: Sequence[Leak], look: Look) -> Figure:
    """Plot each model's accuracy under both splits, joined by a line."""
    theme, rows = look.theme, range(len(found))
    figure, axes = look.panel("Effect of the split by fragment", 1.25 + _ROW_INCHES * len(found))
    apart, fragment = [one.apart.value for one in found], [one.fragment.value for one in found]
    axes.hlines(rows, apart, fragment, color=theme.muted, linewidth=1.5, zorder=1)
    axes.plot(apart, rows, "o", color=theme.first)
    axes.plot(fragment, rows, "D", color=theme.second)
    _rows(axes, [one.model for one in found], look)
    axes.set_xlabel(f"● {SPLITS[found[0].protocol]}   ◆ {SPLITS['fragment']}", loc="right")
    return figure


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


def _megabytes(score: Score) -> float | None:
    return score.cost.tflite_bytes / 1e6 if score.cost.tflite_bytes else None


def _train_seconds(score: Score) -> float | None:
    return score.cost.train_seconds or None
