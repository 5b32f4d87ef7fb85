"""The outcome of a run in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tumbao.components.evaluation.run_data import Gate, GateRow, ReportData

Outcome = Literal["pushed", "standing", "refused", "failed", "unfinished"]


@dataclass(frozen=True)
class Verdict:
    """Outcome of a run: a keyword, a title of two or three words and a sentence.

    ``standing``: blessed, but the same model was pushed before. ``refused``: by the gate, by the mobile check, or
    because a rollback withdrew the model.
    """

    outcome: Outcome
    title: str
    sentence: str


def verdict(data: ReportData) -> Verdict:
    """Describe whether the model was blessed and pushed, or why not."""
    where = data.push.pushed_to if data.push else None
    pushed = data.push is not None and data.push.pushed
    failed = next((component for component in data.components if component.state == "failed"), None)
    if failed:
        message = (failed.error or "no message").strip().splitlines()[0]
        after = f"The model had been pushed to {where} before." if pushed else "Nothing was pushed."
        return Verdict("failed", "Failed", f"{failed.name} failed: {message} {after}")
    leaky = " (Figures of a leaky split.)" if data.leaky else ""
    if data.gate is None:
        return Verdict(
            "unfinished", "Not finished", "The run stopped before the model was judged, and nothing was pushed."
        )
    if not data.gate.blessed:
        return Verdict("refused", "Not blessed", f"Not blessed, and not pushed: {_reasons(data.gate)}.{leaky}")
    if data.mobile_check and not data.mobile_check.blessed:
        failures = " ".join(data.mobile_check.failures) or "The mobile check gave no reason."
        return Verdict("refused", "Vetoed", f"Good enough by its test figures, but not pushed: {failures}{leaky}")
    if pushed:
        return Verdict("pushed", "Blessed and pushed", f"The model passed every check and was pushed to {where}.")
    if data.push and data.push.withdrawn:
        return Verdict("refused", "Withdrawn", f"Good enough, but not pushed: {data.push.withdrawn}.")
    if where:
        return Verdict(
            "standing", "Blessed", f"The model passed every check; it already stands at {where}: not pushed again."
        )
    return Verdict("unfinished", "Blessed, not pushed", "The model passed its test, but this run did not push it.")


def reason(row: GateRow) -> str:
    """Describe the result of a threshold, such as ``recall of salsa is 0.417, at least 0.500 was asked``."""
    name = row.metric if row.slice_name == "overall" else f"{row.metric} of {row.slice_name}"
    if math.isnan(row.value):
        return f"{name} could not be measured: no test fragment"
    if row.kind == "lower bound":
        return f"{name} is {row.value:.3f}, at least {row.bound:.3f} was asked"
    baseline = "no baseline" if row.baseline is None else f"{row.baseline:.3f} of the latest blessed model"
    return f"{name} is {row.value:.3f} against {baseline}, a change of at least {row.bound:+.3f} was asked"


def _reasons(gate: Gate) -> str:
    failed = [reason(row) for row in gate.rows if not row.passed]
    return "; ".join(failed) or "the evaluator gave no threshold that failed"
