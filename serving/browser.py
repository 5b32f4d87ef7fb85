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

MESSAGE_TIMEOUT_SECONDS = 60.0
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
_EXIT_WITH_PARENT = 'exec "$@" 3<&0 4>/dev/null 0</dev/null'
"""Connect the debugging pipe (descriptor 3) to our stdin, so that Chromium exits even if this process is killed."""

_Message = TypeVar("_Message")


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
        self._stderr = folder / "stderr.txt"
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # not available to root
        command = [program, *_FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", address]
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _EXIT_WITH_PARENT, "sh", *command],
                env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def next_message(self, messages: queue.SimpleQueue[_Message]) -> _Message:
        """Return the next message of the page from the queue.

        Raises `BrowserError` if the browser exits or sends nothing for `MESSAGE_TIMEOUT_SECONDS`.
        """
        end = time.monotonic() + MESSAGE_TIMEOUT_SECONDS
        while True:
            with contextlib.suppress(queue.Empty):
                return messages.get(timeout=0.1)
            code = self._process.poll()
            if code is not None or time.monotonic() > end:
                how = f"sent nothing for {MESSAGE_TIMEOUT_SECONDS:.0f} s" if code is None else f"ended with code {code}"
                last = self._stderr.read_text(errors="replace").splitlines()[-5:]
                raise BrowserError("\n".join([f"Chromium {how}. Its last output:", *last]))

    def kill(self) -> None:
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


class PageRequest(NamedTuple):
    """A request of the page.

    `path` has no leading slash. A POST also has a query and a body (`content`).
    """

    path: str
    query: str
    content: bytes


class PageServer:
    """A server on 127.0.0.1, on a port chosen by the system.

    `files` maps paths without the slash to content; nothing else is served. Each GET of `input` waits for an element of
    `inputs`; `requests` receives the requests in order.
    """

    def __init__(self, files: Mapping[str, Path | bytes]) -> None:
        self.files = files
        self.inputs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[PageRequest] = queue.SimpleQueue()

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

    def __init__(self, server: PageServer, *arguments: object) -> None:
        self.page_server = server
        with contextlib.suppress(ConnectionError):  # the browser was killed
            super().__init__(*arguments)  # type: ignore[arg-type] # arguments of the server

    def do_GET(self) -> None:
        path = self.path[1:]
        self.page_server.requests.put(PageRequest(path, "", b""))
        found = self.page_server.inputs.get() if path == "input" else self.page_server.files.get(path)
        content = found.read_bytes() if isinstance(found, Path) else found
        self._respond(HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK, content or b"")

    def do_POST(self) -> None:
        path, _, query = self.path[1:].partition("?")
        self.page_server.requests.put(PageRequest(path, query, self.rfile.read(int(self.headers["Content-Length"]))))
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
            "`make web` has not been run",
            f"it installs LiteRT.js in {_WEB / 'litert'}; run it in Tumbao's source folder",
        )
    return found


class BrowserModel:
    """A model loaded in a browser.

    `threaded` tells whether it can use several cores; `seconds` collects the time of each inference, measured in the
    browser.
    """

    def __init__(self, server: PageServer, chromium: Chromium) -> None:
        self._server, self._chromium = server, chromium
        about = json.loads(self._wait_for("ready").content)
        self.threaded: bool = about["threaded"]
        self.seconds: list[float] = []
        self._input: dict[str, Any] = about["input"]
        self._output: dict[str, Any] = about["output"]

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Run the model on one input of exactly its shape and dtype.

        Raises `ValueError` for another shape or dtype and `BrowserError` if the model or the browser fails.
        """
        if [*value.shape] != self._input["shape"] or value.dtype.name != self._input["dtype"]:
            raise ValueError(
                f"Expected {self._input['dtype']} {self._input['shape']}. Received: {value.dtype} {[*value.shape]}"
            )
        self._server.inputs.put(value.tobytes())
        answer = self._wait_for("output")
        self.seconds.append(float(answer.query))
        return np.frombuffer(answer.content, self._output["dtype"]).reshape(self._output["shape"]).copy()

    def _wait_for(self, path: str) -> PageRequest:
        while True:
            request = self._chromium.next_message(self._server.requests)
            if request.path == "failure":
                raise BrowserError(request.content.decode())
            if request.path == path:
                return request


@contextlib.contextmanager
def open_in_browser(
    files: Sequence[Path | bytes], input_name: str, output_name: str, chromium: str | None = None
) -> Iterator[BrowserModel]:
    """Load .tflite files in a browser until the context ends.

    The files run in sequence: the input of each is the output of the same name of the previous one. `input_name` is an
    input of the first file, `output_name` an output of the last one. Shapes must be static, with one signature per
    file. Raises `BrowserUnavailableError` if Chromium or the LiteRT.js bundle is missing or Chromium does not start,
    and `BrowserError` if a file cannot be loaded or the browser fails.
    """
    program = require_browser(chromium)
    models = {f"model/{index}.tflite": file for index, file in enumerate(files)}
    job = json.dumps({"files": [*models], "input": input_name, "output": output_name}).encode()
    runtime = {f"litert/{path.name}": path for path in (_WEB / "litert").iterdir()}
    page: dict[str, Path | bytes] = {"": _WEB / "check.html", "model.js": _WEB / "model.js", "job": job}
    server = PageServer(page | runtime | models)
    with (
        tempfile.TemporaryDirectory(prefix="tumbao-browser-", ignore_cleanup_errors=True) as folder,
        server.serve() as address,
    ):
        browser = Chromium(program, address, Path(folder))
        try:
            try:
                browser.next_message(server.requests)
            except BrowserError as error:
                raise BrowserUnavailableError("Chromium did not start", str(error)) from error
            yield BrowserModel(server, browser)
        finally:
            browser.kill()


def browser_probabilities(model: Path, fragments: np.ndarray, chromium: str | None = None) -> tuple[np.ndarray, float]:
    """Classify fragments with a pushed model's front-end and preferred classifier in a browser.

    Fragments float32 [n, samples] in −1..1 at the model's rate, n >= 1 → probabilities float32 [n, genres] before
    temperature scaling, and the median time of one inference in seconds, measured in the browser. Raises as
    `open_in_browser`.
    """
    assets = find_assets(model)
    precision = preferred([precision for precision, name in CLASSIFIER_FILES.items() if (assets / name).exists()])
    files = [assets / FRONTEND_FILE, assets / CLASSIFIER_FILES[precision]]
    with open_in_browser(files, "waveform", "probabilities", chromium) as loaded:
        answers = [loaded(fragment[np.newaxis]) for fragment in fragments]
    return np.concatenate(answers), statistics.median(loaded.seconds)
