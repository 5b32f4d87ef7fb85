from __future__ import annotations

import mmap
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.serving.small_network import EDGE_SPEC
from tumbao.serving.model_info import ASSETS_FOLDER, AUDIO_FILE, CLASSIFIER_FILES, FRONTEND_FILE
from tumbao.serving.tflite_file import embed, unpack

INTERPRETERS = [Interpreter, tf.lite.Interpreter]


@pytest.mark.parametrize("interpreter", INTERPRETERS, ids=["LiteRT", "TensorFlow"])
def test_one_file_answers_as_the_pair(interpreter: type[Interpreter], edge_files: Path) -> None:
    def runner(name: str, signature: str) -> Callable[..., dict[str, np.ndarray]]:
        return interpreter(str(edge_files / name), num_threads=2).get_signature_runner(signature)

    audio = runner(AUDIO_FILE, "waveform")
    frontend, classifier = runner(FRONTEND_FILE, "waveform"), runner(CLASSIFIER_FILES["int8"], "image")
    for fragment in np.random.default_rng(1).uniform(-0.5, 0.5, (2, EDGE_SPEC.fragment_samples)).astype(np.float32):
        image = frontend(waveform=fragment[np.newaxis])["image"]
        expected = classifier(image=image)["probabilities"]
        np.testing.assert_array_equal(audio(waveform=fragment[np.newaxis])["probabilities"], expected)


def test_tensors_have_the_names_of_the_signature(edge_files: Path) -> None:
    for name, taken, given in [
        (AUDIO_FILE, "waveform", "probabilities"),
        (FRONTEND_FILE, "waveform", "image"),
        *((file, "image", "probabilities") for file in CLASSIFIER_FILES.values()),
    ]:
        interpreter = Interpreter(str(edge_files / name))
        assert interpreter.get_signature_list() == {taken: {"inputs": [taken], "outputs": [given]}}
        assert [one["name"] for one in interpreter.get_input_details()] == [taken]
        assert [one["name"] for one in interpreter.get_output_details()] == [given]


def test_the_merged_file_has_built_in_operations_and_the_front_end_in_float32(edge_files: Path) -> None:
    model = unpack((edge_files / AUDIO_FILE).read_bytes())
    assert {code.customCode for code in model.operatorCodes} == {None}
    frontend = unpack((edge_files / FRONTEND_FILE).read_bytes()).subgraphs[0]
    head = model.subgraphs[0].operators[: len(frontend.operators)]
    assert [(list(one.inputs), list(one.outputs)) for one in head] == [
        (list(one.inputs), list(one.outputs)) for one in frontend.operators
    ]
    tensors = model.subgraphs[0].tensors[: len(frontend.tensors)]
    assert [(one.type, list(one.shape)) for one in tensors] == [(one.type, list(one.shape)) for one in frontend.tensors]


def test_weights_are_those_of_the_pair_and_aligned(edge_files: Path) -> None:
    content = (edge_files / AUDIO_FILE).read_bytes()
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [one.data for one in unpack(content).buffers if one.data is not None]
    assert {(one.__array_interface__["data"][0] - start) % 16 for one in buffers} == {0}
    pair = [unpack((edge_files / name).read_bytes()) for name in (FRONTEND_FILE, CLASSIFIER_FILES["int8"])]
    weights = [one.data.tobytes() for model in pair for one in model.buffers if one.data is not None]
    assert [one.tobytes() for one in buffers[: len(weights)]] == weights


TEXTS = {"labels.txt": "bachata\ncumbia\nvallenato ñ\n", "parameters.json": "{}\n"}


@pytest.fixture
def pushed_model(pushed: Path) -> bytes:
    return (pushed / "1" / ASSETS_FOLDER / CLASSIFIER_FILES["int8"]).read_bytes()


@pytest.fixture
def file(pushed_model: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(embed(pushed_model, TEXTS))
    return path


def test_a_zip_tool_finds_the_files_behind_the_model(file: Path, pushed_model: bytes) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(file)], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(TEXTS)
    with zipfile.ZipFile(file) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == TEXTS
        assert archive.testzip() is None
    assert file.read_bytes().startswith(pushed_model)
    assert embed(pushed_model, TEXTS) == file.read_bytes()


@pytest.mark.parametrize("interpreter", INTERPRETERS, ids=["LiteRT", "TensorFlow"])
def test_runtimes_load_it_from_the_file_and_from_memory(
    interpreter: type[Interpreter], file: Path, pushed_model: bytes
) -> None:
    image = np.full((1, 300, 300, 3), 200, np.uint8)
    expected = Interpreter(model_content=pushed_model).get_signature_runner()(image=image)["probabilities"]
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for loaded in (interpreter(str(file)), interpreter(model_content=mapped[:])):
            np.testing.assert_allclose(loaded.get_signature_runner()(image=image)["probabilities"], expected, rtol=1e-6)
