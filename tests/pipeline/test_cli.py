"""Exit codes and messages of the command line: no traceback, and nothing is trained after invalid use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import soundfile

from tests.pipeline.conftest import Call
from tumbao.pipeline.commands import app as app_module
from tumbao.pipeline.commands import run as run_commands
from tumbao.pipeline.config import Config
from tumbao.pipeline.runs import RunRecord, locked, read_runs
from tumbao.schema.genres import GENRES
from tumbao.trainer.weights import DIGEST


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(1)
    for genre in GENRES:
        (root / genre).mkdir()
        for number in range(3):
            soundfile.write(root / genre / f"{number}.wav", rng.uniform(-0.5, 0.5, 4 * 8_000), 8_000)
    return root


@pytest.fixture
def run(tumbao: Call) -> Call:
    """Run the pipeline, and expect that it ends before any component begins."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code, out, err = tumbao("run", "--workspace", "ws", *arguments)
        assert "▸" not in err
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Expected a library: --data, or data.library in --config"),
        (["run", "--data", "nowhere"], "'nowhere' does not exist"),
        (["run", "--set", "data.library=nowhere"], "'nowhere' does not exist"),
        (["run", "--data", ".", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["run", "--data", ".", "--beam=--direct_num_workers=2"], "Expected runner.beam_args: flags with a --runner"),
        (["run", "--data", ".", "--min-accuracy", "1.5"], "Invalid value for '--min-accuracy'"),
        (["run", "--data", ".", "--split", "fragment", "--split-method", "fixed"], "Received: split.by='fragment'"),
        (
            ["run", "--data", ".", "--split", "given", "--split-method", "fixed"],
            "Expected split.strategy: none for given splits",
        ),
        (["watch", "--data", ".", "--split", "artist", "--split-method", "fixed"], "Expected split.by: song where"),
        (
            ["compile", "--runner=kubeflow", "--root=/r", "--image=i", "--data=/d", "--out=/dev/null/pipeline.yaml"],
            "/dev/null",
        ),
        (["inspect", "songs.csv", "--out", "page"], "Expected the columns file_name, genre"),
        (["fetch", "songs.csv", "--out", "songs"], "url"),
        (["classify", "song.mp3", "--model", "nowhere"], "No model in nowhere"),
        (["train"], "No such command 'train'"),
        (["classify"], "Missing argument 'songs'"),
    ],
)
def test_invalid_use_is_exit_code_2(tumbao: Call, arguments: list[str], message: str) -> None:
    Path("songs.csv").write_text("title\nOne\n")
    Path("song.mp3").touch()
    code, out, err = tumbao(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("page").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", ".", "--out"],
        ["drift", ".", "--out"],
        ["compare", "--data", ".", "--out"],
        ["curate", ".", "--out"],
        ["explain", "--out"],
        ["classify", ".", "--out"],
        ["classify", ".", "--playlists"],
        ["fetch", "songs.csv", "--out"],
        ["compile", "--out"],
        ["submit", "--out"],
        ["demo", "--library"],
        ["demo-library"],
    ],
    ids=" ".join,
)
def test_local_outputs_cannot_be_addresses(tumbao: Call, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "songs.csv").touch()
    code, _, err = tumbao(*arguments, "gs://bucket/results")
    assert code == 2
    assert "Received: gs://bucket/results. Write it here" in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "gs:").exists()


