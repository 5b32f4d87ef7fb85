"""The whole pipeline through the command line, on a small library, mostly in one workspace, run after run.

A run is interrupted, the next is killed, the third completes and pushes; then training is resumed, the library changes,
and a model of shuffled labels is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.forks import run_forked
from tests.pipeline.stepwise import Stepwise
from tumbao.components.song_evaluation import read_song_metrics
from tumbao.pipeline.cli import main
from tumbao.pipeline.cloud import compile_pipeline, parameters_file
from tumbao.pipeline.config import parse
from tumbao.pipeline.runs import RunRecord, read_runs
from tumbao.schema.genres import GENRES
from tumbao.serving.model_info import ASSETS_FOLDER, CLASSIFIER_FILES, FRONTEND_FILE, LABELS_FILE, ModelInfo

RATE = 22_050
FORMATS = ("wav", "flac", "mp3", "ogg")
TUMBAO = str(Path(sys.executable).with_name("tumbao"))
SMALL = ("--model", "musicnn", "--weights", "random", "--epochs", "12", "--batch", "4", "--folds", "2")
PAPER = (
    *("--model", "vgg16", "--weights", "random", "--epochs", "8", "--batch", "4", "--learning-rate", "1e-5"),
    *("--folds", "0"),
)
COMPONENTS = [
    *("AudioExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "AnomalyGate", "BackboneFeatures"),
    *("Trainer", "Baseline", "SongEvaluation", "Evaluator", "FinalModel", "SongGate"),
    *("EdgeExport", "MobileCheck", "ModelCard", "Report", "Pusher"),
]


def song(genre: int, number: int, seconds: float = 31.0) -> np.ndarray:
    rng = np.random.default_rng(100 * genre + number)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.002 * rng.standard_normal(time.size)
    for hz in 150 * 2.2**genre * rng.uniform(0.98, 1.02) * np.array([1, 1.15, 1.3, 1.5]):
        sound += 0.1 * np.sin(2 * np.pi * hz * time) * (1.2 + np.sin(2 * np.pi * rng.uniform(0.3, 2) * time))
    return sound.astype(np.float32)


def write_library(library: Path) -> None:
    """Write four songs of each genre, each in another format, and three files that are not songs."""
    for genre, name in enumerate(GENRES):
        for number, suffix in enumerate(FORMATS):
            file = library / name / f"{name}-{number}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, song(genre, number), RATE)
    (library / "salsa" / "text.mp3").write_text("This is no song.")
    (library / "salsa" / "empty.flac").touch()
    soundfile.write(library / "salsa" / "short.wav", song(3, 9, seconds=1), RATE)
    (library / "library.json").write_text('{"synthetic": true}')


@dataclasses.dataclass(frozen=True)
class Workplace:
    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "library"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def versions(self) -> list[Path]:
        return sorted((self.workspace / "pushed").glob("[0-9]*"))

    def tumbao(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([TUMBAO, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)

    def run(self, workspace: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the pipeline in a fork of a process that has imported TFX."""
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        for file in (out, err):
            file.unlink(missing_ok=True)
        arguments = ["run", "--data", "library", "--workspace", workspace, *options]
        code = run_forked(main, arguments, self.folder, out, err)
        return subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def run_until(self, line: str, then: signal.Signals) -> tuple[int, str]:
        """Send a signal to a run and its children, as a terminal does, when it has printed a line."""
        command = [TUMBAO, "run", "--data", "library", "--workspace", "workspace", *SMALL]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(command, cwd=self.folder, start_new_session=True, **options) as process:
            assert process.stdout
            printed, sent = "", False
            for written in process.stdout:
                printed += written
                if written.strip() == line and not sent:
                    os.killpg(process.pid, then)
                    sent = True
        return process.returncode, printed


@dataclasses.dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
    record: RunRecord
    page: str
    log: str
    versions: list[Path]

    @property
    def states(self) -> dict[str, str]:
        """Of each component in the report: ran, cached, failed or not run."""
        return dict(re.findall(r'<th scope="row">(\w+)</th><td>(ran|cached|failed|not run)</td>', self.page))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    place = Workplace(tmp_path_factory.mktemp("place"))
    write_library(place.library)
    yield place
    shutil.rmtree(place.folder)  # 2 GB


