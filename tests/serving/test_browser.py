"""Models in a real headless Chromium answer as they do in LiteRT, and no browser is left; what is missing is named."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.serving import browser
from tumbao.serving.browser import (
    BrowserError,
    BrowserUnavailableError,
    open_in_browser,
    open_page,
    require_browser,
)


@pytest.fixture(scope="session")
def program() -> str:
    """Find the browser; where there is none, the tests that need it are skipped."""
    try:
        return require_browser()
    except BrowserUnavailableError as error:
        pytest.skip(f"models in the browser are not tested: {error}")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Convert a network of one convolution: picture, uint8 [1, 16, 16, 3] → odds, float32 [1, 4]."""
    rng = np.random.default_rng(11)
    kernel = tf.constant(rng.normal(size=(3, 3, 3, 4)), tf.float32)

    def odds(picture: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.conv2d(tf.cast(picture, tf.float32) / 255, kernel, 2, "SAME")
        return {"odds": tf.nn.softmax(tf.reduce_mean(features, [1, 2]))}

    module, folder = tf.Module(), str(tmp_path_factory.mktemp("network"))
    module.model = tf.function(odds, input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.uint8, name="picture")])
    tf.saved_model.save(module, folder, signatures={"picture": module.model})
    return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["picture"]).convert()


@pytest.fixture
def pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 1, 16, 16, 3), np.uint8)


def chromium_processes(home: Path) -> list[str]:
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended
            if f"\0HOME={home}".encode() in b"\0" + environment.read_bytes():
                found.append(environment.parent.name)
    return found


def all_end(home: Path) -> bool:
    end = time.monotonic() + 10
    while chromium_processes(home) and time.monotonic() < end:
        time.sleep(0.05)
    return not chromium_processes(home)


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    return short_path / "tumbao-browser-"


def test_a_network_answers_as_in_litert(program: str, network: bytes, pictures: np.ndarray, home: Path) -> None:
    ours = Interpreter(model_content=network).get_signature_runner("picture")
    with open_in_browser([network], "picture", "odds") as predict:
        assert chromium_processes(home)
        answers = [predict(picture) for picture in pictures]
        np.testing.assert_array_equal(predict(pictures[0]), answers[0])
    assert all_end(home)
    assert {(answer.shape, answer.dtype.name) for answer in answers} == {((1, 4), "float32")}
    np.testing.assert_allclose(answers, [ours(picture=picture)["odds"] for picture in pictures], atol=1e-6)
    assert np.ptp(np.concatenate(answers)[:, 0]) > 0.001


def test_bad_files_and_inputs_are_named_and_memory_is_freed(program: str, network: bytes) -> None:
    script = """async () => {
        const { loadModel } = await import("./model.js");
        const { Tensor } = await import("./litert/litert.js");
        const freed = new Set();
        const free = Tensor.prototype.delete;
        Tensor.prototype.delete = function () { freed.add(this); free.call(this); };
        const failure = (promise) => promise.then(() => "none", (error) => error.message);
        const model = await loadModel(["network"]);
        const picture = new Uint8Array(16 * 16 * 3);
        const { outputs } = await model.run({ picture });
        const found = {
            isolated: crossOriginIsolated,
            odds: Array.from(outputs.odds),
            freed: freed.size,
            short: await failure(model.run({ picture: picture.subarray(1) })),
            nowhere: await failure(loadModel(["nowhere.tflite"])),
            broken: await failure(loadModel(["network", "broken"])),
        };
        model.close();
        found.closed = await failure(model.run({ picture }));
        return found;
    }"""
    with open_page(program, {"network": network, "broken": b"this is no model"}) as page:
        found = page.evaluate(script)
    ours = Interpreter(model_content=network).get_signature_runner("picture")
    np.testing.assert_allclose(found["odds"], ours(picture=np.zeros((1, 16, 16, 3), np.uint8))["odds"][0], atol=1e-6)
    assert found["isolated"]  # for threads
    assert found["freed"] == 2  # input and output
    assert found["short"] == "Expected picture: uint8 [1, 16, 16, 3], 768 values. Received: 767"
    assert found["nowhere"] == "nowhere.tflite: expected a .tflite file. Received: status 404"
    assert found["broken"] != "none" != found["closed"]


def test_a_missing_tensor_is_named(program: str, network: bytes, home: Path) -> None:
    with (
        pytest.raises(BrowserError, match=r"^Error: Expected a tensor named waveform\. Received: picture"),
        open_in_browser([network], "waveform", "odds"),
    ):
        pass
    assert all_end(home)


def test_a_killed_program_leaves_no_browser(program: str, network: bytes, short_path: Path) -> None:
    (short_path / "network.tflite").write_bytes(network)
    script = f"""
import time
from pathlib import Path
from tumbao.serving.browser import open_in_browser
with open_in_browser([Path({str(short_path / "network.tflite")!r})], "picture", "odds"):
    print("open", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(short_path)}
    ) as killed:
        assert killed.stdout
        assert killed.stdout.readline()
        assert chromium_processes(short_path / "tumbao-browser-")
        killed.kill()
    assert all_end(short_path / "tumbao-browser-")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in Chromium's place, and a file where LiteRT.js would be: fake(script)."""
    (tmp_path / "web" / "litert").mkdir(parents=True)
    (tmp_path / "web" / "litert" / "litert.js").touch()
    monkeypatch.setattr(browser, "_WEB", tmp_path / "web")

    monkeypatch.setattr(browser, "NAMES", (str(tmp_path / "chromium"),))

    def write(script: str) -> None:
        path = tmp_path / "chromium"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def test_a_browser_that_does_not_start_is_unavailable(fake: Callable[[str], None], home: Path) -> None:
    fake("echo No usable sandbox! >&2; exit 3")
    with (
        pytest.raises(BrowserUnavailableError, match="No usable sandbox!") as error,
        open_in_browser([], "x", "y"),
    ):
        pass
    assert error.value.reason == "Chromium did not start"
    assert all_end(home)


def test_what_is_missing_is_named_with_what_to_do(
    fake: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "NAMES", ("no-such-thing", "another"))
    with pytest.raises(BrowserUnavailableError, match=r"no-such-thing or another. .* apt-get install") as error:
        require_browser()
    assert error.value.reason == "no Chromium"
    (tmp_path / "web" / "litert" / "litert.js").unlink()
    with pytest.raises(BrowserUnavailableError, match=r"installs LiteRT.js in .*litert; run it in") as error:
        require_browser()
    assert error.value.reason == "`make web` has not been run"
