"""The report's figures of whole songs, as PNG."""

from __future__ import annotations

from tumbao.components.evaluation.intervals import wilson_interval
from tumbao.components.evaluation.song_metrics import Confidence, SongMetrics
from tumbao.serving.style import Look, png

_FEW_POINTS = 40  # with more, markers overlap


def reliability_diagram(metrics: SongMetrics, look: Look) -> bytes:
    """Plot accuracy by confidence, without and with temperature; both are equal on the diagonal."""
    series: tuple[tuple[Confidence, str, str, str], ...] = (
        (metrics.before, "o", look.theme.first, "without temperature"),
        (metrics.after, "s", look.theme.second, f"with temperature {metrics.calibration.temperature:.2f}"),
    )
    with look.applied():
        figure, axes = look.panel("Confidence and accuracy", 3.3)
        axes.plot([0, 1], [0, 1], "--", color=look.theme.muted, linewidth=1)
        for confidence, marker, colour, label in series:
            x = [one.confidence for one in confidence.bins]
            shares = [wilson_interval(one.accuracy * one.songs, one.songs) for one in confidence.bins]
            axes.vlines(x, [s.low for s in shares], [s.high for s in shares], color=colour, linewidth=1, alpha=0.6)
            axes.plot(x, [s.value for s in shares], f"{marker}-", color=colour, label=label)
        axes.set_xlabel("mean confidence of the songs of a bin")
        axes.set_ylabel("share of right answers")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.03)
        axes.grid(axis="both")
        axes.legend(frameon=False, loc="upper left")
        return png(figure)


def accuracy_by_coverage(metrics: SongMetrics, look: Look) -> bytes:
    """Plot the accuracy of the most confident songs by their share of all, and mark the threshold."""
    coverage = [point.coverage for point in metrics.curve]
    shares = [wilson_interval(point.accuracy * n, n) for point, n in zip(metrics.curve, _counts(metrics), strict=True)]
    answered = metrics.answered
    with look.applied():
        figure, axes = look.panel("Accuracy by coverage", 3.3)
        low, high = [share.low for share in shares], [share.high for share in shares]
        axes.fill_between(coverage, low, high, color=look.theme.first, alpha=0.15, linewidth=0, label="95 % interval")
        style = "o-" if len(coverage) <= _FEW_POINTS else "-"
        axes.plot(coverage, [share.value for share in shares], style, color=look.theme.first, label="accuracy")
        if answered.accuracy:
            at = f"threshold {metrics.calibration.threshold:.2f}"
            axes.plot(answered.coverage.value, answered.accuracy.value, "D", color=look.theme.second, ms=9, label=at)
        axes.set_xlabel("share of songs that are answered")
        axes.set_ylabel("share of right answers")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.05)
        axes.grid(axis="both")
        axes.legend(frameon=False, loc="lower left")
        return png(figure)


def _counts(metrics: SongMetrics) -> list[int]:
    return [round(point.coverage * metrics.songs) for point in metrics.curve]
