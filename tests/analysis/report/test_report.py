"""The run report: figures, labels of synthetic and leaky results, and text from files is escaped."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pages import assert_self_contained, text_of
from tumbao.analysis.report.page import curve_sentence, render_report, write_report
from tumbao.components.evaluation.metrics import SongMetrics, scores, song_metrics
from tumbao.components.evaluation.run_data import (
    Candidate,
    Catalog,
    Component,
    Evaluation,
    Gate,
    GateRow,
    MobileCheck,
    Push,
    ReportData,
    Run,
    SampleImage,
    SplitCount,
    verdict,
)
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import decimal, percent

GENRES = ("salsa", "cumbia", "trova & <i>$on$</i>")
ATTACK = "<script>alert(1)</script>"


def evaluation(songs_per_genre: int = 4) -> Evaluation:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), songs_per_genre * 3)
    logits = rng.normal(size=(len(labels), 3)) + 1.2 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(GENRES, labels, probabilities, np.array([f"song-{i // 3}" for i in range(len(labels))]))


def songs() -> SongMetrics:
    """The figures of the songs of `evaluation`, calibrated on others that are twice as many."""

    def split(given: Evaluation) -> tuple[list[np.ndarray], np.ndarray]:
        return list(given.probabilities.reshape(-1, 3, 3)), given.labels[::3]

    return song_metrics(*split(evaluation(8)), *split(evaluation()))


def epoch(loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> dict[str, float]:
    return {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}


def complete(*, split_by: str = "song", synthetic: bool = True) -> ReportData:
    variant = {"name": "int8.tflite", "through": "LiteRT", "precision": "int8", "fragments": 30, "milliseconds": 81.6}
    variant |= {"size_bytes": 36_200_000, "size_limit_bytes": 37_000_000, "agreement": 0.99, "accuracy": 0.9}
    variant |= {"float_accuracy": 0.91, "max_probability_difference": 0.04, "failures": [], "not_measured": None}
    return ReportData(
        run=Run(
            run_id="run-7",
            started="2026-01-02T03:04:05+00:00",
            library=f"Library {ATTACK}",
            synthetic=synthetic,
            seed=4711,
            settings={"protocol": "song", "genres": ["salsa", "cumbia"], "folds": None, "cache": True},
            versions={"keras": "3.12.0"},
            code_digest="abc123",
            weights_source="Keras cache",
            precision="float32",
            precision_reason="no AMX",
        ),
        mel_spec=MelSpec(),
        components=(
            Component("Ingest", (), "cached", 0.0),
            Component("Trainer", ("Ingest",), "ran", 83.0),
            Component("Evaluator", ("Ingest", "Trainer"), "ran", 4.0),
        ),
        catalog=Catalog(
            found=14,
            ingested=12,
            rejected=[
                {"song": f"salsa/{ATTACK}.mp3", "reason": "unreadable", "detail": f"no audio in {ATTACK}"},
                {"song": "salsa/caf\udce9.mp3", "reason": "too short", "detail": "1.0 s"},
            ],
            flagged=[("cumbia/short.wav", "shorter than a fragment: repeated")],
            counts={
                genre: {split: SplitCount(songs, 3 * songs) for split, songs in (("train", 2), ("val", 1), ("test", 1))}
                for genre in GENRES
            },
            split_by=split_by,
            split_seed=7,
            warnings=["Only 4 songs of salsa."],
        ),
        samples=(SampleImage(GENRES[2], np.zeros((300, 300, 3), np.uint8), f"{ATTACK}.mp3", 90.0),),
        history={"epochs": [epoch(1.1, 0.4, 1.0, 0.5), epoch(0.7, 0.7, 0.8, 0.6)], "best_epoch": 2},
        evaluation=evaluation(),
        songs=songs(),
        gate=Gate(True, (GateRow("accuracy", "overall", 0.91, -0.01, "change against baseline", 0.9, True),)),
        mobile_check=MobileCheck(
            True, [variant, variant | {"through": "browser", "fragments": 0, "not_measured": "no Chromium"}]
        ),
        push=Push(True, "pushed/123"),
    )


def written_text(data: ReportData, folder: Path) -> str:
    return text_of(write_report(data, folder).read_text("utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete report on a synthetic library, split by song."""
    return write_report(complete(), tmp_path_factory.mktemp("complete") / "report")


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return written.read_text("utf-8")


