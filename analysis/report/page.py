"""The report page, with its figures beside it as PNG."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from tumbao.analysis.figures import LEAKY_NOTE, SYNTHETIC_NOTE, picture
from tumbao.analysis.report import figures
from tumbao.analysis.report.search import conclusion, search_figure, shown_trials
from tumbao.components.evaluation.metrics import Scores, scores
from tumbao.components.evaluation.run_data import PAPER_ACCURACY, PAPER_LOSS, ReportData, verdict
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.schema.record import SPLITS
from tumbao.serving.page import template
from tumbao.serving.style import Look


def render_report(data: ReportData) -> tuple[bytes, dict[str, bytes]]:
    """Render a report, also of an incomplete run: the page, which needs no other file, and its figures as PNG."""
    tested = scores(data.evaluation) if data.evaluation else None
    pictures, files = {}, {}
    for name, note, plot in _figures(data, tested):
        pictures[name] = picture(note, plot)
        files[name] = pictures[name].png
    page = template(Path(__file__).parent).render(
        data=data,
        tested=tested,
        songs=data.songs,
        shown_trials=shown_trials(data.search) if data.search else [],
        search_conclusion=conclusion(data.search) if data.search else "",
        verdict=verdict(data),
        pictures=pictures,
        mel_names=[_mel_name(i, sample.genre) for i, sample in enumerate(data.samples, start=1)],
        splits=SPLITS,
        paper_loss=PAPER_LOSS,
        paper_accuracy=PAPER_ACCURACY,
    )
    return page.encode("utf-8", errors="backslashreplace"), files


def write_report(data: ReportData, out_dir: Path) -> Path:
    """Write ``index.html`` and ``figures/*.png``, each atomically, and return the page's path."""
    page, files = render_report(data)
    for name, content in files.items():
        write_whole(out_dir / "figures" / f"{name}.png", content)
    index = out_dir / "index.html"
    write_whole(index, page)
    return index


def _figures(data: ReportData, tested: Scores | None) -> Iterator[tuple[str, str, Callable[[Look], Figure]]]:
    """Yield name, note and plot function of each figure that the run allows."""
    library = SYNTHETIC_NOTE if data.run.synthetic else ""
    measured = " · ".join(filter(None, [library, LEAKY_NOTE if data.leaky else ""]))
    for i, sample in enumerate(data.samples, start=1):
        yield _mel_name(i, sample.genre), library, partial(figures.mel_figure, sample, data.mel_spec)
    if data.search:
        yield "search", measured, partial(search_figure, data.search)
    if data.history:
        for metric in ("accuracy", "loss"):
            yield metric, measured, partial(figures.by_epoch, data.history, metric)
    if tested and data.evaluation:
        yield "test", measured, partial(figures.test_figures, tested)
        yield "confusion", measured, partial(figures.confusion_matrix, tested.confusion, data.evaluation.genres)
        if tested.main:
            names = [row.genre for row in tested.main.genres]
            yield "confusion-genres", measured, partial(figures.confusion_matrix, tested.main.confusion, names)
    if data.songs:
        yield "reliability", measured, partial(figures.reliability_diagram, data.songs)
        yield "coverage", measured, partial(figures.accuracy_by_coverage, data.songs)
    if data.components:
        yield "graph", library, partial(figures.graph_figure, data.components, data.edges)


def _mel_name(number: int, genre: str) -> str:
    return f"mel-{number}-{re.sub(r'[^a-z0-9]+', '-', genre.lower())}"
