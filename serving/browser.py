"""Inference in a browser: LiteRT.js in a headless Chromium, without a network."""

from __future__ import annotations

import base64
import contextlib
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from playwright.sync_api import Browser, Error, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")  # program names of Chromium; the first one on PATH is used
TIMEOUT_SECONDS = 60.0  # limit of the browser's start and of one inference

HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""Headers of every response; they enable threads in WebAssembly."""

_WEB = Path(__file__).parent / "web"
_PAGE = "http://localhost/empty.html"  # never connected to: all requests are intercepted


class BrowserUnavailableError(RuntimeError):
    """No browser can be used here.

    The message is the reason in a few words, followed by what to do or further details.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


class BrowserError(RuntimeError):
    """The browser started but failed."""


def find_chromium() -> str:
    """Find the path of a Chromium by `NAMES`."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        advice = f"expected a program {' or '.join(NAMES)}. On Debian: apt-get install chromium"
        raise BrowserUnavailableError("no Chromium", advice)
    return found


def require_browser() -> str:
    """Return the path of a Chromium; raise `BrowserUnavailableError` if it or the LiteRT.js bundle is missing."""
    if not (_WEB / "litert" / "litert.js").is_file():
        advice = f"it installs LiteRT.js in {_WEB / 'litert'}; run it in Tumbao's source folder"
        raise BrowserUnavailableError("`make web` has not been run", advice)
    return find_chromium()


@contextlib.contextmanager
def launch(chromium: str, *flags: str) -> Iterator[Browser]:
    """Start a Chromium that ends with the context, or with this process."""
    with tempfile.TemporaryDirectory(prefix="tumbao-browser-", ignore_cleanup_errors=True) as home:
        folders = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), home)
        with sync_playwright() as playwright:
            try:
                browser = playwright.chromium.launch(
                    executable_path=chromium,
                    args=["--disable-dev-shm-usage", *flags],  # /dev/shm is small in containers
                    chromium_sandbox=os.geteuid() != 0,  # root has none
                    env={**os.environ, **folders},
                    timeout=1_000 * TIMEOUT_SECONDS,
                )
            except Error as error:
                raise BrowserUnavailableError("Chromium did not start", error.message) from error
            yield browser
            with contextlib.suppress(Error):  # it has ended already
                browser.close()


@contextlib.contextmanager
def open_page(chromium: str, files: Mapping[str, Path | bytes]) -> Iterator[Page]:
    """Open an empty page beside the scripts of `serving/web` and `files`, which are given by their paths."""
    scripts = {path.relative_to(_WEB).as_posix(): path for path in _WEB.rglob("*") if path.is_file()}
    found: dict[str, Path | bytes] = {"empty.html": b"", **scripts, **files}

    def respond(route: Route) -> None:
        path = urlsplit(route.request.url).path[1:]
        if path not in found:
            route.fulfill(status=404)
            return
        content = found[path]
        route.fulfill(
            body=content.read_bytes() if isinstance(content, Path) else content,
            headers=HEADERS | {"Content-Type": mimetypes.guess_type(path)[0] or "application/octet-stream"},
        )

    with launch(chromium) as browser:
        page = browser.new_page()
        page.set_default_timeout(1_000 * TIMEOUT_SECONDS)
        page.context.route("**/*", respond)
        page.goto(_PAGE)
        yield page


Predict = Callable[[np.ndarray], np.ndarray]


@contextlib.contextmanager
def open_in_browser(files: Sequence[Path | bytes], input_name: str, output_name: str) -> Iterator[Predict]:
    """Load .tflite files in a browser until the context ends; yields a function from an input to an output.

    The files run in sequence: the input of each is the output of the same name of the previous one.
    """
    models = {f"model/{index}.tflite": file for index, file in enumerate(files)}
    script = 'async (arguments) => (await import("./check.js")).'
    with open_page(require_browser(), models) as page:

        def call(function: str, *arguments: object) -> dict[str, Any]:
            """Call a function of check.js; unlike `evaluate`, waiting for a function has a timeout."""
            try:
                return page.wait_for_function(f"{script}{function}(...arguments)", arg=arguments).json_value()
            except Error as error:
                raise BrowserError(error.message.removeprefix("Page.wait_for_function: ")) from error

        call("load", [f"./{name}" for name in models], input_name, output_name)

        def predict(value: np.ndarray) -> np.ndarray:
            output = call("run", base64.b64encode(value.tobytes()).decode())
            return np.array(output["values"], output["dtype"]).reshape(output["shape"])

        yield predict
