"""Inference in a browser: LiteRT.js in a headless Chromium, on this machine and without a network.

Our page in a separate Chromium fetches inputs from a server on 127.0.0.1 and posts the outputs to it. No browser driver
is needed, and nothing of the browser remains afterwards.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tumbao.serving.chromium import BrowserError, BrowserUnavailableError, Chromium, find_chromium
from tumbao.serving.loopback import Loopback, Told
from tumbao.serving.model_info import CLASSIFIER_FILES, FRONTEND_FILE, preferred
from tumbao.serving.predict import find_assets

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
