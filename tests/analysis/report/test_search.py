"""A search in the report: all trials are plotted, the best are listed, and p-values are corrected."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pages import text_of
from tumbao.analysis.report.figures import search_figure
from tumbao.analysis.report.page import conclusion, write_report
from tumbao.components.evaluation.run_data import Catalog, ReportData, Run, Search, SearchTrial
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.page import LIGHT, Look, png

pytestmark = pytest.mark.usefixtures("without_plots")

SONGS = tuple(f"song-{index // 3}" for index in range(60))


def answers(songs_right: int) -> tuple[bool, ...]:
    """Return correct answers for all fragments of some songs, wrong ones for the others."""
    return tuple(index < 3 * songs_right for index in range(60))


def search(best: int, paper: int, sampled: int = 12) -> Search:
    """A search of the paper's setting, the given one, and random ones; the best is the last of them."""
    others = tuple(
        SearchTrial(
            3 + index,
            (16,) * (index % 4),
            0.1 * (index % 3),
            (0.0, 1e-5, 1e-3)[index % 3],
            2e-4 * (index + 1),
            0.1,
            2.0 + index,
        )
        for index in range(sampled - 1)
    )
    ranked = (
        SearchTrial(2 + sampled, (256, 32, 16), 0.4, 1e-4, 7e-4, best / 20, 0.3),
        *others,
        SearchTrial(2, (64,), 0.3, 0.0, 1e-3, 0.08, 3.0),
        SearchTrial(1, (512, 64), 0.0, 0.0, 1e-3, paper / 20, 4.0),
    )
    return Search(ranked, 0, 1, 2, SONGS, answers(best), answers(paper))


def section(found: Search, folder: Path, split_by: str = "song") -> str:
    """Return the text of the report's section on a search."""
    run = Run("run-1", "2026-01-02T03:04:05+00:00", "library", False, 7, {}, {}, "0", "random", "float32", "no AMX")
    data = ReportData(run, MelSpec(), catalog=Catalog(1, 1, [], [], {}, split_by, 7, []), search=found)
    page = write_report(data, folder).read_text("utf-8")
    (markup,) = re.findall(r'<section aria-labelledby="search">.*?</section>', page, flags=re.DOTALL)
    return text_of(markup, " ")


def folded(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("best", "paper", "fragments", "words"),
    [
        (18, 2, 3, "more fragments of 16 songs, fewer of 0. By a sign test over songs, p = < 0.001, or p = < 0.001"),
        (18, 2, 3, "the difference is significant, unlike in the paper. The accuracy of the best setting is biased"),
        (12, 6, 3, "p = 0.031, or p = 0.406 corrected for the best of 13 settings: the difference is not significant"),
        (12, 6, 20, "more fragments of 2 songs, fewer of 0. By a sign test over songs, p = 0.500"),
    ],
)
def test_the_best_setting_is_compared_with_the_papers_by_songs(
    best: int, paper: int, fragments: int, words: str
) -> None:
    found = search(best, paper)
    found = dataclasses.replace(found, songs=tuple(f"song-{index // fragments}" for index in range(60)))
    assert words in folded(conclusion(found))


def test_nothing_is_compared_if_the_papers_setting_is_the_best_or_failed() -> None:
    whole = search(best=12, paper=6)
    first = dataclasses.replace(whole, trials=(whole.trials[-1], *whole.trials[:-1]))
    assert "none of the 13 other settings was better" in conclusion(first)
    lost = dataclasses.replace(whole, trials=whole.trials[:-1], failed=1, paper=None, right_paper=None)
    assert "the trial with the paper's setting failed" in conclusion(lost)


def test_the_section_lists_the_best_ten_the_papers_and_the_given_setting(tmp_path: Path) -> None:
    found = search(best=12, paper=6)
    read = section(found, tmp_path)
    assert folded(conclusion(found)) in read
    assert "14 settings of the head were tried" in read
    assert "256, 32, 16 best 60.0 % 0.300 0.4 0.0001 0.0007" in read
    assert "512, 64 the paper's 30.0 % 4.000 0 0 0.001" in read
    assert "64 this run's 8.0 % 3.000 0.3 0 0.001" in read
    assert "12 of 14 are shown" in read
    assert "leaky" not in read
    assert "of them failed" not in read


def test_a_leaky_split_is_labelled_and_failures_are_counted(tmp_path: Path) -> None:
    found = dataclasses.replace(search(best=12, paper=6), failed=2)
    read = section(found, tmp_path, "fragment")
    assert f"{folded(conclusion(found))} leaky" in read
    assert "60.0 % leaky 0.300 leaky" in read
    assert "2 of them failed." in read
    assert "16 settings of the head" in read


def test_the_papers_mark_is_in_every_panel() -> None:
    look = Look(LIGHT, "")

    def pixels(found: Search, colour: str) -> int:
        with Image.open(io.BytesIO(png(functools.partial(search_figure, found), look))) as picture:
            seen = np.asarray(picture.convert("RGB"), dtype=np.int16)
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        return int((np.abs(seen - wanted).max(axis=-1) < 12).sum())

    whole = search(best=12, paper=6)
    lost = dataclasses.replace(whole, trials=whole.trials[:-1], paper=None, right_paper=None)
    assert pixels(whole, look.theme.second) > 6 * 50  # five panels and the legend
    assert pixels(lost, look.theme.second) == 0
