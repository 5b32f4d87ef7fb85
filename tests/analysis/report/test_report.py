"""The run report: figures, labels of synthetic and leaky results, and text from files is escaped."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pages import assert_self_contained, text_of
from tumbao.analysis.report.figures import graph_figure
from tumbao.analysis.report.page import render_report, write_report
from tumbao.components.evaluation.metrics import SongMetrics, scores, song_metrics
from tumbao.components.evaluation.run_data import (
    Catalog,
    Component,
    Epoch,
    Evaluation,
    FlaggedSong,
    Gate,
    GateRow,
    History,
    MobileCheck,
    Push,
    RejectedFile,
    ReportData,
    Run,
    SampleImage,
    SplitCount,
    VariantResult,
    verdict,
)
from tumbao.components.ingest.splits import is_leaky
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import decimal, percent
from tumbao.serving.out_of_distribution import DistributionRanges
from tumbao.serving.style import LIGHT, Look, png

GENRES = ("salsa", "cumbia", "trova & <i>$on$</i>")
EDGES = (("Ingest", "Trainer"), ("Ingest", "Evaluator"), ("Trainer", "Evaluator"))
FIGURES = ("accuracy", "loss", "test", "confusion", "reliability", "coverage")
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

    known = DistributionRanges((0.0,) * 5, (9.0,) * 5, 77, 0.0, ())
    return song_metrics(*split(evaluation(8)), *split(evaluation()), np.arange(12) != 3, known)


def complete(*, protocol: str = "song", synthetic: bool = True) -> ReportData:
    rng = np.random.default_rng(5)
    return ReportData(
        run=Run(
            run_id="run-7",
            started="2026-01-02T03:04:05+00:00",
            library=f"Library {ATTACK}",
            synthetic=synthetic,
            seed=4711,
            settings={"--epochs": 2},
            versions={"keras": "3.12.0"},
            code_digest="abc123",
            weights_source="Keras cache",
            precision="float32",
            precision_reason="no AMX",
        ),
        mel_spec=MelSpec(),
        components=(
            Component("Ingest", "cached", 0.0),
            Component("Trainer", "ran", 83.0),
            Component("Evaluator", "ran", 4.0),
        ),
        edges=EDGES,
        catalog=Catalog(
            found=14,
            ingested=12,
            rejected=(
                RejectedFile(f"salsa/{ATTACK}.mp3", "unreadable", f"no audio in {ATTACK}"),
                RejectedFile("salsa/caf\udce9.mp3", "too short", "1.0 s"),
            ),
            flagged=(FlaggedSong("cumbia/short.wav", "shorter than a fragment: silence was added"),),
            counts=tuple(
                SplitCount(genre, split, songs, 3 * songs)
                for genre in GENRES
                for split, songs in (("train", 2), ("val", 1), ("test", 1))
            ),
            split_by=protocol,  # type: ignore[arg-type]  # a parametrised test gives plain text
            split_seed=7,
            warnings=("Only 4 songs of salsa.",),
        ),
        samples=(SampleImage(GENRES[2], rng.integers(0, 256, (300, 300, 3), np.uint8), f"{ATTACK}.mp3", 90.0),),
        history=History((Epoch(1.1, 0.4, 1.0, 0.5), Epoch(0.7, 0.7, 0.8, 0.6)), best_epoch=2),
        evaluation=evaluation(),
        songs=songs(),
        gate=Gate(True, (GateRow("accuracy", "overall", 0.91, -0.01, "change against baseline", 0.9, True),)),
        mobile_check=MobileCheck(True, ()),
        artefacts=(
            VariantResult(
                "int8.tflite", "LiteRT", "int8", 36_200_000, 37_000_000, 30, 0.99, 0.9, 0.91, 0.04, 81.6, True
            ),
            VariantResult(
                "int8.tflite",
                "browser",
                "int8",
                36_200_000,
                37_000_000,
                0,
                None,
                None,
                None,
                None,
                None,
                passed=True,
                not_measured="no Chromium",
            ),
        ),
        push=Push(True, "pushed/123"),
    )


def partial() -> ReportData:
    data = complete()
    return ReportData(
        run=data.run,
        mel_spec=data.mel_spec,
        components=(
            Component("Ingest", "ran", 12.0),
            Component("Trainer", "failed", 1.0, f"Digest is wrong {ATTACK}\nsecond line"),
            Component("Evaluator", "not run", 0.0),
        ),
        edges=EDGES,
        catalog=data.catalog,
    )


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
    data = complete(protocol="fragment", synthetic=False)
    return write_report(data, tmp_path_factory.mktemp("leaky")).read_text("utf-8")


@pytest.fixture(scope="module")
def partial_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a run whose Trainer failed."""
    return write_report(partial(), tmp_path_factory.mktemp("partial")).read_text("utf-8")


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize(
    ("protocol", "method", "leaky"),
    [("fragment", "stratified", True), ("fragment", "given", False), ("song", "given", False)],
)
def test_report_and_catalogue_agree_on_leaks(tmp_path: Path, protocol: str, method: str, leaky: bool) -> None:
    whole = complete(protocol=protocol)
    assert whole.catalog
    catalog = dataclasses.replace(whole.catalog, split_strategy=method)
    page = write_report(ReportData(whole.run, whole.mel_spec, whole.components, EDGES, catalog), tmp_path).read_text(
        "utf-8"
    )
    assert (catalog.leaky, "The split leaks" in page, is_leaky(protocol, method)) == (leaky, leaky, leaky)
    assert ("Split as given by the library" in page) == (method == "given")


