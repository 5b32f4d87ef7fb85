"""The report with sub-genres: both levels, and merged sub-genres are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.pages import text_of
from tumbao.analysis.report.page import write_report
from tumbao.components.evaluation.metrics import SongMetrics, interval_over_songs, scores, song_metrics
from tumbao.components.evaluation.run_data import Catalog, Evaluation, ReportData, Run
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import decimal, percent

pytestmark = pytest.mark.usefixtures("without_plots")

LEAVES = ("cumbia", "salsa", "salsa/dura", "vallenato")
GENRE_OF = np.array([0, 1, 1, 2])
MERGED = "salsa/<b>: 4 songs, merged into salsa"


def evaluation(genres: tuple[str, ...] = LEAVES) -> Evaluation:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 12)
    logits = rng.normal(size=(48, 4)) + np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(genres, labels, probabilities, np.array([f"song-{i // 3}" for i in range(48)]))


def songs(genres: tuple[str, ...] = LEAVES) -> SongMetrics:
    given = evaluation()
    split = list(given.probabilities.reshape(-1, 3, 4)), given.labels[::3]
    return song_metrics(*split, *split, genres)


def page(folder: Path, genres: tuple[str, ...] = LEAVES, merged: tuple[str, ...] = (MERGED,)) -> str:
    run = Run("run", "2026-01-02T03:04:05+00:00", "songs", False, 7, {}, {}, "abc", "random", "float32", "no AMX")
    catalog = Catalog(16, 16, [], [], {}, "song", 7, [], merged)
    data = ReportData(run, MelSpec(), catalog=catalog, evaluation=evaluation(genres), songs=songs(genres))
    return write_report(data, folder).read_text("utf-8")


def test_scores_of_genres_are_of_sums_over_their_sub_genres() -> None:
    given = evaluation()
    main = scores(given).main
    assert main is not None
    summed = np.stack([given.probabilities[:, genre == GENRE_OF].sum(axis=1) for genre in range(3)], axis=1)
    labels, predicted = GENRE_OF[given.labels], summed.argmax(axis=1)
    assert [row.genre for row in main.genres] == ["cumbia", "salsa", "vallenato"]
    np.testing.assert_array_equal(main.confusion, confusion_matrix(labels, predicted))
    assert main.accuracy == interval_over_songs(predicted == labels, given.songs)
    assert main.loss == pytest.approx(-np.log(summed[np.arange(48), labels]).mean())
    assert main.main is None


def test_both_levels_are_shown_for_fragments_and_songs(tmp_path: Path) -> None:
    read, tested, whole = text_of(page(tmp_path)), scores(evaluation()), songs()
    assert tested.main is not None
    assert whole.main is not None
    for name, level, rule in (("leaf", tested, whole.product), ("genre", tested.main, whole.main)):
        cells = [percent(level.accuracy.value), f"{percent(level.accuracy.low)} to {percent(level.accuracy.high)}"]
        cells += [percent(rule.accuracy.value), f"{percent(rule.accuracy.low)} to {percent(rule.accuracy.high)}"]
        row = name + "".join(cells) + decimal(level.loss, 4)
        assert row.replace("\N{NO-BREAK SPACE}", " ") in read
    assert "has 4 sub-genres (leaves) of 3 genres" in read
    assert "the mean of leaves and genres" not in read  # there is no training in this report
    assert (tmp_path / "figures" / "confusion-genres.png").exists()


def test_merged_sub_genres_are_named_and_escaped(tmp_path: Path) -> None:
    markup = page(tmp_path)
    assert MERGED in text_of(markup)
    assert "<b>:" not in markup