@pytest.fixture(scope="module")
def leaky_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A complete report on recordings, split by fragment."""
    data = complete(split_by="fragment", synthetic=False)
    return write_report(data, tmp_path_factory.mktemp("leaky")).read_text("utf-8")


@pytest.mark.usefixtures("without_plots")
def test_the_librarys_own_split_is_not_leaky(tmp_path: Path) -> None:
    whole = complete(split_by="fragment")
    assert whole.catalog
    given = dataclasses.replace(whole.catalog, split_strategy="given")
    read = written_text(ReportData(whole.run, whole.mel_spec, catalog=given), tmp_path)
    assert "Split as given by the library: it does not leak" in read
    assert "The split leaks" not in read


@pytest.mark.usefixtures("without_plots")
def test_a_fit_without_epochs_is_described_by_its_songs_and_has_no_curves(tmp_path: Path) -> None:
    fit = {"songs": 55, "folds": 3, "penalty": 10**0.5, "composed_songs": 120, "composed_weight": 1.0}
    history = {"epochs": [epoch(0.1, 1.0, 0.8, 0.75)], "best_epoch": 1, "fit": fit}
    data = dataclasses.replace(complete(), history=history)
    candidate = Candidate("tumbao", songs=9, right=6, balanced_accuracy=0.7, log_loss=1.0)
    data = dataclasses.replace(data, run=dataclasses.replace(data.run, candidates=(candidate,)))
    read = written_text(data, tmp_path)
    assert "fitted to the means of 55 songs of the training and validation split, without epochs" in read
    assert "120 composed songs, which a program wrote and played, joined them with 1.0 times their weight" in read
    assert "in 3 folds chose the penalty (C = 3.16) and that weight: accuracy 0.7500" in read
    assert "It was then trained on the training and validation split" in read
    assert not {path.stem for path in tmp_path.glob("figures/*.png")} & {"accuracy", "loss"}


@pytest.mark.usefixtures("without_plots")
def test_the_report_before_the_push_has_no_run_and_no_pipeline() -> None:
    whole = complete()
    run = dataclasses.replace(whole.run, run_id="", started="")
    content, _ = render_report(dataclasses.replace(whole, run=run, components=(), push=None))
    page = content.decode()
    assert "The model passed every check." in page
    assert 'id="result"' in page
    assert 'id="pipeline"' not in page
    assert "started <time" not in page


def test_songs_found_are_ingested_or_rejected(page: str) -> None:
    assert "14 songs found = 12 ingested + 2 rejected" in text_of(page)
    with pytest.raises(ValueError, match="as many songs found as ingested and rejected"):
        dataclasses.replace(complete().catalog, found=15)  # type: ignore[type-var]  # complete() has a catalog


def test_every_figure_of_a_split_by_fragment_is_labelled_leaky(leaky_page: str, page: str) -> None:
    ours, read = scores(evaluation()), text_of(leaky_page)
    numbers = [percent(ours.accuracy.value), decimal(ours.loss, 4)]
    numbers += [percent(score.accuracy.value) for score in songs().rules]
    shares = [ours.accuracy, songs().answered.coverage, *(score.accuracy for score in songs().rules)]
    numbers += [f"{percent(share.low)} to {percent(share.high)}" for share in shares]
    numbers += [decimal(songs().after.calibration_error), decimal(songs().before.log_loss)]
    numbers += [comparison.sentence for comparison in songs().comparisons]
    numbers += [decimal(row.recall) for row in ours.genres]
    numbers += ["0.9100", "0.9000", "validation accuracy 0.6000"]
    for number in numbers:
        assert text_of(f"{number} leaky") in read
    assert "Split by fragment, seed 7: it leaks" in read
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', leaky_page)
    assert sum(alt.endswith("(leaky split (by fragment))") for alt in alts) == 2 * 6
    refused = dataclasses.replace(complete(split_by="fragment"), gate=Gate(False, ()))
    assert "leaky" in verdict(refused).sentence
    assert "leak" not in text_of(page).replace("it does not leak", "")
    assert "leaky split" not in page


def test_sections_and_figures_are_labelled_synthetic(page: str, leaky_page: str) -> None:
    sections = re.findall(r"<section.*?</section>", page, flags=re.DOTALL)
    assert len(sections) == 9
    assert all("synthetic library" in text_of(section) for section in sections)
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(pictures) == 14  # seven, for light and for dark
    assert all(alt.endswith("(synthetic library)") for alt in pictures)
    assert "Trained on composed, synthetic songs" in text_of(page)
    assert "synthetic" not in text_of(leaky_page)
    assert "(synthetic" not in leaky_page


@pytest.mark.usefixtures("without_plots")
def test_calibration_names_its_number_of_songs(page: str, tmp_path: Path) -> None:
    calibration, read = songs().calibration, text_of(page)
    assert f"From 24 validation songs ({calibration.errors} classified wrongly)" in read
    assert f"temperature {calibration.temperature:.2f}, and below a probability of {calibration.threshold:.2f}" in read
    assert "These are few songs: temperature and threshold are rough, cautious estimates" in read
    many = dataclasses.replace(songs(), calibration=dataclasses.replace(calibration, songs=500))
    unanswered = dataclasses.replace(many, answered=dataclasses.replace(many.answered, songs=0, accuracy=None))
    other = written_text(dataclasses.replace(complete(), songs=unanswered), tmp_path)
    assert "few songs" not in other
    assert "0 of 12 test songs get a genre" in other
    assert "of them the correct one" not in other


@pytest.mark.usefixtures("without_plots")
def test_reasons_for_refusal_are_listed(tmp_path: Path) -> None:
    rows = (
        GateRow("accuracy", "overall", 0.7421, 0.8, "lower bound", None, False),
        GateRow("accuracy", "overall", 0.7421, -0.01, "change against baseline", 0.83, False),
        GateRow("recall", "salsa", 0.417, 0.5, "lower bound", None, False),
        GateRow("recall", "cumbia", 0.9, 0.5, "lower bound", None, True),
    )
    data = dataclasses.replace(complete(), gate=Gate(False, rows), push=Push(False, None), samples=())
    result, read = verdict(data), written_text(data, tmp_path)
    assert result.outcome == "refused"
    assert result.sentence == (
        "The model was not blessed, so nothing was pushed: accuracy is 0.742, below the minimum of 0.800; accuracy is "
        "0.742 and the baseline's is 0.830: the minimum change is -0.010; recall of salsa is 0.417, below the minimum "
        "of 0.500."
    )
    for text in (
        result.sentence,
        "✗ failedrecallsalsa0.4170≥ 0.500–",
        "✗ failedaccuracyoverall0.7421change ≥ −0.0100.8300",
        "nothing was pushed",
    ):
        assert text in read


FAILED = [{"name": "int8", "through": "LiteRT", "failures": ["agrees on 40 % only"]}]


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({}, "pushed", "pushed/123"),
        ({"push": Push(False, "pushed/123")}, "standing", "not pushed again"),
        ({"push": Push(False, None, "ana withdrew it")}, "refused", "check, but was not pushed: ana withdrew it."),
        ({"push": None, "mobile_check": MobileCheck(False, FAILED)}, "refused", "int8 (LiteRT) agrees on 40 % only."),
        ({"push": None, "gate": None}, "unfinished", "before the evaluation"),
    ],
)
def test_the_verdict_names_where_the_model_was_pushed_or_why_not(
    changes: dict[str, object], outcome: str, words: str
) -> None:
    found = verdict(dataclasses.replace(complete(), **changes))  # type: ignore[arg-type]  # fields by name
    assert found.outcome == outcome
    assert words in found.sentence


@pytest.mark.usefixtures("without_plots")
def test_an_incomplete_run_is_reported(tmp_path: Path) -> None:
    data = complete()
    components = (
        Component("Ingest", (), "ran", 12.0),
        Component("Trainer", ("Ingest",), "failed", 1.0, f"Digest is wrong {ATTACK}\nsecond line"),
        Component("Evaluator", ("Trainer",), "not run", 0.0),
    )
    stopped = ReportData(data.run, data.mel_spec, components, data.catalog)
    page = write_report(stopped, tmp_path).read_text("utf-8")
    read = text_of(page)
    assert f"Trainer failed: Digest is wrong {ATTACK} Nothing was pushed." in read
    assert "second line" in read
    assert re.findall(r"<section[^>]*>", page) == [
        f'<section aria-labelledby="{name}">' for name in ("music", "pipeline", "run")
    ]
    assert ATTACK not in page


def test_pages_need_no_other_file_and_escape_names(page: str) -> None:
    assert_self_contained(page, ATTACK)
    assert "<script" not in page
    assert "<i>$on$" not in page
    assert "caf\\udce9.mp3" in page


def test_figures_are_pictures_with_something_on_them(written: Path, page: str) -> None:
    inline = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]*)", page)]
    files = [path.read_bytes() for path in sorted((written.parent / "figures").glob("*.png"))]
    assert (len(inline), len(files)) == (14, 7)
    assert set(files) < set(inline)
    for content in inline:
        with Image.open(io.BytesIO(content)) as picture:
            grey = np.asarray(picture.convert("L"), dtype=np.int16)
        assert min(grey.shape) > 300
        assert np.ptp(grey) > 100


def test_run_details_are_shown(page: str) -> None:
    read = text_of(page)
    for detail in (
        "4711",
        "split bysong",
        "genressalsa, cumbia",
        "foldsautomatic",
        "cacheyes",
        "keras3.12.0",
        "Keras cache",
        "float32: no AMX",
        "abc123",
        "Trainerran1 min 23 sIngest",
        "Ingestcached––",
        "Evaluatorran4.0 sIngest, Trainer",
        "Only 4 songs of salsa.",
        "cumbia/short.wavshorter than a fragment: repeated",
        "✓ passedint8.tfliteLiteRTint836.2 MB (37.0 MB)30",
        "–int8.tflitebrowserint836.2 MB (37.0 MB)not measured: no Chromium",
        "salsa2 / 61 / 31 / 3",
        "all6 / 183 / 93 / 9",
        "The paper, split by fragment0.38160.8770",
        "The paper used other songs and a split by fragment",
    ):
        assert detail in read


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (((4, 0.6),), "Too few songs"),
        (((4, 0.6), (8, 0.7)), "twice as many songs raise it by 10.0 points"),
        (((2, 0.5), (4, 0.6), (16, 0.7)), "twice as many songs raise it by 5.0 points"),
        (((4, 0.7), (8, 0.705)), "flat"),
    ],
)
def test_the_learning_curve_says_what_more_songs_would_bring(curve: tuple[tuple[int, float], ...], words: str) -> None:
    assert words in curve_sentence(curve)
