"""The model as it answers in a browser: LiteRT.js in a headless Chromium, on this machine and without a network.

A page of ours in a Chromium of its own asks a server on 127.0.0.1 for inputs and tells it the outputs. Nothing drives
the browser, and nothing of it is left afterwards.
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
    """Find what a model in the browser needs.

    Parameters
    ----------
    chromium : str or None
        Name or path of a Chromium; None for one that is on PATH.

    Returns
    -------
    str
        Path of the Chromium.

    Raises
    ------
    BrowserUnavailableError
        If there is no Chromium, or LiteRT.js was not bundled.
    """
    found = find_chromium(chromium)
    if not (_WEB / "litert" / "litert.js").is_file():
        raise BrowserUnavailableError(
            "`make web` was not run", f"it brings LiteRT.js into {_WEB / 'litert'}; run it in Tumbao's source folder"
        )
    return found


class Door:
    """A model that waits in a browser.

    Parameters
    ----------
    loopback : Loopback
        The server that its page asks.
    chromium : Chromium
        The browser.

    Attributes
    ----------
    threaded : bool
        Whether it may use several cores.
    seconds : list of float
        How long each answer took, measured in the browser, in seconds.
    """

    def __init__(self, loopback: Loopback, chromium: Chromium) -> None:
        self._loopback, self._chromium = loopback, chromium
        about = json.loads(self._hear("ready").content)
        self.threaded: bool = about["threaded"]
        self.seconds: list[float] = []
        self._takes: dict[str, Any] = about["takes"]
        self._gives: dict[str, Any] = about["gives"]

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Answer.

        Parameters
        ----------
        value : np.ndarray
            The input, with the shape and the type that the model takes.

        Returns
        -------
        np.ndarray
            The output, with the shape and the type that the model gives.

        Raises
        ------
        ValueError
            If the input has another shape or type.
        BrowserError
            If the model fails, or the browser dies or falls silent.
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
    """Load .tflite files in a browser, to be asked until the context ends.

    Parameters
    ----------
    files : sequence of Path or bytes
        What works in a row: each takes by name what the one before it gives. Static shapes, one signature each.
    taken : str
        The input's name in the first file's signature.
    given : str
        The output's name in the last file's.
    chromium : str or None
        Name or path of a Chromium; None for one that is on PATH.

    Yields
    ------
    door : Door
        One input → its output.

    Raises
    ------
    BrowserUnavailableError
        If there is no Chromium, it does not start, or LiteRT.js was not bundled.
    BrowserError
        If a file cannot be loaded, or the browser dies or falls silent.
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
    """Answer for fragments with a pushed model's front-end and preferred classifier in a browser.

    Parameters
    ----------
    model : Path
        Where the model lies; see `predict.find_assets`.
    fragments : np.ndarray [shape=(n, samples), dtype=float32]
        Mono samples in −1..1 at the model's rate; at least one fragment.
    chromium : str or None
        Name or path of a Chromium; None for one that is on PATH.

    Returns
    -------
    probabilities : np.ndarray [shape=(n, genres), dtype=float32]
        A row a fragment, before any temperature.
    seconds : float
        Median time of one answer, measured in the browser.

    Raises
    ------
    ValueError
        If no model lies there, or the fragments do not fit it.
    BrowserUnavailableError
        If there is no Chromium, it does not start, or LiteRT.js was not bundled.
    BrowserError
        If the browser does not answer.
    """
    assets = find_assets(model)
    precision = preferred([precision for precision, name in CLASSIFIER_FILES.items() if (assets / name).exists()])
    files = [assets / FRONTEND_FILE, assets / CLASSIFIER_FILES[precision]]
    with in_browser(files, "waveform", "probabilities", chromium) as door:
        answers = [door(fragment[np.newaxis]) for fragment in fragments]
    return np.concatenate(answers), statistics.median(door.seconds)
