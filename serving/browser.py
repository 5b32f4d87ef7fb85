"""Inference in a browser: LiteRT.js in a headless Chromium, on this machine and without a network.

A page of ours in a separate Chromium fetches inputs from a server on 127.0.0.1 and posts the outputs to it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mimetypes
import os
import queue
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tumbao.serving.model_info import CLASSIFIER_FILES, FRONTEND_FILE, preferred
from tumbao.serving.predict import find_assets

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Program names of Chromium; the first one on PATH is used."""

PATIENCE_SECONDS = 60.0
"""Longest time without a message from the page while one is expected."""

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",  # the crash reporter would outlive the browser
    "--disable-dev-shm-usage",  # small in containers
    "--remote-debugging-pipe",  # the browser exits when this pipe closes
)
_ENDS_WITH_US = 'exec "$@" 3<&0 4>/dev/null 0</dev/null'
"""Connect the debugging pipe (descriptor 3) to our stdin, so that Chromium exits even if this process is killed."""

_Word = TypeVar("_Word")


class BrowserUnavailableError(RuntimeError):
    """No browser can be used here.

    The message is the reason in a few words, followed by what to do or further details.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


class BrowserError(RuntimeError):
    """The browser started but failed; the message contains its output."""


def find_chromium(chromium: str | None = None) -> str:
    """Find a Chromium by name or path; by default the first of `NAMES`."""
    names = NAMES if chromium is None else (chromium,)
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BrowserUnavailableError(
            "no Chromium", f"expected a program {' or '.join(names)}. On Debian: apt-get install chromium"
        )
    return found


class Chromium:
    """A running Chromium.

    It writes only to `folder`, which must be empty.
    """

    def __init__(self, program: str, address: str, folder: Path) -> None:
        self._said = folder / "stderr.txt"
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # not available to root
        command = [program, *_FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", address]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ENDS_WITH_US, "sh", *command],
                env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def hear(self, words: queue.SimpleQueue[_Word]) -> _Word:
        """Return the next message of the page from the queue.

        Raises `BrowserError` if the browser exits or sends nothing for `PATIENCE_SECONDS`.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(queue.Empty):
                return words.get(timeout=0.1)
            code = self._process.poll()
            if code is not None or time.monotonic() > end:
                how = f"said nothing for {PATIENCE_SECONDS:.0f} s" if code is None else f"ended with code {code}"
                last = self._said.read_text(errors="replace").splitlines()[-5:]
                raise BrowserError("\n".join([f"Chromium {how}. Its last words:", *last]))

    def end(self) -> None:
        """Kill it and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}
"""Headers of every response; the first two enable threads in WebAssembly."""


class Told(NamedTuple):
    """A request of the page.

    `what` is the path without the slash. A POST also has the query (`how`) and the body (`content`).
    """

    what: str
    how: str
    content: bytes


class Loopback:
    """A server on 127.0.0.1, on a port chosen by the system.

    `files` maps paths without the slash to content; nothing else is served. Each GET of `input` waits for an element of
    `inputs`; `told` receives the requests in order.
    """

    def __init__(self, files: Mapping[str, Path | bytes]) -> None:
        self.files = files
        self.inputs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Serve until the context ends; yields the address, such as `http://127.0.0.1:12345/`."""
        with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                self.inputs.put(b"")  # releases a waiting request
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, loopback: Loopback, *arguments: object) -> None:
        self.loopback = loopback
        with contextlib.suppress(ConnectionError):  # the browser was killed
            super().__init__(*arguments)  # type: ignore[arg-type] # arguments of the server

    def do_GET(self) -> None:
        what = self.path[1:]
        self.loopback.told.put(Told(what, "", b""))
        found = self.loopback.inputs.get() if what == "input" else self.loopback.files.get(what)
        content = found.read_bytes() if isinstance(found, Path) else found
        self._respond(HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK, content or b"")

    def do_POST(self) -> None:
        what, _, how = self.path[1:].partition("?")
        self.loopback.told.put(Told(what, how, self.rfile.read(int(self.headers["Content-Length"]))))
        self._respond(HTTPStatus.OK, b"")

    def _respond(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response(status)
        kind = mimetypes.guess_type(self.path)[0] if self.path != "/" else "text/html"
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


_WEB = Path(__file__).parent / "web"


def require_browser(chromium: str | None = None) -> str:
    """Return the path of a Chromium; raise `BrowserUnavailableError` if it or the LiteRT.js bundle is missing."""
    found = find_chromium(chromium)
    if not (_WEB / "litert" / "litert.js").is_file():
        raise BrowserUnavailableError(
            "`make web` was not run", f"it brings LiteRT.js into {_WEB / 'litert'}; run it in Tumbao's source folder"
        )
    return found


class Door:
    """A model loaded in a browser.

    `threaded` tells whether it can use several cores; `seconds` collects the time of each inference, measured in the
    browser.
    """

    def __init__(self, loopback: Loopback, chromium: Chromium) -> None:
        self._loopback, self._chromium = loopback, chromium
        about = json.loads(self._hear("ready").content)
        self.threaded: bool = about["threaded"]
        self.seconds: list[float] = []
        self._takes: dict[str, Any] = about["takes"]
        self._gives: dict[str, Any] = about["gives"]

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Run the model on one input of exactly its shape and dtype.

        Raises `ValueError` for another shape or dtype and `BrowserError` if the model or the browser fails.
        """
        if [*value.shape] != self._takes["shape"] or value.dtype.name != self._takes["dtype"]:
            raise ValueError(
                f"Expected {self._takes['dtype']} {self._takes['shape']}. Received: {value.dtype} {[*value.shape]}"
            )
        self._loopback.inputs.put(value.tobytes())
        answer = self._hear("output")
        self.seconds.append(float(answer.how))
        return np.frombuffer(answer.content, self._gives["dtype"]).reshape(self._gives["shape"]).copy()

    def _hear(self, what: str) -> Told:
        while True:
            told = self._chromium.hear(self._loopback.told)
            if told.what == "failure":
                raise BrowserError(told.content.decode())
            if told.what == what:
                return told


@contextlib.contextmanager
def in_browser(files: Sequence[Path | bytes], taken: str, given: str, chromium: str | None = None) -> Iterator[Door]:
    """Load .tflite files in a browser until the context ends.

    The files run in sequence: each takes, by name, the output of the one before it. `taken` is the name of the first
    file's input, `given` that of the last file's output. They must have static shapes and one signature each. Raises
    `BrowserUnavailableError` if Chromium or the LiteRT.js bundle is missing or Chromium does not start, and
    `BrowserError` if a file cannot be loaded or the browser fails.
    """
    program = require_browser(chromium)
    models = {f"model/{index}.tflite": file for index, file in enumerate(files)}
    job = json.dumps({"files": [*models], "taken": taken, "given": given}).encode()
    runtime = {f"litert/{path.name}": path for path in (_WEB / "litert").iterdir()}
    page: dict[str, Path | bytes] = {"": _WEB / "check.html", "model.js": _WEB / "model.js", "job": job}
    loopback = Loopback(page | runtime | models)
    with (
        tempfile.TemporaryDirectory(prefix="tumbao-browser-", ignore_cleanup_errors=True) as folder,
        loopback.serve() as address,
    ):
        browser = Chromium(program, address, Path(folder))
        try:
            try:
                browser.hear(loopback.told)
            except BrowserError as error:
                raise BrowserUnavailableError("Chromium did not start", str(error)) from error
            yield Door(loopback, browser)
        finally:
            browser.end()


def browser_probabilities(model: Path, fragments: np.ndarray, chromium: str | None = None) -> tuple[np.ndarray, float]:
    """Classify fragments with a pushed model's front-end and preferred classifier in a browser.

    Fragments float32 [n, samples] in −1..1 at the model's rate, n >= 1 → probabilities float32 [n, genres] before
    temperature scaling, and the median time of one inference in seconds, measured in the browser. Raises as
    `in_browser`.
    """
    assets = find_assets(model)
    precision = preferred([precision for precision, name in CLASSIFIER_FILES.items() if (assets / name).exists()])
    files = [assets / FRONTEND_FILE, assets / CLASSIFIER_FILES[precision]]
    with in_browser(files, "waveform", "probabilities", chromium) as door:
        answers = [door(fragment[np.newaxis]) for fragment in fragments]
    return np.concatenate(answers), statistics.median(door.seconds)
