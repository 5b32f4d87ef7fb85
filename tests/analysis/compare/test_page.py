"""The comparison's page and tables: every figure with its labels, and text from files is escaped."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests import pages
from tests.analysis.compare.simulated_trials import simulate, trial
from tests.pages import assert_self_contained
from tumbao.analysis.compare import page as tables
from tumbao.analysis.compare.page import PAGE, write_comparison
from tumbao.analysis.compare.scores import MEASURES, SHARES, Findings, find
from tumbao.analysis.compare.trial import Trial
from tumbao.serving.formatting import decimal, percent

ATTACK = "<script>alert(1)</script>"
FAILURES = {"crnn": f"out of memory {ATTACK} | and more"}
MODELS = ("vgg16", "musicnn", "adaboost")


def trials(*, synthetic: bool = True) -> list[Trial]:
    return list(simulate(models=MODELS, folds=2, songs=30, synthetic=synthetic))


def text_of(page: str) -> str:
    return pages.text_of(page, " ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison") / "new"
    write_comparison(trials(), out, reference="vgg16", library=f"Library {ATTACK}", failures=FAILURES)
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / PAGE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def findings() -> Findings:
    return find(trials(), "vgg16")


def test_the_page_needs_only_the_files_beside_it_and_escapes_names(page: str, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "table.csv", "table.md", "trials.json"]
    assert_self_contained(page, ATTACK, "table.csv", "table.md", "trials.json")
    assert page.count("<img") == 2 * 2
    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    assert r"| crnn | out of memory <script>alert(1)</script> \| and more |" in lines


def test_the_page_has_every_figure(page: str, findings: Findings) -> None:
    read = text_of(page)
    for board in findings.boards:
        for one in board.scores:
            for name in MEASURES:
                estimate = getattr(one, name)
                value = percent(estimate.value) if name in SHARES else decimal(estimate.value)
                mark = " leaky" if board.leaky else ""
                share = name in SHARES
                spread = f"{tables.ends(estimate, share=share)} ±{tables.deviation(estimate, share=share)}"
                assert text_of(f"{value}{mark} {spread}") in read
    for leak in findings.leaks:
        assert text_of(f"{percent(leak.fragment.value)} leaky") in read
        assert text_of(tables.points(leak.value)) in read
    for difference in findings.boards[0].differences.values():
        ends = f"{tables.signed(difference.low)} to {tables.signed(difference.high)}"
        assert text_of(f"{tables.points(difference.value)} {ends}") in read
    for text in ("out of memory", "adaboost has no TFLite file", tables.outcome(findings)):
        assert text_of(text) in read


def test_headings_and_figures_are_labelled_synthetic(page: str, folder: Path) -> None:
    with_numbers = [heading for heading in re.findall(r"<h[12].*?</h[12]>", page) if "Method" not in heading]
    assert len(with_numbers) == 8
    assert all("synthetic library" in heading for heading in with_numbers)
    assert all("(synthetic library)" in alt for alt in re.findall(r'alt="([^"]*)"', page))
    headings = re.findall(r"^#.*$", (folder / "table.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert all("synthetic" in heading for heading in headings if "Failures" not in heading)


def test_every_figure_of_the_split_by_fragment_is_labelled_leaky(folder: Path, findings: Findings) -> None:
    text = (folder / "table.md").read_text(encoding="utf-8")
    by_song, by_fragment = text.split("## Models, split by fragment (leaky)")
    assert "leaky" not in by_song
    lines = [line for line in by_fragment.splitlines() if re.match(r"\| \d", line)]
    assert len(lines) == len(MODELS)
    for line in lines:
        assert all(cell.endswith("(leaky)") for cell in line.split(" | ")[2:8])
    rows = list(csv.DictReader((folder / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert {(row["protocol"], row["leaky"]) for row in rows} == {("song", "False"), ("fragment", "True")}
    facts = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    assert {(one["protocol"], one["leaky"]) for one in facts["trials"]} == {("song", False), ("fragment", True)}


def test_recorded_songs_of_a_leaky_split_alone(tmp_path: Path) -> None:
    only = [one for one in trials(synthetic=False) if one.leaky]
    write_comparison(only, tmp_path, reference="vgg16", library="Records")
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "The split leaks." in text_of(page)
    assert all("leaky split" in alt for alt in re.findall(r'alt="([^"]*)"', page))
    assert "split by fragment (leaky)" in tables.outcome(find(only, "vgg16"))
    assert not any("synthetic" in (tmp_path / name).read_text(encoding="utf-8") for name in (PAGE, "table.md"))


def test_csv_has_the_figures(folder: Path, findings: Findings) -> None:
    rows = list(csv.DictReader((folder / "table.csv").read_text(encoding="utf-8").splitlines()))
    scores = [one for board in findings.boards for one in board.scores]
    assert [(row["protocol"], row["model"]) for row in rows] == [(one.protocol, one.model) for one in scores]
    for row, one in zip(rows, scores, strict=True):
        assert float(row["accuracy"]) == one.accuracy.value
        assert float(row["f1_salsa_low"]) == one.f1[3].low
        assert (row["tflite_bytes"] == "") == (one.model == "adaboost")
        assert (row["against_reference_value"] == "") == (one.model == "vgg16")


def test_json_has_every_trial(folder: Path, findings: Findings) -> None:
    found = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    assert len(found["trials"]) == len(trials())
    assert found["trials"][0]["test_accuracy"] == trials()[0].accuracy
    assert (
        found["findings"]["boards"][0]["scores"][0]["accuracy"]["value"] == findings.boards[0].scores[0].accuracy.value
    )
    assert found["failures"] == FAILURES


def test_the_outcome_says_whether_the_difference_is_significant(findings: Findings) -> None:
    assert tables.outcome(findings).endswith("against vgg16: the difference is significant.")
    alike = [trial(), trial(model="fcn", probabilities=np.array([[0.75, 0.25], [0.25, 0.75]], np.float32))]
    assert tables.outcome(find(alike, "vgg16")).endswith("against vgg16: the difference is not significant.")
    assert tables.outcome(find(alike, "fcn")).endswith("but not significantly more than vgg16.")
    assert tables.outcome(find(alike, "cnn")).endswith(
        "cnn is not among the models, so there are no significance tests."
    )
    assert tables.outcome(find(trials(), "musicnn")).endswith("significantly more than adaboost and vgg16.")


def test_one_trial_is_enough_for_a_page(tmp_path: Path) -> None:
    one = trial(tflite_bytes=None, tflite_note="cannot be converted", train_seconds=0.0)
    write_comparison([one], tmp_path, reference="vgg16", library="Records")
    page = text_of((tmp_path / PAGE).read_text(encoding="utf-8"))
    assert "2 test songs: only large differences" in page
    assert "1 training of 1 model" in page
    assert "Against vgg16" not in page
