"""The Python API: what `tumbao.__all__` promises."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tumbao
from tests.processes import children, wait_until_gone
from tumbao.pipeline import local_runner
from tumbao.pipeline.runs import RunRecord

ROOT = Path(__file__).parents[1]
SOURCES = sorted(file for name in ("components", "schema", "serving") for file in ROOT.glob(f"{name}/**/*.py"))
RATE = 22_050
Tone = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def classifier(pushed: Path) -> Iterator[tumbao.Classifier]:
    with tumbao.Classifier(pushed) as one:
        yield one


@pytest.fixture
def folder(pushed: Path, tone: Tone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder of the examples the current one."""
    (tmp_path / "pushed").symlink_to(pushed)
    soundfile.write(tmp_path / "song.wav", np.clip(2 * tone(31), -1, 1), RATE, subtype="FLOAT")
    (tmp_path / "broken.mp3").write_bytes(b"no song")
    (tmp_path / "music").mkdir()
    for name in ("song.wav", "broken.mp3"):
        shutil.copy(tmp_path / name, tmp_path / "music")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_importing_tumbao_loads_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import tumbao; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded <= {"tumbao", "collections", "typing", "_typing", "contextlib"}  # the last two by typing


def test_every_public_name_exists_and_is_described() -> None:
    text = (ROOT / "docs/python.md").read_text("utf-8")
    for name in tumbao.__all__:
        one = getattr(tumbao, name)
        assert name == "__version__" or inspect.getdoc(one)
        assert f"`{name}`" in text or f"tumbao.{name}" in text, name
    assert dir(tumbao) == sorted(tumbao.__all__)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = tumbao.missing


@pytest.mark.parametrize("name", ["Classifier", "Classification", "Rejection", "Results", "train"])
def test_examples_of_docstrings_run(name: str, folder: Path) -> None:
    for one in doctest.DocTestFinder().find(getattr(tumbao, name), name):
        assert not doctest.DocTestRunner().run(one).failed


@pytest.mark.parametrize("file", [file for file in SOURCES if ">>> " in file.read_text("utf-8")], ids=str)
def test_examples_of_internal_docstrings_run(file: Path, folder: Path) -> None:
    name = ".".join(("tumbao", *file.relative_to(ROOT).with_suffix("").parts))
    assert not doctest.testmod(importlib.import_module(name)).failed


def test_examples_of_the_page_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord("20260504-030201", "", "pushed", "Pushed.", blessed=True, accuracy=0.9, pushed_to="pushed")
    monkeypatch.setattr(local_runner, "run", lambda *_: (0, record))
    text = (ROOT / "docs/python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    values: dict[str, Any] = {}
    for block in blocks:
        exec(block, values)
    assert len(blocks) >= 3


def test_a_file_and_its_samples_get_the_same_answer(classifier: tumbao.Classifier, folder: Path) -> None:
    samples, rate = soundfile.read("song.wav")
    stereo = np.stack([samples, samples], axis=1)
    file = classifier.classify(folder / "song.wav")
    assert (file.genre, file.path, file.truncated, file.duration_seconds) == (
        "salsa",
        str(folder / "song.wav"),
        False,
        31,
    )
    for given in (samples, samples.astype(np.float32), stereo):
        assert classifier.classify(given, rate).fragments == file.fragments
    soundfile.write("song48.wav", samples, 48_000, subtype="FLOAT")
    assert classifier.classify(samples, 48_000).probabilities == classifier.classify("song48.wav").probabilities


def test_values_equal_those_of_the_command(classifier: tumbao.Classifier, folder: Path, pushed: Path) -> None:
    program = "import sys; from tumbao.pipeline.cli import main; sys.argv[0] = 'tumbao'; main()"
    command = [sys.executable, "-c", program, "classify", "--json", "--model", str(pushed), "song.wav", "broken.mp3"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})
    printed = list(map(json.loads, done.stdout.splitlines()))
    results = [one.to_dict() for one in classifier.classify_many(["song.wav", "broken.mp3"])]
    for ours, theirs in zip(results, printed, strict=True):
        assert json.loads(json.dumps(ours)).items() <= theirs.items()


def test_many_songs_are_classified_in_order_and_rejected_ones_are_among_them(
    classifier: tumbao.Classifier, folder: Path
) -> None:
    (folder / "music/cover.jpg").touch()
    results = classifier.classify_many([folder / "music"])
    assert len(results) == 2
    assert "1" in results.notes[0]
    broken, song = results
    assert isinstance(broken, tumbao.Rejection)
    assert isinstance(song, tumbao.Classification)
    assert (broken.reason, song.genre, song.votes["salsa"]) == ("unsupported", "salsa", 1)
    assert [(one.genre, one.start_seconds, one.end_seconds) for one in song.sections] == [("salsa", 0, 30)]
    assert list(results) == []