def finished(place: Workplace, *options: str) -> Outcome:
    done = place.run("workspace", *SMALL, *options)
    record = read_runs(place.workspace)[-1]
    folder = place.workspace / "runs" / record.run
    page = (folder / "report" / "index.html").read_text("utf-8")
    return Outcome(
        done.returncode, done.stdout, done.stderr, record, page, (folder / "log.txt").read_text(), place.versions
    )


@pytest.fixture(scope="module")
def interrupted(place: Workplace) -> tuple[int, str]:
    return place.run_until("▸ AudioExampleGen", signal.SIGINT)


@pytest.fixture(scope="module")
def killed(place: Workplace, interrupted: tuple[int, str]) -> tuple[int, str]:
    return place.run_until("▸ BackboneFeatures", signal.SIGKILL)


@pytest.fixture(scope="module")
def first(place: Workplace, killed: tuple[int, str]) -> Outcome:
    return finished(place)


@pytest.fixture(scope="module")
def stepwise(place: Workplace, first: Outcome) -> Iterator[Future[Stepwise]]:
    """Compile the same run for Kubeflow, and run it from the compiled file alone, beside the runs that follow."""
    library = Path(shutil.copytree(place.library, place.folder / "copy" / "library"))
    config = parse(
        {
            "data": {"library": str(library)},
            "split": {"strategy": "stratified", "folds": 2},
            "model": {"name": "musicnn", "weights": "random"},
            "training": {"epochs": 12, "batch": 4},
            "runner": {"name": "kubeflow", "root": str(place.folder / "cloud"), "image": "none"},
        }
    )
    file = place.folder / "pipeline.yaml"
    compile_pipeline(config, file)
    steps = Stepwise(file, json.loads(parameters_file(file).read_text()), place.folder / "steps")

    def run() -> Stepwise:
        steps.run()
        return steps

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run)


@pytest.fixture(scope="module")
def model(first: Outcome) -> ModelInfo:
    return ModelInfo.read(first.versions[0] / ASSETS_FOLDER)


@pytest.fixture(scope="module")
def second(place: Workplace, first: Outcome, stepwise: Future[Stepwise]) -> Outcome:
    return finished(place)


@pytest.fixture(scope="module")
def paper(place: Workplace, second: Outcome) -> subprocess.CompletedProcess[str]:
    return place.run("paper", *PAPER)


@pytest.fixture(scope="module")
def resumed(place: Workplace, paper: subprocess.CompletedProcess[str]) -> Outcome:
    return finished(place, "--resume", "--epochs", "1", "--learning-rate", "1e-12", "--to", "Trainer")


@pytest.fixture(scope="module")
def shuffled(place: Workplace, resumed: Outcome) -> Outcome:
    """Replace a file by another of the same size, and move the others: every folder then holds a song of each genre."""
    file = place.library / "salsa" / "salsa-0.wav"
    size = file.stat().st_size
    soundfile.write(file, song(3, 8), RATE)
    assert file.stat().st_size == size
    for genre, name in enumerate(GENRES):
        for number, suffix in enumerate(FORMATS[1:], start=1):
            file = place.library / name / f"{name}-{number}.{suffix}"
            file.rename(place.library / GENRES[(genre + number) % len(GENRES)] / file.name)
    return finished(place)


def test_an_interrupted_run_prints_so_without_a_traceback(place: Workplace, interrupted: tuple[int, str]) -> None:
    code, printed = interrupted
    assert code == 130
    assert "Interrupted. The same command continues the run." in printed
    assert "Traceback" not in printed
    assert read_runs(place.workspace)[0].outcome == "interrupted"


def test_a_killed_run_is_continued_by_the_next(killed: tuple[int, str], first: Outcome) -> None:
    assert killed[0] == -signal.SIGKILL
    assert "features: 20 of 20" not in killed[1]
    before = COMPONENTS.index("BackboneFeatures")
    assert [first.states[name] for name in COMPONENTS] == ["cached"] * before + ["ran"] * (len(COMPONENTS) - before)


