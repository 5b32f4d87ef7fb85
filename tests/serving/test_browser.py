"""Models in a real headless Chromium answer as they do in LiteRT, and no browser is left; what is missing is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import tumbao
from tumbao.components.ingest.mel import palette
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import browser
from tumbao.serving.browser import (
    HEADERS,
    BrowserError,
    BrowserModel,
    BrowserUnavailableError,
    Chromium,
    PageServer,
    browser_probabilities,
    find_chromium,
    open_in_browser,
    require_browser,
)
from tumbao.serving.model_info import AUDIO_FILE, FRONTEND_FILE
from tumbao.serving.predict import Classifier

WEB = Path(tumbao.__path__[0]) / "serving" / "web"
LOCK = Path(__file__).parents[2] / "web" / "package-lock.json"

Page = Callable[..., Any]


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


@pytest.fixture(scope="module")
def model(program: str, network: bytes) -> Iterator[BrowserModel]:
    with open_in_browser([network], "picture", "odds", program) as waiting:
        yield waiting


@pytest.fixture
def pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 1, 16, 16, 3), np.uint8)


@pytest.fixture
def page(program: str, tmp_path: Path) -> Page:
    """Run a script beside model.js: page(script, **files) -> what it returns."""

    def run(script: str, **files: bytes) -> Any:
        content = f"""<!doctype html><script type="module">
            const told = await (async () => {{ {script} }})().catch((error) => `${{error.message}}`);
            await fetch("told", {{ method: "POST", body: JSON.stringify(told) }});
        </script>"""
        runtime = {path.relative_to(WEB).as_posix(): path for path in WEB.rglob("*") if path.is_file()}
        server = PageServer({**runtime, **files, "": content.encode()})
        with server.serve() as address:
            started = Chromium(program, address, tmp_path)
            try:
                while (told := started.next_message(server.requests)).path != "told":
                    pass
            finally:
                started.kill()
        return json.loads(told.content)

    return run


def living(session: int) -> list[str]:
    """Name the processes of a session that still run."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(") ")
        except OSError:  # it has just ended
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            names.append(name)
    return names


