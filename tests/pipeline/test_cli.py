"""The command line refuses with the right exit code and a sentence, nothing trained, no traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile

from tumbao.components.ingest.formats import LAYOUTS
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.components.ingest.splits import SPLIT_BY, SPLIT_STRATEGIES
from tumbao.pipeline import cli
from tumbao.pipeline.commands import app as app_module
from tumbao.pipeline.commands import run as run_commands
from tumbao.pipeline.config import Config
from tumbao.pipeline.runs import RunRecord, locked, read_runs
from tumbao.schema.genres import GENRES
from tumbao.trainer.weights import DIGEST

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tumbao(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call the command in an empty folder: tumbao(*arguments) -> exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tumbao", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return end.value.code or 0, said.out, said.err  # type: ignore[return-value] # always an int

    return call


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three songs of 4 s in each genre."""
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(1)
    for genre in GENRES:
        (root / genre).mkdir()
        for number in range(3):
            soundfile.write(root / genre / f"{number}.wav", rng.uniform(-0.5, 0.5, 4 * 8_000), 8_000)
    return root


@pytest.fixture
def run(tumbao: Call) -> Call:
    """Run the pipeline in a workspace of its own and expect that it ends before any component begins."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code, out, err = tumbao("run", "--workspace", "ws", *arguments)
        assert "▸" not in err
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Expected a library: --data, or data.library in --config"),
        (["run", "--data", "nowhere"], "'nowhere' does not exist"),
        (["run", "--data", ".", "--epochs", "0"], "Expected epochs at least 1"),
        (["run", "--data", ".", "--min-accuracy", "1.5"], "Invalid value for '--min-accuracy'"),
        (["run", "--data", ".", "--split", "album"], "Invalid value for '--split'"),
        (["run", "--data", ".", "--split", "fragment", "--split-method", "fixed"], "Received: split.by='fragment'"),
        (
            ["run", "--data", ".", "--split", "given", "--split-method", "fixed"],
            "Expected split.strategy: none for given splits",
        ),
        (["watch", "--data", ".", "--split", "artist", "--split-method", "fixed"], "Expected split.by: song where"),
        (["compare", "--data", ".", "--split", "given"], "Invalid value for '--split'"),
        (
            ["compile", "--runner=kubeflow", "--root=/r", "--image=i", "--data=/d", "--out=/dev/null/pipeline.yaml"],
            "/dev/null",
        ),
        (["train"], "No such command 'train'"),
        (["classify"], "Missing argument 'songs'"),
    ],
)
def test_wrong_use_is_exit_code_2(tumbao: Call, arguments: list[str], said: str) -> None:
    code, _, err = tumbao(*arguments)
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


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
def test_what_is_written_here_is_no_address(tumbao: Call, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "songs.csv").touch()
    code, _, err = tumbao(*arguments, "gs://bucket/results")
    assert code == 2
    assert "Received: gs://bucket/results. Write it here" in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "gs:").exists()


def test_the_command_is_installed_and_says_its_version() -> None:
    command = [str(Path(sys.executable).with_name("tumbao")), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "tumbao 0.1.0\n"


@pytest.mark.parametrize("command", ["run", "compare", "curate"])
def test_a_workspace_where_a_run_is_at_work_is_1_and_one_that_is_no_folder_is_2(
    tumbao: Call, library: Path, command: str
) -> None:
    Path("file").touch()
    arguments = [str(library), "--out", "out"] if command == "curate" else ["--data", str(library)]
    with locked(Path("ws")):
        code, _, err = tumbao(command, *arguments, "--workspace", "ws")
    assert (code, err.count("another run is at work")) == (1, 1)
    code, _, err = tumbao(command, *arguments, "--workspace", "file")
    assert (code, err.count("Expected a folder that can be written to")) == (2, 1)


def test_a_component_that_does_not_exist_is_refused_with_those_that_do(run: Call, library: Path) -> None:
    for option in ("--from", "--to"):
        code, out, _ = run("--data", str(library), "--weights", "random", option, "Trainr")
        assert code == 2
        assert "Expected --from and --to out of AudioExampleGen, " in out
        assert "Received: Trainr" in out


def test_from_must_not_stand_after_to(run: Call, library: Path) -> None:
    weights = ("--weights", "random")
    code, out, _ = run("--data", str(library), *weights, "--from", "Trainer", "--to", "StatisticsGen")
    assert code == 2
    assert "Expected --from before --to in AudioExampleGen, " in out


def test_beginning_in_the_middle_needs_an_earlier_run(run: Call, library: Path) -> None:
    code, out, _ = run("--data", str(library), "--weights", "random", "--from", "Trainer")
    assert code == 1
    assert "Expected an earlier run, whose results before Trainer are reused" in out


def test_a_genre_without_a_song_is_named(run: Call, library: Path) -> None:
    code, out, _ = run("--data", str(library), "--genres", "salsa,cumbia,tango", "--weights", "random")
    assert code == 1
    assert "Received none of: tango" in out
    assert "--genres" in out
    assert read_runs(Path("ws"))[0].outcome == "failed"


def test_a_component_that_fails_ends_the_run_with_its_reason_and_a_report(
    tumbao: Call, library: Path, tmp_path: Path
) -> None:
    (tmp_path / "quiet").mkdir()
    (tmp_path / "quiet" / "cumbia").symlink_to(library / "cumbia")
    (tmp_path / "quiet" / "salsa").mkdir()
    for number in range(3):  # silence, which only decoding finds out; each of another length, or they were the same
        soundfile.write(tmp_path / "quiet" / "salsa" / f"{number}.wav", np.zeros((31 + number) * 8_000), 8_000)
    run = ("run", "--workspace", "ws", "--data", "quiet", "--weights", "random", "--genres", "cumbia,salsa")
    code, out, err = tumbao(*run)
    assert code == 1
    assert "Received none of: salsa" in out
    assert "▸ AudioExampleGen" in err
    assert "▸ StatisticsGen" not in err
    (record,) = read_runs(Path("ws"))
    assert record.outcome == "failed"
    assert "AudioExampleGen failed" in (Path("ws") / "runs" / record.run / "report" / "index.html").read_text()


def test_too_few_songs_of_a_genre_are_counted(run: Call, library: Path, tmp_path: Path) -> None:
    for genre in GENRES[:2]:
        (tmp_path / "small" / genre).mkdir(parents=True)
        for number in range(3 if genre == GENRES[0] else 2):
            (tmp_path / "small" / genre / f"{number}.wav").symlink_to(library / genre / f"{number}.wav")
    code, out, _ = run("--data", "small", "--genres", ",".join(GENRES[:2]), "--weights", "random")
    assert code == 1
    assert f"{GENRES[1]} has 2 and needs 1 more" in out


def test_weights_with_other_numbers_are_refused_before_anything_runs(run: Call, library: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(file)
    code, out, _ = run("--data", str(library), "--weights", str(file))
    assert code == 1
    assert "These are not VGG-16's ImageNet weights" in out
    assert f"SHA-256 {DIGEST}" in out
    assert str(file) in out


def test_resuming_needs_an_earlier_run(run: Call, library: Path) -> None:
    code, out, _ = run("--data", str(library), "--weights", "random", "--resume")
    assert code == 1
    assert "Expected an earlier run to resume from" in out


def test_a_setting_without_sense_is_refused_by_name(run: Call, library: Path) -> None:
    code, _, err = run("--data", str(library), "--weights", "random", "--learning-rate", "0")
    assert code == 2
    assert "Expected learning_rate above 0" in err


def test_flags_for_beam_reach_it(tumbao: Call, library: Path) -> None:
    run = ("run", "--workspace", "ws", "--data", str(library), "--weights", "random")
    code, _, err = tumbao(*run, "--beam=--direct_num_workers=2")
    assert code == 2
    assert "Expected runner.beam_args: with a --runner among them" in err
    code, out, _ = tumbao(*run, "--beam=--runner=NoSuchRunner")
    assert code == 1
    assert "NoSuchRunner" in out


def test_where_nothing_ran_there_is_nothing_to_list_or_report(tumbao: Call) -> None:
    code, _, err = tumbao("runs")
    assert code == 1
    assert "tumbao run --data FOLDER" in err
    code, _, err = tumbao("report")
    assert code == 1
    assert "Expected a run with a report in tumbao-workspace. Received, runs with a report: none." in err


def test_records_of_later_versions_are_listed_whatever_they_say(tumbao: Call) -> None:
    RunRecord("[red]", "", "[/odd]", protocol="[/by]", library="[/songs]", accuracy=0.5).write(Path("ws"))
    code, out, _ = tumbao("runs", "--workspace", "ws")
    assert code == 0
    assert all(text in out for text in ("[red]", "[/odd]", "[/by]", "[/songs]", "50.0%"))
    Path("pushed").mkdir()
    event = dict.fromkeys(("what", "version", "replaces", "fingerprint", "why", "model", "time", "who"), "[/x]")
    Path("pushed/pushes.jsonl").write_text(json.dumps(event))
    code, out, _ = tumbao("rollback", "--list", "--push-to", "pushed")
    assert (code, out.count("[/x]")) == (0, 7)


def test_a_model_that_is_not_there_is_wrong_use(tumbao: Call, library: Path) -> None:
    code, out, err = tumbao("classify", str(library / "salsa" / "0.wav"), "--model", "nowhere")
    assert (code, out) == (2, "")
    assert "No model in nowhere" in err


def test_a_bucket_that_cannot_be_read_is_named(tumbao: Call, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no rights to list it", "gs://bucket/pushed")

    monkeypatch.setattr("tumbao.pipeline.classify.run_classify", refuse)
    code, out, err = tumbao("classify", str(library), "--model", "gs://bucket/pushed")
    assert (code, out) == (2, "")
    assert "no rights to list it: 'gs://bucket/pushed'" in err


def test_songs_are_classified_and_the_rejected_counted(tumbao: Call, library: Path, pushed: Path) -> None:
    (Path("text.mp3")).write_text("no song")
    code, out, err = tumbao("classify", str(library / "salsa"), "text.mp3", "--model", str(pushed))
    assert code == 1
    assert str(library / "salsa" / "0.wav") in out
    assert "found 4 = classified 3 + rejected 1" in err


def test_a_library_is_inspected_with_its_own_genres(tumbao: Call, tmp_path: Path) -> None:
    (tmp_path / "songs" / "trova").mkdir(parents=True)
    (tmp_path / "songs" / "trova" / "[bold].mp3").write_text("no song")
    code, out, err = tumbao("inspect", "songs", "--out", "page [red]")
    assert (code, out) == (1, "")
    assert "found 1 = usable 0 + rejected 1" in err
    assert "page [red]/index.html" in err
    assert "trova/[bold].mp3" in (tmp_path / "page [red]" / "index.html").read_text("utf-8")


def test_a_list_to_inspect_without_sense_is_wrong_use(tumbao: Call) -> None:
    Path("songs.csv").write_text("file_name,title\none.mp3,One\n")
    code, out, err = tumbao("inspect", "songs.csv", "--out", "page")
    assert (code, out) == (2, "")
    assert "Expected the columns file_name, genre" in err
    assert not Path("page").exists()


def test_a_list_to_fetch_without_addresses_is_wrong_use(tumbao: Call) -> None:
    Path("songs.csv").write_text("genre,title\nsalsa,One\n")
    code, out, err = tumbao("fetch", "songs.csv", "--out", "songs")
    assert (code, out) == (2, "")
    assert "url" in err


def test_the_choices_of_the_command_are_those_of_the_library(tumbao: Call) -> None:
    for option, choices in (
        ("layout", LAYOUTS),
        ("split", (*SPLIT_BY, GIVEN)),
        ("split-method", (*SPLIT_STRATEGIES, FIXED)),
    ):
        code, _, err = tumbao("run", f"--{option}", "none")
        assert code == 2
        assert all(f"'{choice}'" in err for choice in choices)


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
def test_what_needs_the_pipeline_says_so_where_there_is_none(
    tumbao: Call, library: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(app_module.importlib.util, "find_spec", lambda package: None)
    Path("library").mkdir(exist_ok=True)
    code, out, err = tumbao(*command)
    assert (code, out) == (1, "")
    assert "Received: no tfx, pretty_midi. This install only classifies" in err
    assert not Path("tumbao-workspace").exists()


def test_options_come_from_a_file_and_the_command_line_goes_before(
    tumbao: Call, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Config] = []
    monkeypatch.setattr(run_commands, "_run", asked.append)
    told = "model: cnn\nmin_accuracy: 0.7\ngenres: [salsa, cumbia]\ntraining: {epochs: 9, dropout: 0.5}\n"
    told += "subgenres: true\nmin-songs: 5\nfrom: Trainer\nto_component: Evaluator\n"
    (tmp_path / "run.yaml").write_text(f"data: {library}\n{told}")
    code, _, err = tumbao("run", "--config", "run.yaml", "--epochs", "3", "--set", "training.mixup=0.2")
    assert code == 0, err
    (run,) = asked
    assert (run.data.library, run.model.name, run.gate.min_accuracy) == (str(library), "cnn", 0.7)
    assert (run.data.genres, run.data.subgenres, run.data.min_songs) == (("salsa", "cumbia"), True, 5)
    assert (run.head.epochs, run.head.dropout, run.head.mixup) == (3, 0.5, 0.2)
    assert (run.runner.from_component, run.runner.to_component) == ("Trainer", "Evaluator")
    assert "run.yaml has keys without a section" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle: cnn", "did you mean model?"),
        ("- model", "Expected a YAML file of sections, names and values"),
        ("training: [epochs]", "Expected training: "),
        ("config: other.yaml", "Received: config"),
        ("data: nowhere", "'nowhere' does not exist"),
        ("data: .\nepochs: many", "Expected training.epochs: a valid integer"),
    ],
)
def test_a_file_of_options_without_sense_is_wrong_use(tumbao: Call, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    code, _, err = tumbao("run", "--config", "run.yaml")
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_the_shipped_file_of_options_is_taken(tumbao: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Config] = []
    monkeypatch.setattr(run_commands, "_run", asked.append)
    (tmp_path / "music").mkdir()
    shipped = Path(__file__).parents[2] / "deploy" / "local.yaml"
    assert tumbao("run", "--config", str(shipped))[0] == 0
    assert (asked[0].model.name, asked[0].head.epochs, asked[0].data.library) == ("vgg16", 5, "music")


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (["watch", "--data", ".", "--once"], "tumbao.pipeline.watch.watch"),
        (["serve", "--model", "gs://bucket/pushed"], "tumbao.serving.server.api.serve"),
    ],
    ids=["watch", "serve"],
)
def test_what_goes_on_for_long_keeps_tensorflow_quiet(
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
