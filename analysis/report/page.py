"""The report page, with its figures beside it as PNG."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tumbao.analysis.figures import figure_note, picture
from tumbao.analysis.report import figures
from tumbao.components.evaluation.metrics import SIGNIFICANCE, Scores, mcnemar, scores
from tumbao.components.evaluation.run_data import (
    PAPER_ACCURACY,
    PAPER_LOSS,
    ReportData,
    Search,
    SearchTrial,
    verdict,
)
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.schema.record import SPLITS
from tumbao.serving.formatting import percent, rounded_p
from tumbao.serving.page import Look, template

LEAST_GAIN = 0.01
"""Gain in balanced accuracy by twice as many songs below which a learning curve counts as flat."""

SHOWN_TRIALS = 10
"""Trials of a search in the table; that of the paper and that of the run's own setting are always included."""

_NAMES = {
    "data": "library",
    "protocol": "split by",
    "method": "split strategy",
    "resume": "resume training",
    "tune": "trials of a search",
    "from_component": "first component",
    "to_component": "last component",
    "policy": "precision of the backbone",
    "precision": "precision asked for",
}
"""Names of settings on the page, where those in `run.json` are not those of the configuration."""


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
        settings=[(_NAMES.get(name, name), _text(value)) for name, value in data.run.settings.items()],
        learning_curve=curve_sentence(data.run.candidates[0].curve) if data.run.candidates else "",
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
    library = figure_note(synthetic=data.run.synthetic, leaky=False)
    measured = figure_note(synthetic=data.run.synthetic, leaky=data.leaky)
    for i, sample in enumerate(data.samples, start=1):
        yield _mel_name(i, sample.genre), library, partial(figures.mel_figure, sample, data.mel_spec)
    if data.run.candidates and data.run.candidates[0].curve:
        yield "learning-curve", measured, partial(figures.learning_curve, data.run.candidates[0].curve)
    if data.search:
        yield "search", measured, partial(figures.search_figure, data.search)
    if data.history and len(data.history["epochs"]) > 1:
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


def _text(value: object) -> str:
    """Format a setting: lists with commas, and `automatic` for one that was left to Tumbao."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "automatic" if value is None or value == "" else str(value)


def curve_sentence(curve: Sequence[tuple[int, float]]) -> str:
    """Describe a learning curve, and what more songs would bring if it goes on like its last part."""
    if len(curve) < 2:
        return "Too few songs for a learning curve."
    (fewer, before), (most, last) = curve[-2:]
    gain = (last - before) / math.log2(most / fewer)  # by doubling
    found = (
        f"Balanced accuracy in cross-validation by number of training songs of each genre, at most: {percent(before)} "
        f"with {fewer}, {percent(last)} with {most}."
    )
    if gain < LEAST_GAIN:
        return f"{found} The curve is flat: more songs of the same kind would bring little, other sources may."
    return f"{found} If it goes on, twice as many songs raise it by {100 * gain:.1f} points."


def shown_trials(search: Search) -> list[SearchTrial]:
    """Return the rows of a search's table, the best first."""
    named = (search.paper, search.given)
    return [one for index, one in enumerate(search.trials) if index < SHOWN_TRIALS or one.number in named]


def conclusion(search: Search) -> str:
    """Compare the best setting of a search with the paper's: a sign test of the songs, corrected by Bonferroni."""
    opening = "The paper found no significant difference between numbers and sizes of layers."
    if search.paper is None or search.right_paper is None:
        return f"{opening} Here the trial with the paper's setting failed, so nothing can be compared with it."
    others = search.tried - 1
    if search.best.number == search.paper:
        return f"{opening} Here none of the {others} other settings was better than the paper's."
    names, song = np.unique(search.songs, return_inverse=True)
    best, paper = (np.bincount(song, right) for right in (search.right_best, search.right_paper))
    more, fewer = int((best > paper).sum()), int((best < paper).sum())
    p_value = mcnemar(more, fewer)
    corrected = min(1.0, p_value * others)
    outcome = (
        "the difference is significant, unlike in the paper"
        if corrected < SIGNIFICANCE
        else "the difference is not significant here either"
    )
    return (
        f"{opening} Here the best setting classifies {percent(best.sum() / len(song))} of the {len(song)} fragments of "
        f"{len(names)} validation songs correctly and the paper's {percent(paper.sum() / len(song))}: more fragments "
        f"of {more} songs, fewer of {fewer}. By a sign test over songs, p = {rounded_p(p_value)}, or "
        f"p = {rounded_p(corrected)} corrected for the best of {others} settings: {outcome}. The accuracy of the best "
        "setting is biased upwards, because it was selected on these fragments; for the accuracy on other songs, see "
        "the test split."
    )


def _mel_name(number: int, genre: str) -> str:
    return f"mel-{number}-{re.sub(r'[^a-z0-9]+', '-', genre.lower())}"