@pytest.mark.usefixtures("without_plots")
def test_the_report_before_the_push_has_no_run_and_no_pipeline() -> None:
    whole = complete()
    before = dataclasses.replace(
        whole, run=dataclasses.replace(whole.run, run_id="", started=""), components=(), edges=(), push=None
    )
    content, files = render_report(before)
    page = content.decode()
    assert "The model passed every check." in page
    assert 'id="result"' in page
    assert 'id="pipeline"' not in page
    assert "started <time" not in page
    assert not files.keys() & {"graph", "timings"}


def test_songs_found_are_ingested_or_rejected(page: str) -> None:
    assert "14 songs found = 12 ingested + 2 rejected" in text_of(page)
    with pytest.raises(ValueError, match="as many songs found as ingested and rejected"):
        dataclasses.replace(complete().catalog, found=15)  # type: ignore[type-var]  # complete() has a catalog


def test_every_figure_of_a_split_by_fragment_is_labelled_leaky(leaky_page: str) -> None:
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
    refused = dataclasses.replace(complete(protocol="fragment"), gate=Gate(False, ()))
    assert "leaky" in verdict(refused).sentence


def test_a_split_by_song_is_not_labelled_leaky(page: str) -> None:
    assert "leak" not in text_of(page).replace("it does not leak", "")
    assert "leaky split" not in page


def test_sections_and_figures_are_labelled_synthetic(page: str) -> None:
    sections = re.findall(r"<section.*?</section>", page, flags=re.DOTALL)
    assert len(sections) == 9
    assert all("synthetic library" in text_of(section) for section in sections)
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(pictures) == 18  # nine, for light and for dark
    assert all(alt.endswith("(synthetic library)") for alt in pictures)
    assert "Trained on composed, synthetic songs" in text_of(page)


def test_recordings_are_not_labelled_synthetic(leaky_page: str) -> None:
    assert "synthetic" not in text_of(leaky_page)
    assert "(synthetic" not in leaky_page


def test_labels_are_part_of_the_figure_files(tmp_path: Path) -> None:
    data = dataclasses.replace(complete(), samples=(), artefacts=())
    recorded = dataclasses.replace(data, run=dataclasses.replace(data.run, synthetic=False))
    write_report(data, tmp_path / "synthetic")
    write_report(recorded, tmp_path / "recorded")
    names = {path.name for path in (tmp_path / "synthetic" / "figures").iterdir()}
    assert names == {f"{name}.png" for name in (*FIGURES, "graph", "timings")}
    for name in names:
        foot_of = {
            kind: np.asarray(Image.open(tmp_path / kind / "figures" / name).convert("L"))[-30:]
            for kind in ("synthetic", "recorded")
        }
        assert not np.array_equal(foot_of["synthetic"], foot_of["recorded"])


def test_the_papers_results_have_their_caveat(page: str) -> None:
    read = text_of(page)
    assert "The paper, split by fragment0.38160.8770" in read
    assert "The paper used other songs and a split by fragment" in read


