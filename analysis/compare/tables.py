"""Tables of the comparison: Markdown for people, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tumbao.analysis.compare.differences import Difference, Leak
from tumbao.analysis.compare.findings import Board, Findings
from tumbao.analysis.compare.scores import Estimate, Score
from tumbao.analysis.compare.summary import SPLITS, chance, choice, deviation, ends, outcome, points, signed
from tumbao.analysis.compare.trial import Trial
from tumbao.components.ingest.tables import write_csv
from tumbao.serving.formatting import decimal, duration, megabytes, percent

MEASURES = (
    "accuracy",
    "balanced_accuracy",
    "song_accuracy_sum",
    "song_accuracy_votes",
    "cross_entropy",
    "calibration_error",
)
"""Attributes of `Score`, in the order of the tables."""

SHARES = MEASURES[:4]
"""Measures that are formatted in percent."""

_HEADS = ("Accuracy", "Balanced", "Songs by sum", "Songs by votes", "Cross-entropy", "Calibration error")


def markdown(findings: Findings, library: str, folded: str, failures: Mapping[str, str]) -> str:
    """Return the tables as Markdown; their headings say whether the figures are synthetic or leaky.

    `folded` is a sentence about genres that were folded up, or empty. `failures` are the reasons why a model, or a file
    of it, is missing.
    """
    origin = " (synthetic library)" if findings.synthetic else ""
    parts = [f"# Models compared on {library}{origin}", outcome(findings), choice(findings), folded]
    for board in findings.boards:
        first = board.scores[0]
        parts += [
            f"## Models, {SPLITS[board.protocol]}{origin}",
            f"Mean over {len(board.seeds)} seed{_s(len(board.seeds))} of {first.fragments} test fragments of "
            f"{first.songs} songs; in brackets 95 % intervals (bootstrap over songs), after ± the standard deviation "
            "over seeds.",
            _table(
                ["#", "Model", *_HEADS, "Validation", f"Against {findings.reference}"],
                [
                    [
                        *(str(rank), one.model),
                        *(_cell(one, name) for name in MEASURES),
                        *(_validation(one), _against(board, one.model)),
                    ]
                    for rank, one in enumerate(board.scores, start=1)
                ],
            ),
        ]
    parts += [
        f"## What they cost{origin}",
        _table(["Model", "Parameters", "Trained", "TFLite", "Training", "A fragment"], _costs(findings.boards[0])),
    ]
    if findings.leaks:
        heads = ["Model", SPLITS[findings.leaks[0].protocol], SPLITS["fragment"], "difference [95 %]"]
        rows = [
            [one.model, percent(one.apart.value), f"{percent(one.fragment.value)} (leaky)", _span(one)]
            for one in findings.leaks
        ]
        parts += [f"## The leak{origin}", _table(heads, rows)]
    if failures:
        parts += ["## What could not be done", _table(["Model", "Reason"], [list(one) for one in failures.items()])]
    return "\n\n".join(filter(None, parts)) + "\n"


def comma_separated(findings: Findings) -> str:
    """Return CSV with a row for each model and protocol; undefined values are empty."""
    rows = [_row(findings, board, one) for board in findings.boards for one in board.scores]
    return write_csv(rows[0], rows)


def as_json(findings: Findings, trials: Sequence[Trial], library: str, folded: str, failures: Mapping[str, str]) -> str:
    """Return all trials and figures as JSON; undefined values are null."""
    facts = [trial.facts() | {"leaky": trial.leaky, "test_accuracy": trial.accuracy} for trial in trials]
    found = dataclasses.asdict(findings)
    for values, board in zip(found["boards"], findings.boards, strict=True):
        values["leaky"] = board.leaky
    whole = {"library": library, "folded": folded, "failures": dict(failures), "trials": facts, "findings": found}
    return json.dumps(_defined(whole), indent=1, allow_nan=False) + "\n"


def _row(findings: Findings, board: Board, score: Score) -> dict[str, object]:
    estimates = {name: getattr(score, name) for name in MEASURES}
    estimates |= {f"f1_{genre}": one for genre, one in zip(findings.genres, score.f1, strict=True)}
    row: dict[str, object] = {
        "model": score.model,
        "protocol": score.protocol,
        "leaky": score.leaky,
        "synthetic": findings.synthetic,
        "songs": score.songs,
        "fragments": score.fragments,
        "seeds": len(score.accuracy.seeds),
        "folds": score.folds,
        "validation": score.validation,
    }
    for name, one in estimates.items():
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_seed_sd": one.deviation}
    difference = board.differences.get(score.model)
    names = ("value", "low", "high", "p_value", "corrected", "song_p_value", "song_corrected")
    row |= {f"against_reference_{name}": getattr(difference, name, None) for name in names}
    row |= dataclasses.asdict(score.cost)
    return {name: _defined(value) for name, value in row.items()}


def _costs(board: Board) -> list[list[str]]:
    return [
        [
            one.model,
            f"{one.cost.parameters:,}",
            f"{one.cost.trainable_parameters:,}",
            f"none: {one.cost.tflite_note}" if one.cost.tflite_bytes is None else megabytes(one.cost.tflite_bytes),
            duration(one.cost.train_seconds),
            f"{one.cost.inference_ms:.1f} ms",
        ]
        for one in board.scores
    ]


def _cell(score: Score, name: str) -> str:
    estimate: Estimate = getattr(score, name)
    share = name in SHARES
    value = percent(estimate.value) if share else decimal(estimate.value)
    seeds = "" if math.isnan(estimate.deviation) else f" ± {deviation(estimate, share=share)}"
    return f"{value} [{ends(estimate, share=share)}]{seeds}{' (leaky)' if score.leaky else ''}"


def _validation(score: Score) -> str:
    return f"{percent(score.validation)}{' (leaky)' if score.leaky else ''}"


def _against(board: Board, model: str) -> str:
    difference = board.differences.get(model)
    if difference is None:
        return "–"
    leaky = " (leaky)" if board.leaky else ""
    return f"{_span(difference)}{leaky}: {difference.word} (p = {chance(difference.corrected)})"


def _span(one: Difference | Leak) -> str:
    return f"{points(one.value)} [{signed(one.low)} to {signed(one.high)}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in (heads, *rows)]
    cells.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _defined(value: Any) -> Any:
    """Replace NaN with None, recursively."""
    if isinstance(value, dict):
        return {key: _defined(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _s(count: int) -> str:
    return "" if count == 1 else "s"