def test_parts_of_a_file_have_results_of_their_own(classifier: tumbao.Classifier, folder: Path) -> None:
    (folder / "list.csv").write_text("file_name,start,end\nsong.wav,0,10\nsong.wav,10,\n")
    first, second = classifier.classify_many("list.csv")
    with pytest.raises(tumbao.UserError, match="at least one file"):
        classifier.classify_many([])
    assert (first.part_start_seconds, first.part_end_seconds) == (0, 10)
    assert (second.part_start_seconds, second.part_end_seconds, second.path) == (10, None, first.path)


def test_results_become_tables(classifier: tumbao.Classifier, folder: Path) -> None:
    table = classifier.classify_many([folder / "music"]).to_pandas()
    assert list(table["reason"].fillna("")) == ["unsupported", ""]
    assert list(table["genre"].fillna("")) == ["", "salsa"]
    song = classifier.classify("song.wav")
    assert table["p_salsa"][1] == song.probabilities["salsa"]
    assert list(song.to_pandas()["p_salsa"]) == [song.fragments[0].probabilities["salsa"]]


def test_threads_share_a_classifier_and_its_workers_end_with_it(pushed: Path, folder: Path) -> None:
    before = children()
    with tumbao.Classifier(pushed) as classifier, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(classifier.classify, [folder / "song.wav"] * 8))
        results = classifier.classify_many([folder / "music"])
        next(results)
    assert len({answer.probability for answer in answers}) == 1
    wait_until_gone(before)
    for call in (lambda: classifier.classify("song.wav"), lambda: classifier.classify_many([folder / "music"])):
        with pytest.raises(tumbao.UserError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("song.wav", 44_100), "rate with samples only"),
        ((np.zeros(9), None), "rate of the samples"),
        ((np.zeros(9), 44_100.5), "rate of the samples"),
        ((np.zeros(9), "x"), "rate of the samples.*rate='x'"),
        ((np.zeros(9), float("nan")), "rate of the samples"),
        ((np.zeros(9, np.int16), 44_100), "Received: int16"),
        ((np.zeros((2, 100_000)), 44_100), r"\(2, 100000\)"),
        ((None,), "Received: NoneType"),
    ],
)
def test_invalid_arguments_are_rejected(classifier: tumbao.Classifier, arguments: Any, sentence: str) -> None:
    with pytest.raises(tumbao.UserError, match=sentence):
        classifier.classify(*arguments)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros(RATE * 10), "silent"), (np.ones(RATE), "too short"), (np.full(RATE * 10, np.nan), "not finite")],
)
def test_unusable_samples_raise_an_error(classifier: tumbao.Classifier, samples: np.ndarray, reason: str) -> None:
    with pytest.raises(tumbao.AudioError) as caught:
        classifier.classify(samples, RATE)
    assert caught.value.reason.value == reason


def test_a_run_is_configured_by_sections_or_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = []

    def run(config: Any, console: Any) -> tuple[int, RunRecord]:
        configs.append((config, console.quiet))
        return outcome

    monkeypatch.setattr(local_runner, "run", run)
    record = RunRecord("20260504-030201", "", "refused", "Too few songs.", accuracy=0.5)
    outcome = (local_runner.NOT_BLESSED, record)
    sections: dict[str, dict[str, Any]] = {
        "model": {"name": "tumbao"},
        "runner": {"root": "ws"},
        "data": {"genres": ["salsa", "cumbia"]},
    }
    done = tumbao.train(folder, sections, verbose=False)
    assert (done.model, done.blessed, done.accuracy, done.sentence) == ("", False, 0.5, "Too few songs.")
    assert done.log == Path("ws/runs/20260504-030201/log.txt")
    (folder / "config.yaml").write_text("model: {name: tumbao}\n")
    tumbao.train(str(folder), folder / "config.yaml")
    assert [(config.model.name, config.data.library, quiet) for config, quiet in configs] == [
        ("tumbao", str(folder), True),
        ("tumbao", str(folder), False),
    ]
    assert configs[0][0].data.genres == ("salsa", "cumbia")
    for code, error in ((local_runner.FAILED, tumbao.TrainingError), (local_runner.WRONG_USE, tumbao.UserError)):
        outcome = (code, record)
        with pytest.raises(error, match="Too few songs"):
            tumbao.train(folder)
    outcome = (local_runner.INTERRUPTED, record)
    with pytest.raises(KeyboardInterrupt):
        tumbao.train(folder)


def test_an_invalid_run_is_rejected(folder: Path) -> None:
    for library, config in (
        (folder / "missing", None),
        (folder, {"model": {"name": "vgg17"}}),
        (folder, {"runner": {"name": "vertex"}}),
        (folder, {"runner": {"root": "a*b"}}),
        (folder, folder / "missing.yaml"),
    ):
        with pytest.raises(tumbao.UserError):
            tumbao.train(library, config)