def all_end(session: int) -> bool:
    end = time.monotonic() + 10
    while living(session) and time.monotonic() < end:
        time.sleep(0.05)
    return not living(session)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the sessions of the browsers that were started."""

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = popen(*arguments, **options)
        sessions.append(process.pid)
        return process

    sessions: list[int] = []
    popen = subprocess.Popen
    monkeypatch.setattr(browser.subprocess, "Popen", start)
    return sessions


def test_a_network_answers_as_in_litert(model: BrowserModel, network: bytes, pictures: np.ndarray) -> None:
    ours = Interpreter(model_content=network).get_signature_runner("picture")
    answers = [model(picture) for picture in pictures]
    assert {(answer.shape, answer.dtype.name) for answer in answers} == {((1, 4), "float32")}
    np.testing.assert_allclose(answers, [ours(picture=picture)["odds"] for picture in pictures], atol=1e-6)
    assert np.ptp(np.concatenate(answers)[:, 0]) > 0.001
    assert len(model.seconds) >= len(answers)
    assert min(model.seconds) > 0


def test_the_page_is_isolated_so_that_it_has_threads(model: BrowserModel) -> None:
    assert model.threaded


def test_an_input_that_does_not_fit_is_refused_and_the_model_goes_on(model: BrowserModel, pictures: np.ndarray) -> None:
    for bad in (pictures[0, 0], pictures[0].astype(np.float32)):
        with pytest.raises(ValueError, match=r"Expected uint8 \[1, 16, 16, 3\]\. Received: "):
            model(bad)
    np.testing.assert_array_equal(model(pictures[0]), model(pictures[0]))


def test_the_front_end_draws_the_same_pixels(
    program: str, edge_files: Path, images: np.ndarray, fragments: np.ndarray
) -> None:
    with open_in_browser([edge_files / FRONTEND_FILE], "waveform", "image", program) as frontend:
        drawn = np.concatenate([frontend(fragment[np.newaxis]) for fragment in fragments])
    other = (drawn != images).any(axis=-1)
    assert other.mean(axis=(1, 2)).max() < 0.001
    np.testing.assert_array_equal(drawn[3], images[3])  # silence
    level = np.abs(np.diff(palette(MelSpec()).astype(int), axis=0)).max()
    assert np.abs(drawn.astype(int) - images).max() <= level


def test_sound_to_genre_answers_as_in_litert(program: str, edge_files: Path, fragments: np.ndarray) -> None:
    ours = Interpreter(str(edge_files / AUDIO_FILE), num_threads=2).get_signature_runner("waveform")
    with open_in_browser([edge_files / AUDIO_FILE], "waveform", "probabilities", program) as audio:
        for fragment in fragments[:2]:
            answer, expected = audio(fragment[np.newaxis]), ours(waveform=fragment[np.newaxis])["probabilities"]
            np.testing.assert_allclose(answer, expected, atol=0.02)


def test_a_pushed_model_answers_as_on_the_edge(
    pushed: Path, program: str, tone: Callable[..., np.ndarray], started: list[int]
) -> None:
    loud, low = tone(30), 0.1 * tone(30)
    answers, seconds = browser_probabilities(pushed, np.stack([loud, low]), program)
    classifier = Classifier(pushed)
    np.testing.assert_allclose(answers, [classifier.predict(loud), classifier.predict(low)], atol=1e-6)
    assert GENRES[answers[0].argmax()] == "salsa" != GENRES[answers[1].argmax()]
    assert seconds > 0
    assert len(started) == 1
    assert all_end(started[0])


def test_the_page_says_what_it_needs(page: Page, network: bytes) -> None:
    told = page(
        """
        const { loadModel } = await import("./model.js");
        const { Tensor } = await import("./litert/litert.js");
        const freed = new Set();
        const free = Tensor.prototype.delete;
        Tensor.prototype.delete = function () { freed.add(this); free.call(this); };
        const failure = (promise) => promise.then(() => "none", (error) => error.message);
        const model = await loadModel(["network"]);
        const picture = new Uint8Array(16 * 16 * 3);
        const { outputs, seconds } = await model.run({ picture });
        const told = {
            odds: Array.from(outputs.odds),
            timed: seconds > 0,
            freed: freed.size,
            inputs: model.inputs.map(({ name }) => name),
            short: await failure(model.run({ picture: picture.subarray(1) })),
            sound: await failure(model.answer(new Float32Array(5))),
            nowhere: await failure(loadModel(["nowhere.tflite"])),
            broken: await failure(loadModel(["network", "broken"])),
        };
        model.close();
        told.closed = await failure(model.run({ picture }));
        return told;
        """,
        network=network,
        broken=b"this is no model",
    )
    ours = Interpreter(model_content=network).get_signature_runner("picture")
    np.testing.assert_allclose(told["odds"], ours(picture=np.zeros((1, 16, 16, 3), np.uint8))["odds"][0], atol=1e-6)
    assert told["timed"]
    assert told["freed"] == 2  # input and output
    assert told["inputs"] == ["picture"]
    assert told["short"] == "Expected picture: uint8 [1, 16, 16, 3], 768 values. Received: 767"
    assert told["sound"] == "Expected picture: uint8 [1, 16, 16, 3], 768 values. Received: undefined"
    assert told["nowhere"] == "nowhere.tflite: expected a .tflite file. Received: status 404"
    assert told["broken"] != "none" != told["closed"]


def test_names_that_the_file_has_not_are_told(program: str, network: bytes, started: list[int]) -> None:
    with (
        pytest.raises(BrowserError, match=r"Expected a tensor named waveform\. Received: picture"),
        open_in_browser([network], "waveform", "odds", program),
    ):
        pass
    assert all_end(started[0])


def test_a_browser_that_dies_is_noticed(program: str, network: bytes, pictures: np.ndarray, started: list[int]) -> None:
    with open_in_browser([network], "picture", "odds", program) as mortal:
        os.killpg(started[0], signal.SIGKILL)
        with pytest.raises(BrowserError, match=r"Chromium ended with code -9\. Its last output:"):
            mortal(pictures[0])
    assert all_end(started[0])


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder whose path leaves room for the name of Chromium's socket."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_program_that_is_killed_leaves_no_browser(program: str, network: bytes, short_path: Path) -> None:
    (short_path / "network.tflite").write_bytes(network)
    script = f"""
