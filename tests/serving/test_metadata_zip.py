"""Labels inside a model: any zip tool finds them, and every runtime still loads the model."""

from __future__ import annotations

import mmap
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.serving.model_info import ASSETS_FOLDER, CLASSIFIER_FILES
from tumbao.serving.tflite_file import embed

TEXTS = {"labels.txt": "bachata\ncumbia\nvallenato ñ\n", "parameters.json": "{}\n"}


@pytest.fixture
def model(pushed: Path) -> bytes:
    return (pushed / "1" / ASSETS_FOLDER / CLASSIFIER_FILES["int8"]).read_bytes()


@pytest.fixture
def file(model: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(embed(model, TEXTS))
    return path


def test_a_zip_tool_finds_the_files(file: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(file)], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(TEXTS)
    with zipfile.ZipFile(file) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == TEXTS
        assert archive.testzip() is None


def test_the_model_stands_in_front_as_it_was(file: Path, model: bytes) -> None:
    assert file.read_bytes().startswith(model)


def test_every_run_embeds_the_same_bytes(file: Path, model: bytes) -> None:
    assert embed(model, TEXTS) == file.read_bytes()


@pytest.mark.parametrize("interpreter", [Interpreter, tf.lite.Interpreter], ids=["LiteRT", "TensorFlow"])
def test_runtimes_load_it_from_the_file_and_from_memory(
    interpreter: type[Interpreter], file: Path, model: bytes
) -> None:
    image = np.full((1, 300, 300, 3), 200, np.uint8)
    expected = Interpreter(model_content=model).get_signature_runner()(image=image)["probabilities"]
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for loaded in (interpreter(str(file)), interpreter(model_content=mapped[:])):
            np.testing.assert_allclose(loaded.get_signature_runner()(image=image)["probabilities"], expected, rtol=1e-6)


def test_a_model_that_has_files_already_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="Expected a model without embedded files"):
        embed(file.read_bytes(), TEXTS)
