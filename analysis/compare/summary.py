"""The result of a comparison in words, and the format of its figures."""

from __future__ import annotations

from tumbao.analysis.compare.findings import Findings
from tumbao.analysis.compare.scores import Estimate
from tumbao.serving.formatting import decimal, percent

SPLITS = {"song": "split by song", "artist": "split by artist", "fragment": "split by fragment (leaky)"}
"""Name of each protocol, used wherever its figures are shown."""

FEW_SONGS = 20
"""With fewer test songs, the page says that only large differences can be told from chance."""


def outcome(findings: Findings) -> str:
    """Return sentences about the most accurate model and its difference from the reference."""
    board = findings.boards[0]
    best, against = board.scores[0], board.differences.get(board.scores[0].model)
    origin = ", ".join([SPLITS[board.protocol], *(["synthetic library"] if findings.synthetic else [])])
    said = f"{best.model} answers {percent(best.accuracy.value)} of the test fragments rightly ({origin})"
    if best.model == findings.reference:
        clear = [one.model for one in board.differences.values() if one.means_something]
        if not board.differences:
            return f"{said}."
        return f"{said}, {f'clearly more than {_listed(clear)}' if clear else 'but no other model is clearly worse'}."
    if against is None:
        return f"{said}. {findings.reference} is not among the models, so none is tested against it."
    outlook = "the difference means something" if against.means_something else "that can be chance"
    return f"{said}, {points(against.value)} against {findings.reference}: {outlook}."


def choice(findings: Findings) -> str:
    """Return sentences about the model with the highest validation accuracy; empty for one model."""
    board = findings.boards[0]
    if len(board.scores) == 1:
        return ""
    most = max(one.validation for one in board.scores)
    chosen = [one for one in board.scores if one.validation == most]
    reached = _listed([percent(one.accuracy.value) for one in chosen])
    return (
        "The best of several on the test fragments is flattered by being the best of them. The validation fragments, "
        f"which had no part in these figures, choose {_listed([one.model for one in chosen])} ({percent(most)} of "
        f"them); on the test fragments: {reached} ({SPLITS[board.protocol]})."
    )


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points with the unit, such as ``+3.2 points``."""
    return f"{signed(difference)}\N{NO-BREAK SPACE}points"


def signed(difference: float) -> str:
    """Format a difference of two shares in percentage points without the unit, such as ``−3.2``."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def chance(p_value: float) -> str:
    """Format a p-value, such as ``0.031`` or ``< 0.001``."""
    return "<\N{NO-BREAK SPACE}0.001" if p_value < 0.001 else f"{p_value:.3f}"


def ends(estimate: Estimate, *, share: bool) -> str:
    """Format an interval, such as ``81.0–88.4``: in percent if `share` is set, else with three decimals."""
    return "–".join(f"{100 * end:.1f}" if share else f"{end:.3f}" for end in (estimate.low, estimate.high))


def deviation(estimate: Estimate, *, share: bool) -> str:
    """Format the standard deviation over seeds, such as ``1.4``, as `ends` does; a dash for one seed."""
    return decimal(100 * estimate.deviation, 1) if share else decimal(estimate.deviation)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