def test_a_good_model_is_pushed(first: Outcome) -> None:
    assert first.code == 0, first.out
    (version,) = first.versions
    assert first.record.outcome == "pushed"
    assert first.record.pushed_to == str(version)
    assert first.record.blessed is True
    assert first.record.accuracy is not None
    assert first.record.accuracy >= 0.8
    files = {file.relative_to(version).as_posix() for file in version.rglob("*") if file.is_file()}
    edge = (FRONTEND_FILE, *CLASSIFIER_FILES.values(), LABELS_FILE, "model.json")
    assert files >= {"saved_model.pb", *(f"{ASSETS_FOLDER}/{name}" for name in edge)}


def test_the_components_report_is_pushed_with_the_model(place: Workplace, first: Outcome) -> None:
    (artefact,) = place.workspace.glob("pipeline/Report/page/*/report.html")
    pushed = (first.versions[0] / ASSETS_FOLDER / "report.html").read_text("utf-8")
    assert pushed == artefact.read_text("utf-8")
    figures = re.findall(r"<dt>(?:Songs|Fragments) recognised</dt><dd>.*", first.page)
    assert figures == re.findall(r"<dt>(?:Songs|Fragments) recognised</dt><dd>.*", pushed)
    assert "The model passed every check." in pushed
    assert first.record.run not in pushed  # a later run may reuse the page
    for text in ("23 songs found = 20 ingested + 3 rejected", "salsa/text.mp3", "salsa/empty.flac", "salsa/short.wav"):
        assert text in first.page and text in pushed