@pytest.mark.usefixtures("without_plots")
def test_calibration_names_its_number_of_songs(page: str, tmp_path: Path) -> None:
    calibration, read = songs().calibration, text_of(page)
    assert f"From 24 validation songs ({calibration.errors} classified wrongly)" in read
    assert f"temperature {calibration.temperature:.2f}, and below a probability of {calibration.threshold:.2f}" in read
    assert "These are few songs: temperature and threshold are rough, cautious estimates" in read
    assert "five statistics of 77 training images. This applies to 1 of the test songs." in read
    many = dataclasses.replace(songs(), familiarity=None, calibration=dataclasses.replace(calibration, songs=500))
    unanswered = dataclasses.replace(many, answered=dataclasses.replace(many.answered, songs=0, accuracy=None))
    other = text_of(write_report(dataclasses.replace(complete(), songs=unanswered), tmp_path).read_text("utf-8"))
    assert "few songs" not in other
    assert "too few training songs for an out-of-distribution check: audio that is not music can get a genre" in other
    assert "training images" not in other
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
    result = verdict(data)
    assert result.outcome == "refused"
    assert "accuracy is 0.742, below the minimum of 0.800" in result.sentence
    assert "recall of salsa is 0.417, below the minimum of 0.500" in result.sentence
    assert "the baseline's is 0.830: the minimum change is -0.010" in result.sentence
    assert "cumbia" not in result.sentence
    read = text_of(write_report(data, tmp_path).read_text("utf-8"))
    assert result.sentence in read
    assert "✗ failedrecallsalsa0.4170≥ 0.500–" in read
    assert "✗ failedaccuracyoverall0.7421change ≥ −0.0100.8300" in read
    assert "nothing was pushed" in read


def test_the_verdict_names_where_the_model_was_pushed_or_why_not() -> None:
    data = complete()
    assert verdict(data).outcome == "pushed"
    assert "pushed/123" in verdict(data).sentence
    again = dataclasses.replace(data, push=Push(False, "pushed/123"))
    assert verdict(again).outcome == "standing"
    assert "not pushed again" in verdict(again).sentence
    away = verdict(dataclasses.replace(data, push=Push(False, None, "ana withdrew it")))
    assert (away.outcome, away.sentence) == (
        "refused",
        "The model passed every check, but was not pushed: ana withdrew it.",
    )
    vetoed = dataclasses.replace(
        data, mobile_check=MobileCheck(False, ("int8 agrees on 40 % only.",)), push=Push(False, None)
    )
    assert verdict(vetoed).outcome == "refused"
    assert "int8 agrees on 40 % only." in verdict(vetoed).sentence
    failed = dataclasses.replace(data, gate=Gate(False, ()), push=Push(False, None))
    assert "no failed threshold" in verdict(failed).sentence
    assert verdict(dataclasses.replace(data, gate=None, push=None)).outcome == "unfinished"


def test_an_incomplete_run_is_reported(partial_page: str) -> None:
    read = text_of(partial_page)
    assert f"Trainer failed: Digest is wrong {ATTACK} Nothing was pushed." in read
    assert "second line" in read
    assert "14 songs found" in read
    assert "Result on the test songs" not in read
    assert "Why the model" not in read
    assert re.findall(r"<section[^>]*>", partial_page) == [
        f'<section aria-labelledby="{name}">' for name in ("music", "pipeline", "run")
    ]


def test_pages_need_no_other_file_and_escape_names(page: str, leaky_page: str, partial_page: str) -> None:
    for one in (page, leaky_page, partial_page):
        assert_self_contained(one, ATTACK)
        assert "<script" not in one
        assert "<i>$on$" not in one
        assert "caf\\udce9.mp3" in one


def test_figures_are_pictures_with_something_on_them(written: Path, page: str) -> None:
    inline = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]*)", page)]
    files = [path.read_bytes() for path in sorted((written.parent / "figures").glob("*.png"))]
    assert (len(inline), len(files)) == (18, 9)
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
        "--epochs2",
        "keras3.12.0",
        "Keras cache",
        "float32: no AMX",
        "abc123",
        "Trainerran1 min 23 s",
        "Ingestcached–",
        "Only 4 songs of salsa.",
        "cumbia/short.wavshorter than a fragment: silence was added",
        "✓ passedint8.tfliteLiteRTint836.2 MB (37.0 MB)30",
        "–int8.tflitebrowserint836.2 MB (37.0 MB)not measured: no Chromium",
        "salsa2 / 61 / 31 / 3",
        "all6 / 183 / 93 / 9",
    ):
        assert detail in read


def test_the_graph_grows_with_its_components() -> None:
    components = [Component(name, "ran", 1.0) for name in "ABCDEFG"]
    edges = [("A", "B"), ("A", "D"), ("D", "F"), ("A", "G")]

    def plotted(components: list[Component], edges: list[tuple[str, str]]) -> bytes:
        return png(functools.partial(graph_figure, components, edges), Look(LIGHT, ""))

    def height(count: int) -> int:
        with Image.open(io.BytesIO(plotted(components[:count], edges[:1]))) as picture:
            return picture.height

    assert height(7) > height(3)
    assert plotted(components, edges) != plotted(components, edges[:3])
    with pytest.raises(KeyError, match="X"):
        plotted(components, [("A", "X")])