from pathlib import Path
from tumbao.serving.browser import open_in_browser
with open_in_browser([Path({str(short_path / "network.tflite")!r})], "picture", "odds", {program!r}) as model:
    print(model._chromium._process.pid, flush=True)
    model._server.inputs.get()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(short_path)}
    ) as killed:
        assert killed.stdout
        session = int(killed.stdout.readline())
        assert living(session)
        killed.kill()
    assert all_end(session)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Put a shell script in Chromium's place, and files where LiteRT.js would be: fake(script) -> its path."""
    web = tmp_path / "web"
    (web / "litert").mkdir(parents=True)
    for name in ("check.html", "model.js", "litert/litert.js"):
        (web / name).touch()
    monkeypatch.setattr(browser, "_WEB", web)

    def write(script: str) -> str:
        path = tmp_path / "chromium"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_a_browser_that_does_not_start_is_told_with_its_last_words(fake: Callable[[str], str]) -> None:
    with (
        pytest.raises(
            BrowserUnavailableError, match=r"ended with code 3\. Its last output:\nNo usable sandbox!"
        ) as error,
        open_in_browser([], "x", "y", fake("echo No usable sandbox! >&2; exit 3")),
    ):
        pass
    assert error.value.reason == "Chromium did not start"


def test_a_browser_that_hangs_is_ended_with_its_children(
    fake: Callable[[str], str], started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "MESSAGE_TIMEOUT_SECONDS", 0.3)
    with (
        pytest.raises(BrowserUnavailableError, match="sent nothing for 0 s"),
        open_in_browser([], "x", "y", fake("sleep 600 & sleep 600")),
    ):
        pass
    assert all_end(started[0])


def test_a_missing_browser_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrowserUnavailableError, match=r"chromium or chromium-browser or .* apt-get install") as error:
        require_browser()
    assert error.value.reason == "no Chromium"
    with pytest.raises(BrowserUnavailableError, match="expected a program no-such-thing"):
        find_chromium("no-such-thing")


def test_a_missing_bundle_is_told_with_what_to_do(fake: Callable[[str], str], tmp_path: Path) -> None:
    program = fake("exit")
    (tmp_path / "web" / "litert" / "litert.js").unlink()
    with pytest.raises(BrowserUnavailableError, match=r"installs LiteRT.js in .*litert; run it in") as error:
        require_browser(program)
    assert error.value.reason == "`make web` has not been run"


def test_the_server_hands_out_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    server = PageServer({"": b"page", "litert/runtime.wasm": b"code", "file.js": tmp_path / "secret"})
    with server.serve() as address:
        assert address.startswith("http://127.0.0.1:")
        for path, content, kind in [
            ("", b"page", "text/html"),
            ("litert/runtime.wasm", b"code", "application/wasm"),
            ("file.js", b"mine", "text/javascript"),
        ]:
            with urllib.request.urlopen(address + path) as response:
                assert response.read() == content
                assert response.headers["Content-Type"] in {kind, kind.replace("text/j", "application/j")}
                assert HEADERS.items() <= dict(response.headers).items()
        for path in ("secret", "../secret", f"..{tmp_path}/secret", str(tmp_path / "secret")):
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(address + path)
            refused.value.close()
        urllib.request.urlopen(address + "said?how", b"what").close()
        told = [server.requests.get() for _ in range(8)]
    assert tuple(told[-1]) == ("said", "how", b"what")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def test_the_lock_has_a_digest_for_everything_and_names_no_host() -> None:
    text = LOCK.read_text()
    packages = json.loads(text)["packages"]
    assert packages[""]["dependencies"] == {"@litertjs/core": "2.5.3"}
    assert all(about["integrity"].startswith("sha512-") for name, about in packages.items() if name)
    assert "://" not in text