def test_the_pushed_model_describes_itself(first: Outcome, model: ModelInfo) -> None:
    assert (first.versions[0] / ASSETS_FOLDER / LABELS_FILE).read_text().splitlines() == list(GENRES)
    assert model.genres == GENRES
    assert (model.split.protocol, model.split.leaky, model.split.seed) == ("song", False, 7)
    assert model.training_data.synthetic is True
    assert model.training_data.library == "library"
    assert model.training_data.songs == model.training_data.fragments == {"train": 10, "val": 5, "test": 5}
    assert model.metrics["test_accuracy"] == pytest.approx(first.record.accuracy)
    assert model.versions["backbone_weights"] == "random"
    for file in model.files.values():
        content = (first.versions[0] / ASSETS_FOLDER / file.name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_accuracy_is_the_same_everywhere(place: Workplace, first: Outcome, model: ModelInfo) -> None:
    accuracy = model.metrics["test_accuracy"]
    assert first.record.accuracy == accuracy
    assert f"fragments  {accuracy:.1%} of the test fragments recognised" in first.out
    text = first.page.replace("\N{NO-BREAK SPACE}", " ")
    shown = re.search(r"<dt>Fragments recognised</dt><dd>([\d.]+) %", text)
    assert shown and shown[1] == f"{100 * accuracy:.1f}"
    card = (first.versions[-1] / ASSETS_FOLDER / "model_card.md").read_text("utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert f"| {100 * accuracy:.1f} % [" in card.partition("| fragments |")[2].partition("\n")[0]
    event = json.loads((place.workspace / "pushed" / "pushes.jsonl").read_text().splitlines()[0])
    assert event["accuracy"] == accuracy


def test_the_pushed_model_has_the_figures_of_its_songs(place: Workplace, first: Outcome, model: ModelInfo) -> None:
    (figures,) = place.workspace.glob("pipeline/SongEvaluation/figures/*")
    metrics = read_song_metrics(str(figures))
    assert metrics.songs == 5
    assert model.calibration == metrics.calibration
    assert (metrics.calibration.songs, metrics.calibration.rough) == (15, True)  # of cross-validation
    for comparison in metrics.comparisons:
        assert comparison.sentence in html.unescape(first.page)
    (report,) = place.workspace.glob("pipeline/MobileCheck/report/*/agreement.json")
    row, *_ = json.loads(report.read_text())  # the whole model predicts as the head does with cached features
    assert (row["name"], row["through"]) == ("SavedModel", "signature image")
    assert row["max_probability_difference"] < 0.05


def sorted_by_execution(place: Workplace, pattern: str) -> list[Path]:
    """List files of artefacts, whose folders are named by the number of the execution, the oldest first."""
    files = (place.workspace / "pipeline").glob(pattern)
    return sorted(files, key=lambda file: int(file.parent.name))


def test_the_terminal_shows_steps_and_summary_and_the_log_the_rest(
    place: Workplace, killed: tuple[int, str], first: Outcome
) -> None:
    assert re.findall(r"^▸ (\w+)$", first.err, re.MULTILINE) == [name for name in COMPONENTS if name in first.states]
    for noise in ("INFO", "WARNING", "absl", "apache_beam", "tensorflow/core", "Traceback", "Warning:"):
        assert noise not in killed[1] + first.err + first.out
    assert "INFO:absl:Component Trainer is running." in first.log
    assert "features: 20 of 20" in first.err
    lines = dict(line.split(maxsplit=1) for line in first.out.splitlines() if line.startswith(" "))
    assert lines["fragments"].endswith("of the test fragments recognised (synthetic library)")
    assert lines["model"] == str(first.versions[0])
    assert all((place.folder / lines[name]).is_file() for name in ("report", "log"))
    assert "its answers for real recordings are not reliable" in first.out


def test_runs_and_report_agree_with_the_run(place: Workplace, first: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    report = place.tumbao("report", "--workspace", "workspace")
    assert report.stdout.strip() == f"workspace/runs/{first.record.run}/report/index.html"
    monkeypatch.setenv("COLUMNS", "200")
    listed = place.tumbao("runs", "--workspace", "workspace").stdout
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in listed.splitlines() if "│" in row]
    outcomes = {row[0]: row[1:7] for row in rows}
    accuracy = f"{first.record.accuracy:.1%}"
    assert outcomes[first.record.run] == ["library (synthetic library)", "20", "song", accuracy, "yes", "pushed"]
    assert len(outcomes) == 3


def test_every_format_is_classified_as_by_the_float_model_without_tensorflow(place: Workplace, first: Outcome) -> None:
    program = (
        "import sys; from tumbao.pipeline.cli import main\n"
        "try: main()\n"
        'finally: sys.stderr.write(f\'{sorted({"tensorflow", "tfx", "librosa"} & sys.modules.keys())}\')'
    )
    arguments = ["classify", "library/salsa", "--model", "workspace/pushed", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=place.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("[]")
    answers = {Path(line["path"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    reasons = {name: answer["error"]["reason"] for name, answer in answers.items() if "error" in answer}
    assert reasons == {"text.mp3": "unsupported", "empty.flac": "empty", "short.wav": "too short"}
    songs = {name: answer["nearest"] for name, answer in answers.items() if "nearest" in answer}
    assert songs.keys() == {f"salsa-{number}.{suffix}" for number, suffix in enumerate(FORMATS)}
    (predictions,) = place.workspace.glob("pipeline/SongEvaluation/figures/*/predictions.jsonl")
    lines = map(json.loads, predictions.read_text().splitlines())
    predicted = {line["song"]: line for line in lines if line["split"] == "test"}
    (name,) = (Path(song).name for song in predicted if song.startswith("salsa/"))
    assert songs[name] == GENRES[int(np.argmax(predicted[f"salsa/{name}"]["probabilities"]))]


def test_a_second_run_is_cached_and_does_not_push_again(first: Outcome, second: Outcome) -> None:
    assert second.code == 0
    assert second.states == {name: "ran" if name in {"Baseline", "Pusher"} else "cached" for name in COMPONENTS}
    assert second.versions == first.versions
    assert second.record.outcome == "standing"
    assert f"it is already served from {first.versions[0]} and was not pushed again" in second.out


def test_the_paper_network_is_pushed_with_all_its_parameters(
    place: Workplace, paper: subprocess.CompletedProcess[str]
) -> None:
    assert paper.returncode == 0, paper.stdout
    (version,) = (place.folder / "paper" / "pushed").glob("[0-9]*")
    checkpoint = tf.train.load_checkpoint(str(version / "variables/variables"))
    names = [name for name in checkpoint.get_variable_to_shape_map() if name.startswith("weights/")]
    assert sum(checkpoint.get_tensor(name).size for name in names) == 35_982_021
    assert {path.name for path in (version / ASSETS_FOLDER).iterdir()} >= {*CLASSIFIER_FILES.values()}


def test_resume_trains_on_from_the_best_weights(place: Workplace, second: Outcome, resumed: Outcome) -> None:
    assert resumed.code == 0
    assert resumed.states["Trainer"] == "ran"
    assert resumed.states["BackboneFeatures"] == "cached"
    assert resumed.states["Evaluator"] == "not run"
    earlier, later = (
        json.loads(file.read_text()) for file in sorted_by_execution(place, "Trainer/model_run/*/history.json")
    )
    best = earlier["epochs"][earlier["best_epoch"] - 1]
    assert later["epochs"][0]["val_accuracy"] == best["val_accuracy"]
    assert later["epochs"][0]["val_loss"] == pytest.approx(best["val_loss"], abs=1e-3)


def test_moved_and_replaced_songs_are_ingested_and_trained_on_again(place: Workplace, shuffled: Outcome) -> None:
    digest = hashlib.sha256((place.library / "salsa" / "salsa-0.wav").read_bytes()).hexdigest()
    assert list(place.workspace.rglob(f"{digest}*.zip"))
    assert {shuffled.states[name] for name in COMPONENTS} == {"ran"}
    ingested = sorted_by_execution(place, "AudioExampleGen/ingested/*/ingested.jsonl")[-1]
    songs = [json.loads(line) for line in ingested.read_text().splitlines()]
    assert all(song["song"].startswith(f"{song['genre']}/") for song in songs)
    assert "salsa/bachata-3.ogg" in {song["song"] for song in songs}


def test_a_model_of_shuffled_labels_is_not_blessed_and_nothing_is_pushed(first: Outcome, shuffled: Outcome) -> None:
    assert shuffled.code == 3
    assert shuffled.record.outcome == "refused"
    assert shuffled.record.blessed is False
    assert shuffled.versions == first.versions
    sentence = shuffled.record.sentence
    assert sentence.startswith("The model was not blessed, so nothing was pushed: accuracy is ")
    assert re.search(r"accuracy is 0\.[0-4]00, below the minimum of 0\.449", sentence)  # plausible for 0.8 of 5 songs
    assert re.search(r"accuracy is 0\.\d+ on 20 songs .*, expected 0\.800 \(--min-accuracy\)", sentence)
    assert sentence in html.unescape(shuffled.page)


def test_the_compiled_pipeline_gives_the_same_blessed_model(
    place: Workplace, first: Outcome, model: ModelInfo, stepwise: Future[Stepwise]
) -> None:
    steps = stepwise.result()
    (version,) = (place.folder / "cloud" / "pushed").glob("[0-9]*")
    theirs = ModelInfo.read(version / ASSETS_FOLDER)
    assert steps.outputs["Pusher"]["artifacts"]["pushed_model"]["artifacts"][0]["metadata"]["pushed"] == 1
    assert theirs.metrics == pytest.approx(model.metrics, abs=1e-3)
    assert (theirs.genres, theirs.split, theirs.mel) == (model.genres, model.split, model.mel)
    ours_digest = model.training_data.catalog_digest  # of the songs' paths, which differ
    assert dataclasses.replace(theirs.training_data, catalog_digest=ours_digest) == model.training_data
    assert theirs.calibration == model.calibration
    files = {path.name for path in (version / ASSETS_FOLDER).iterdir()}
    assert files >= {"model_card.md", "report.html", *CLASSIFIER_FILES.values()}
    report = (steps.uri("Report", "page") / "report.html").read_text("utf-8")
    assert "23 songs found = 20 ingested + 3 rejected" in report
    assert f"<dd>{100 * model.metrics['test_accuracy']:.1f}" in report
    ours, others = (tf.train.load_checkpoint(str(one / "variables/variables")) for one in (first.versions[0], version))
    names = [name for name in ours.get_variable_to_shape_map() if name.startswith("weights/")]
    assert sum(ours.get_tensor(name).size for name in names) > 100_000
    for name in names:
        np.testing.assert_allclose(others.get_tensor(name), ours.get_tensor(name), atol=1e-4)