@pytest.mark.parametrize("command", ["inspect", "drift", "curate"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tumbao: Call, library: Path, command: str) -> None:
    code, out, err = tumbao(command, str(library), "--out", "/proc/page")
    assert (code, out) == (2, "")
    message = "Path '/proc/page' cannot be written to: /proc may not be written to"
    assert message in " ".join(err.replace("│", " ").split())


def test_the_command_is_installed() -> None:
    command = [str(Path(sys.executable).with_name("tumbao")), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "tumbao 0.1.0\n"


@pytest.mark.parametrize("command", ["run", "compare", "curate"])
def test_a_locked_workspace_is_1_and_a_file_is_2(tumbao: Call, library: Path, command: str) -> None:
    Path("file").touch()
    arguments = [str(library), "--out", "out"] if command == "curate" else ["--data", str(library)]
    with locked(Path("ws")):
        code, _, err = tumbao(command, *arguments, "--workspace", "ws")
    assert (code, err.count("Another run is active")) == (1, 1)
    code, _, err = tumbao(command, *arguments, "--workspace", "file")
    assert (code, err.count("Expected a folder that can be written to")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--from", "Trainr"], 2, "Expected --from and --to out of AudioExampleGen, "),
        (["--to", "Trainr"], 2, "Received: Trainr"),
        (["--from", "Trainer", "--to", "StatisticsGen"], 2, "Expected --from before --to in AudioExampleGen, "),
        (["--from", "Trainer"], 1, "Expected an earlier run, whose results before Trainer are reused"),
        (["--resume"], 1, "Expected an earlier run to resume from"),
        (["--genres", "salsa,cumbia,tango"], 1, "Received none of: tango"),
    ],
)
def test_a_run_that_cannot_begin_prints_the_reason(
    run: Call, library: Path, options: list[str], code: int, message: str
) -> None:
    received, out, _ = run("--data", str(library), "--weights", "random", *options)
    assert received == code
    assert message in out
    assert read_runs(Path("ws"))[0].outcome == ("failed" if code == 1 else "misused")


def test_a_failed_component_ends_the_run_with_its_reason_and_a_report(tumbao: Call, library: Path) -> None:
    """Beam gets a flag that it cannot follow."""
    options = ("--data", str(library), "--weights", "random", "--folds", "0", "--beam=--runner=NoSuchRunner")
    code, out, err = tumbao("run", "--workspace", "ws", *options)
    assert code == 1
    assert "NoSuchRunner" in out
    assert "▸ AudioExampleGen" in err
    assert "▸ StatisticsGen" not in err
    (record,) = read_runs(Path("ws"))
    assert record.outcome == "failed"
    assert "AudioExampleGen failed" in (Path("ws") / "runs" / record.run / "report" / "index.html").read_text()


def test_ctrl_c_is_named(tumbao: Call, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumbao.analysis.inspect.page.run_inspect", mock.Mock(side_effect=KeyboardInterrupt))
    code, out, err = tumbao("inspect", str(library), "--out", "page")
    assert (code, out, err) == (130, "", "Interrupted.\n")


def test_several_wrong_settings_have_a_line_each(tumbao: Call) -> None:
    code, _, err = tumbao("compile", "--runner", "vertex", "--data", "/music", "--out", "vertex.yaml")
    assert code == 2
    assert len(err.splitlines()) >= 2
    assert "\\n" not in err


def test_a_genre_of_silent_songs_ends_the_run(tumbao: Call, library: Path, tmp_path: Path) -> None:
    (tmp_path / "quiet").mkdir()
    (tmp_path / "quiet" / "cumbia").symlink_to(library / "cumbia")
    (tmp_path / "quiet" / "salsa").mkdir()
    for number in range(3):  # silence, which only decoding finds out; each of another length, or they were the same
        soundfile.write(tmp_path / "quiet" / "salsa" / f"{number}.wav", np.zeros((31 + number) * 8_000), 8_000)
    run = ("run", "--workspace", "ws", "--data", "quiet", "--weights", "random", "--genres", "cumbia,salsa")
    code, out, _ = tumbao(*run)
    assert code == 1
    assert "Received none of: salsa" in out
    assert out.count(": silent: is silent") == 3


def test_too_few_songs_of_a_genre_are_counted(run: Call, library: Path, tmp_path: Path) -> None:
    for genre in GENRES[:2]:
        (tmp_path / "small" / genre).mkdir(parents=True)
        for number in range(3 if genre == GENRES[0] else 2):
            (tmp_path / "small" / genre / f"{number}.wav").symlink_to(library / genre / f"{number}.wav")
    code, out, _ = run("--data", "small", "--genres", ",".join(GENRES[:2]), "--weights", "random")
    assert code == 1
    assert f"{GENRES[1]} has 2 and needs 1 more" in out


def test_wrong_weights_are_an_error_before_the_run(run: Call, library: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(file)
    code, out, _ = run("--data", str(library), "--weights", str(file))
    assert code == 1
    assert "These are not VGG-16's ImageNet weights" in out
    assert f"SHA-256 {DIGEST}" in out
    assert str(file) in out


def test_a_workspace_without_runs_has_no_list_and_no_report(tumbao: Call) -> None:
    code, _, err = tumbao("runs")
    assert code == 2
    assert "tumbao run --data FOLDER" in err
    code, _, err = tumbao("report")
    assert code == 2
    assert "Expected a run with a report in tumbao-workspace. Received, runs with a report: none." in err


def test_records_with_markup_are_listed(tumbao: Call) -> None:
    RunRecord("[red]", "", "[/odd]", protocol="[/by]", library="[/songs]", accuracy=0.5).write(Path("ws"))
    code, out, _ = tumbao("runs", "--workspace", "ws")
    assert code == 0
    assert all(text in out for text in ("[red]", "[/odd]", "[/by]", "[/songs]", "50.0%"))
    Path("pushed").mkdir()
    event = dict.fromkeys(("what", "version", "replaces", "fingerprint", "why", "model", "time", "who"), "[/x]")
    Path("pushed/pushes.jsonl").write_text(json.dumps(event))
    code, out, _ = tumbao("rollback", "--list", "--push-to", "pushed")
    assert (code, out.count("[/x]")) == (0, 7)


def test_a_library_is_inspected_with_its_own_genres(tumbao: Call, tmp_path: Path) -> None:
    (tmp_path / "songs" / "trova").mkdir(parents=True)
    (tmp_path / "songs" / "trova" / "[bold].mp3").write_text("no song")
    code, out, err = tumbao("inspect", "songs", "--out", "page [red]")
    assert (code, out) == (1, "")
    assert "found 1 = usable 0 + rejected 1" in err
    assert "page [red]/index.html" in err
    assert "trova/[bold].mp3" in (tmp_path / "page [red]" / "index.html").read_text("utf-8")


def test_the_configuration_is_printed_and_checked(tumbao: Call, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("training: {epochs: 3}")
    code, out, _ = tumbao("config", "--config", "config.yaml", "--set", "training.mixup=0.2")
    assert code == 0
    assert "  # Fragments in a batch.\n  batch: null\n" in out
    assert "  epochs: 3\n" in out and "  mixup: 0.2\n" in out
    code, out, err = tumbao("config", "--set", "training.mixupp=0.2")
    assert (code, out) == (2, "")
    assert "did you mean mixup?" in err


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--data", "library"),
        ("watch", "--data", "library"),
        ("rollback",),
        ("inspect", "library", "--out", "out"),
        ("drift", "library"),
        ("demo-library", "out"),
        ("demo",),
    ],
)
def test_commands_of_the_pipeline_need_its_packages(
    tumbao: Call, library: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(app_module.importlib.util, "find_spec", lambda package: None)
    Path("library").mkdir(exist_ok=True)
    code, out, err = tumbao(*command)
    assert (code, out) == (1, "")
    assert "Received: no tfx, pretty_midi. This install only classifies" in err
    assert not Path("tumbao-workspace").exists()


def test_options_override_the_file(
    tumbao: Call, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(run_commands, "_run", configs.append)
    text = "model: {name: cnn}\ntraining: {epochs: 9, dropout: 0.5}\n"
    (tmp_path / "run.yaml").write_text(f"data: {{library: {library}, genres: [salsa, cumbia]}}\n{text}")
    options = ("--epochs", "3", "--from", "Trainer", "--to", "Evaluator", "--min-songs", "5", "--subgenres")
    code, _, err = tumbao("run", "--config", "run.yaml", *options, "--min-accuracy=0.7", "--set", "training.mixup=0.2")
    assert code == 0, err
    (run,) = configs
    assert (run.data.library, run.model.name, run.gate.min_accuracy) == (str(library), "cnn", 0.7)
    assert (run.data.genres, run.data.subgenres, run.data.min_songs) == (("salsa", "cumbia"), True, 5)
    assert (run.head.epochs, run.head.dropout, run.head.mixup) == (3, 0.5, 0.2)
    assert (run.runner.from_component, run.runner.to_component) == ("Trainer", "Evaluator")


def test_the_example_file_is_valid(tumbao: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(run_commands, "_run", configs.append)
    (tmp_path / "music").mkdir()
    shipped = Path(__file__).parents[2] / "deploy" / "local.yaml"
    assert tumbao("run", "--config", str(shipped))[0] == 0
    assert (configs[0].model.name, configs[0].head.epochs, configs[0].data.library) == ("auto", 5, "music")


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (["watch", "--data", ".", "--once"], "tumbao.pipeline.watch.watch"),
        (["serve", "--model", "gs://bucket/pushed"], "tumbao.serving.server.api.serve"),
    ],
    ids=["watch", "serve"],
)
def test_long_commands_silence_tensorflow(
    tumbao: Call, monkeypatch: pytest.MonkeyPatch, arguments: list[str], work: str
) -> None:
    levels: list[str | None] = []
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)

    def look(*_: object) -> int:
        levels.append(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
        return 0

    monkeypatch.setattr(work, look)
    code, _, err = tumbao(*arguments)
    assert (code, levels) == (0, ["3"]), err
