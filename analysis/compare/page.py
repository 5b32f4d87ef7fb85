"""The comparison page with its figures, the tables beside it, and the sentences of both."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tumbao.analysis.compare.scores import (
    ENOUGH,
    MEASURES,
    SHARES,
    Board,
    Estimate,
    Findings,
    Score,
    find,
)
from tumbao.analysis.compare.trial import Trial
from tumbao.analysis.figures import figure_note, picture
from tumbao.components.evaluation.metrics import RESAMPLES
from tumbao.components.ingest.splits import is_leaky
from tumbao.components.ingest.tables import write_csv
from tumbao.serving.formatting import decimal, percent, rounded_p
from tumbao.serving.page import Look, template, write_page

PAGE = "index.html"

_ROW_INCHES = 0.27


FEW_SONGS = 20
"""With fewer test songs, the page says that only large differences can be distinguished from chance."""


def write_comparison(
    trials: Sequence[Trial], out: Path, *, reference: str, library: str, failures: Mapping[str, str] | None = None
) -> Findings:
    """Compare models, and write ``index.html``, ``table.md``, ``table.csv`` and ``trials.json``.

    Without trials of `reference`, no model is compared. `failures` are the reasons why models could not be trained or
    exported. Raises ValueError if the trials cannot be compared, see `trial.pools`.
    """
    findings, failed = find(trials, reference), dict(failures or {})
    context = {
        "findings": findings,
        "library": library,
        "failures": failed,
        "measures": MEASURES,
        "shares": SHARES,
        "text": {one.__name__: one for one in (deviation, ends, outcome, points, rounded_p, signed, split)}
        | {"FEW_SONGS": FEW_SONGS},
    }
    note = figure_note(synthetic=findings.synthetic, leaky=findings.boards[0].leaky)
    page = template(Path(__file__).parent).render(
        **context,
        trials=len(trials),
        pictures={name: picture(note, plot) for name, plot in _figures(findings)},
        resamples=RESAMPLES,
        enough=ENOUGH,
    )
    write_page(out / "table.md", template(Path(__file__).parent, "table.md.j2").render(**context))
    rows = [_row(findings, board, one) for board in findings.boards for one in board.scores]
    write_page(out / "table.csv", write_csv(rows[0], rows))
    write_page(out / "trials.json", as_json(findings, trials, library, failed))
    write_page(out / PAGE, page)
    return findings


def _figures(findings: Findings) -> Iterator[tuple[str, Callable[[Look], Figure]]]:
    """Yield name and plot function of each figure that the findings allow."""
    board = findings.boards[0]
    yield "accuracies", partial(accuracies, board, findings.reference)
    if any(score.cost.tflite_bytes for score in board.scores):
        yield "size", partial(accuracy_by_size, board, findings.reference)


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
    axes.set_yticks(range(len(board.scores)), [score.model for score in board.scores], color=theme.ink)
    axes.set_ylim(len(board.scores) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.04)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"share of fragments, {split(board.protocol)}")
    return figure


def accuracy_by_size(board: Board, reference: str, look: Look) -> Figure:
    """Plot accuracy against the size of the TFLite file; models without one are left out."""
    theme = look.theme
    figure, axes = look.panel("Accuracy and size", 3.3)
    for rank, score in enumerate(board.scores, start=1):
        if not score.cost.tflite_bytes:
            continue
        accuracy, x = score.accuracy, score.cost.tflite_bytes / 1e6
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
    axes.set_xlabel("TFLite file, MB")
    axes.set_ylabel(f"accuracy, {split(board.protocol)}")
    axes.grid(axis="both")
    return figure


def outcome(findings: Findings) -> str:
    """Return a sentence about the most accurate model and its difference from the reference."""
    board = findings.boards[0]
    best, against = board.scores[0], board.differences.get(board.scores[0].model)
    origin = ", ".join([split(board.protocol), *(["synthetic library"] if findings.synthetic else [])])
    sentence = f"{best.model} classifies {percent(best.accuracy.value)} of the test fragments correctly ({origin})"
    if best.model == findings.reference:
        worse = [one.model for one in board.differences.values() if one.significant]
        if not board.differences:
            return f"{sentence}."
        others = _joined(worse or [*board.differences])
        return f"{sentence}, {'' if worse else 'but not '}significantly more than {others}."
    if against is None:
        return f"{sentence}. {findings.reference} is not among the models, so there are no significance tests."
    verdict = "significant" if against.significant else "not significant"
    return f"{sentence}, {points(against.value)} against {findings.reference}: the difference is {verdict}."


def split(protocol: str) -> str:
    """Describe a split wherever its figures are shown, such as ``split by song``."""
    return f"split by {protocol}{' (leaky)' if is_leaky(protocol) else ''}"


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points with the unit, such as ``+3.2 points``."""
    return f"{signed(difference)}\N{NO-BREAK SPACE}points"


def signed(difference: float) -> str:
    """Format a difference of two shares in percentage points without the unit, such as ``−3.2``."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def ends(estimate: Estimate, *, share: bool) -> str:
    """Format an interval, such as ``81.0–88.4``: in percent if `share` is set, else with three decimals."""
    return "–".join(f"{100 * end:.1f}" if share else f"{end:.3f}" for end in (estimate.low, estimate.high))


def deviation(estimate: Estimate, *, share: bool) -> str:
    """Format the standard deviation over seeds, such as ``1.4``, as `ends` does; a dash for one seed."""
    return decimal(100 * estimate.deviation, 1) if share else decimal(estimate.deviation)


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def as_json(findings: Findings, trials: Sequence[Trial], library: str, failures: Mapping[str, str]) -> str:
    """Return all trials and figures as JSON; undefined values are null."""
    facts = [trial.facts() | {"leaky": trial.leaky, "test_accuracy": trial.accuracy} for trial in trials]
    found = dataclasses.asdict(findings)
    whole = {"library": library, "failures": dict(failures), "trials": facts, "findings": found}
    return json.dumps(_defined(whole), indent=1, allow_nan=False) + "\n"


def _row(findings: Findings, board: Board, score: Score) -> dict[str, object]:
    estimates = {name: getattr(score, name) for name in MEASURES}
    estimates |= {f"f1_{genre}": one for genre, one in zip(findings.genres, score.f1, strict=True)}
    row: dict[str, object] = {
        "model": score.model,
        "protocol": score.protocol,
        "leaky": board.leaky,
        "synthetic": findings.synthetic,
        "songs": score.songs,
        "fragments": score.fragments,
        "seeds": len(score.accuracy.seeds),
        "folds": score.folds,
    }
    for name, one in estimates.items():
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_seed_sd": one.deviation}
    difference = board.differences.get(score.model)
    names = ("value", "low", "high", "p_value", "corrected", "song_p_value", "song_corrected")
    row |= {f"against_reference_{name}": getattr(difference, name, None) for name in names}
    row |= dataclasses.asdict(score.cost)
    return {name: _defined(value) for name, value in row.items()}


def _defined(value: Any) -> Any:
    """Replace NaN with None, recursively."""
    if isinstance(value, dict):
        return {key: _defined(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
