"""The comparison page and the tables beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tumbao.analysis.compare import figures, summary
from tumbao.analysis.compare.findings import Findings, find
from tumbao.analysis.compare.scores import ENOUGH, Score
from tumbao.analysis.compare.tables import MEASURES, SHARES, as_json, comma_separated, markdown
from tumbao.analysis.compare.trial import Trial
from tumbao.analysis.report.page import LEAKY_NOTE, SYNTHETIC_NOTE, Picture
from tumbao.components.evaluation.scores import RESAMPLES
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.serving.page import data_uri, template, write_page
from tumbao.serving.style import DARK, DOTS_PER_INCH, LIGHT, Look

PAGE = "index.html"


def write_comparison(
    trials: Sequence[Trial],
    out: Path,
    *,
    reference: str,
    library: str,
    folded: str = "",
    failures: Mapping[str, str] | None = None,
) -> None:
    """Write ``index.html``, which needs no other file, ``table.md``, ``table.csv`` and ``trials.json``.

    All files are written atomically. Without trials of `reference`, no model is compared. `folded` is a sentence about
    genres that were folded up, or empty. `failures` are the reasons why models could not be trained or exported. Raises
    ValueError if the trials cannot be compared, see `pooling.pools`.
    """
    findings, failed = find(trials, reference), dict(failures or {})
    write_whole(out / "table.md", _bytes(markdown(findings, library, folded, failed)))
    write_whole(out / "table.csv", _bytes(comma_separated(findings)))
    write_whole(out / "trials.json", _bytes(as_json(findings, trials, library, folded, failed)))
    page = template(Path(__file__).parent).render(
        findings=findings,
        library=library,
        folded=folded,
        failures=failed,
        trials=len(trials),
        pictures={name: _picture(note, draw) for name, note, draw in _drawings(findings)},
        measures=MEASURES,
        shares=SHARES,
        words=summary,
        resamples=RESAMPLES,
        enough=ENOUGH,
    )
    write_page(out / PAGE, page)


def _drawings(findings: Findings) -> Iterator[tuple[str, str, Callable[[Look], bytes]]]:
    """Yield name, note and plot function of each figure that the findings allow."""
    board = findings.boards[0]
    library = SYNTHETIC_NOTE if findings.synthetic else ""
    note = " · ".join(filter(None, [library, LEAKY_NOTE if board.leaky else ""]))
    yield "accuracies", note, partial(figures.accuracies, board, findings.reference)
    yield "genres", note, partial(figures.f1_by_genre, board, findings.genres)
    by_cost = partial(figures.accuracy_by_cost, board, findings.reference)
    if any(map(_megabytes, board.scores)):
        yield "size", note, partial(by_cost, "Accuracy and size", "TFLite file, MB", _megabytes)
    if any(map(_train_seconds, board.scores)):
        yield "training", note, partial(by_cost, "Accuracy and training", "time of one training, s", _train_seconds)
    if findings.leaks:
        yield "leaks", library, partial(figures.leaks, findings.leaks)


def _picture(note: str, draw: Callable[[Look], bytes]) -> Picture:
    light, dark = draw(Look(LIGHT, note)), draw(Look(DARK, note))
    pixels_wide = int.from_bytes(light[16:20], "big")  # width in the PNG header
    return Picture(data_uri("image/png", light), data_uri("image/png", dark), pixels_wide * 96 // DOTS_PER_INCH, note)


def _megabytes(score: Score) -> float | None:
    return score.cost.tflite_bytes / 1e6 if score.cost.tflite_bytes else None


def _train_seconds(score: Score) -> float | None:
    return score.cost.train_seconds or None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
