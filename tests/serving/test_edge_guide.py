from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ai_edge_litert.interpreter import Interpreter

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, AUDIO_FILE, CLASSIFIER_FILES, FRONTEND_FILE
from tumbao.serving.resample_reference import fragments, read_wav
from tumbao.serving.tflite_file import join

GUIDE = Path(__file__).parents[2] / "docs" / "edge.md"
SPEC = MelSpec()

DECLARATIONS = """\
#pragma once
#include <cstddef>
#include <cstdint>
typedef struct Environment* LiteRtEnvironment;
typedef struct Model* LiteRtModel;
typedef struct Options* LiteRtOptions;
typedef struct CompiledModel* LiteRtCompiledModel;
typedef struct Buffer* LiteRtTensorBuffer;
typedef struct Signature* LiteRtSignature;
typedef size_t LiteRtParamIndex;
enum { kLiteRtHwAcceleratorCpu = 1, kLiteRtElementTypeFloat32 = 1, kLiteRtTensorBufferTypeHostMemory = 1 };
enum { kLiteRtTensorBufferLockModeRead = 0, kLiteRtTensorBufferLockModeWrite = 1 };
struct LiteRtRankedTensorType {
  int element_type;
  struct { unsigned int rank : 7, has_strides : 1; int32_t dimensions[8]; uint32_t strides[8]; } layout;
};
extern "C" {
int LiteRtCreateEnvironment(int, const void*, LiteRtEnvironment*);
int LiteRtCreateModelFromFile(LiteRtEnvironment, const char*, LiteRtModel*);
int LiteRtGetModelSignature(LiteRtModel, LiteRtParamIndex, LiteRtSignature*);
int LiteRtGetNumSignatureOutputs(LiteRtSignature, LiteRtParamIndex*);
int LiteRtGetSignatureOutputName(LiteRtSignature, LiteRtParamIndex, const char**);
int LiteRtCreateOptions(LiteRtOptions*);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int);
int LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel*);
int LiteRtCreateManagedTensorBuffer(
    LiteRtEnvironment, int, const LiteRtRankedTensorType*, size_t, LiteRtTensorBuffer*);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer, void**, int);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer*, size_t, LiteRtTensorBuffer*);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
void LiteRtDestroyOptions(LiteRtOptions);
void LiteRtDestroyModel(LiteRtModel);
void LiteRtDestroyEnvironment(LiteRtEnvironment);
}
"""
"""Declarations of LiteRT's C API; its headers are not in a Python package."""


def library() -> Path:
    package = find_spec("ai_edge_litert")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "libLiteRt.so"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on PATH")
    if not library().is_file():
        pytest.skip("this platform's ai-edge-litert brings no libLiteRt.so")
    folder = tmp_path_factory.mktemp("guide")
    found = re.search(r"```cpp\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (folder / "classify.cc").write_text(found[1], encoding="utf-8")
    for header in re.findall(r'#include "(litert/.*)"', found[1]):
        (folder / header).parent.mkdir(parents=True, exist_ok=True)
        (folder / header).write_text('#include "all.h"\n')
    (folder / "all.h").write_text(DECLARATIONS)
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-I", str(folder)]
    linked = [str(library()), f"-Wl,-rpath,{library().parent}"]
    command = [compiler, *flags, str(folder / "classify.cc"), "-o", str(folder / "classify"), *linked]
    subprocess.run(command, check=True)
    return folder / "classify"


@pytest.fixture(scope="module")
def model(pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pair = [(pushed / "1" / ASSETS_FOLDER / name).read_bytes() for name in (FRONTEND_FILE, CLASSIFIER_FILES["int8"])]
    path = tmp_path_factory.mktemp("model") / AUDIO_FILE
    path.write_bytes(join(*pair))
    return path


@pytest.mark.parametrize(("rate", "gain"), [(44_100, 0.9), (48_000, 0.1), (22_050, 0.5)])
def test_the_program_of_the_guide_equals_python(
    program: Path, model: Path, tmp_path: Path, rate: int, gain: float
) -> None:
    seconds = np.arange(31 * rate) / rate
    channels = gain * np.stack([np.sin(2 * np.pi * hz * seconds) for hz in (440, 3_000)], axis=1)
    channels[10 * rate :, 1] = 0.05 - 0.95 * channels[10 * rate :, 0]  # channels that cancel, and an offset
    soundfile.write(tmp_path / "song.wav", channels, rate, subtype="PCM_16")
    arguments = [tmp_path / "song.wav", model, SPEC.sample_rate_hz, tmp_path / "mine.f32"]
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fragment = next(fragments(*read_wav(tmp_path / "song.wav"), SPEC.sample_rate_hz, SPEC.fragment_samples))
    np.testing.assert_allclose(np.fromfile(tmp_path / "mine.f32", "<f4"), fragment, atol=1e-6)
    expected = Interpreter(str(model)).get_signature_runner()(waveform=fragment[np.newaxis])
    found = json.loads(done.stdout)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"][0], atol=1e-5)
    np.testing.assert_allclose(found["distance"], expected["distance"], atol=1e-5)


@pytest.mark.parametrize(
    ("threshold", "farthest", "answer"), [(0.5, 2.0, "salsa"), (0.9, 2.0, None), (0.5, 1.9, None), (0.5, None, "salsa")]
)
def test_the_rule_of_the_guide_gives_the_answer(threshold: float, farthest: float | None, answer: str | None) -> None:
    found = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    rule = farthest and {"threshold": farthest}
    model = {"genres": ["cumbia", "salsa"], "calibration": {"threshold": threshold}, "out_of_distribution": rule}
    names = {"np": np, "model": model, "rows": [[0.4, 0.6], [0.2, 0.8]], "distances": [1.0, 2.9]}
    exec(found[1], names)
    assert names["answer"] == answer
