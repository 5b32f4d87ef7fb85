"""The results of a comparison as CSV, JSON and sentences, and the format of figures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tumbao.analysis.compare.findings import Board, Findings
from tumbao.analysis.compare.scores import MEASURES, Estimate, Score
from tumbao.analysis.compare.trial import Trial
from tumbao.components.ingest.tables import write_csv
from tumbao.serving.formatting import decimal, percent

SPLITS = {"song": "split by song", "artist": "split by artist", "fragment": "split by fragment (leaky)"}
"""Name of each protocol, used wherever its figures are shown."""

FEW_SONGS = 20
"""With fewer test songs, the page says that only large differences can be distinguished from chance."""


def outcome(findings: Findings) -> str:
    """Return a sentence about the most accurate model and its difference from the reference."""
    board = findings.boards[0]
    best, against = board.scores[0], board.differences.get(board.scores[0].model)
    origin = ", ".join([SPLITS[board.protocol], *(["synthetic library"] if findings.synthetic else [])])
    sentence = f"{best.model} classifies {percent(best.accuracy.value)} of the test fragments correctly ({origin})"
    if best.model == findings.reference:
        worse = [one.model for one in board.differences.values() if one.significant]
        if not board.differences:
            return f"{sentence}."
        return f"{sentence}, {f'significantly more than {_joined(worse)}' if worse else 'but not significantly more'}."
    if against is None:
        return f"{sentence}. {findings.reference} is not among the models, so there are no significance tests."
    verdict = "significant" if against.significant else "not significant"
    return f"{sentence}, {points(against.value)} against {findings.reference}: the difference is {verdict}."


def choice(findings: Findings) -> str:
    """Return sentences about the model with the highest validation accuracy; empty for one model."""
    board = findings.boards[0]
    if len(board.scores) == 1:
        return ""
    highest = max(one.validation for one in board.scores)
    chosen = [one for one in board.scores if one.validation == highest]
    accuracies = _joined([percent(one.accuracy.value) for one in chosen])
    return (
        "The accuracy of the best of several models on the test fragments is biased upwards. On the validation "
        f"fragments, which are not part of these figures, the best is {_joined([one.model for one in chosen])} "
        f"({percent(highest)}); its accuracy on the test fragments: {accuracies} ({SPLITS[board.protocol]})."
    )


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points with the unit, such as ``+3.2 points``."""
    return f"{signed(difference)}\N{NO-BREAK SPACE}points"


def signed(difference: float) -> str:
    """Format a difference of two shares in percentage points without the unit, such as ``−3.2``."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def rounded_p(p_value: float) -> str:
    """Format a p-value, such as ``0.031`` or ``< 0.001``."""
    return "<\N{NO-BREAK SPACE}0.001" if p_value < 0.001 else f"{p_value:.3f}"


def ends(estimate: Estimate, *, share: bool) -> str:
    """Format an interval, such as ``81.0–88.4``: in percent if `share` is set, else with three decimals."""
    return "–".join(f"{100 * end:.1f}" if share else f"{end:.3f}" for end in (estimate.low, estimate.high))


def deviation(estimate: Estimate, *, share: bool) -> str:
    """Format the standard deviation over seeds, such as ``1.4``, as `ends` does; a dash for one seed."""
    return decimal(100 * estimate.deviation, 1) if share else decimal(estimate.deviation)


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def comma_separated(findings: Findings) -> str:
    """Return CSV with a row for each model and protocol; undefined values are empty."""
    rows = [_row(findings, board, one) for board in findings.boards for one in board.scores]
    return write_csv(rows[0], rows)


def as_json(findings: Findings, trials: Sequence[Trial], library: str, failures: Mapping[str, str]) -> str:
    """Return all trials and figures as JSON; undefined values are null."""
    facts = [trial.facts() | {"leaky": trial.leaky, "test_accuracy": trial.accuracy} for trial in trials]
    found = dataclasses.asdict(findings)
    for values, board in zip(found["boards"], findings.boards, strict=True):
        values["leaky"] = board.leaky
    whole = {"library": library, "failures": dict(failures), "trials": facts, "findings": found}
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


def _defined(value: Any) -> Any:
    """Replace NaN with None, recursively."""
    if isinstance(value, dict):
        return {key: _defined(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
