"""The work on one request: its files, one after the other, in a thread."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import Part, read_song
from tumbao.components.ingest.fragments import Ending, Fragment
from tumbao.components.ingest.worker_pool import WorkerPool, WorkerStartError
from tumbao.serving.server.limits import Limits
from tumbao.serving.server.metrics import Metrics
from tumbao.serving.server.models import Model
from tumbao.serving.server.refusal import RefusalError
from tumbao.serving.server.uploads import Upload
from tumbao.serving.song_values import song_values

_log = logging.getLogger(__name__)


class Job:
    """Answers for files.

    Parameters
    ----------
    uploads : sequence of Upload
        The files.
    model : Model
        Answers for all of them, also if another takes over meanwhile.
    pool : WorkerPool
        Decodes them.
    limits : Limits
        How long a file's sound may be.
    metrics : Metrics
        Counts the results and measures the steps.
    """

    def __init__(
        self, uploads: Sequence[Upload], model: Model, pool: WorkerPool, limits: Limits, metrics: Metrics
    ) -> None:
        self._uploads, self._model, self._pool = uploads, model, pool
        self._limits, self._metrics = limits, metrics
        self._said: list[dict[str, Any] | RefusalError] = []
        self._began = time.monotonic()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Classify the files; the target of the thread."""
        if self._stopped.is_set():
            return
        self._metrics.seconds.labels("wait").observe(time.monotonic() - self._began)
        with self._metrics.working.track_inprogress():
            for upload in self._uploads:
                try:
                    said = self._answer(upload)
                except _StoppedError:
                    return
                self._said.append(said)

    def stop(self) -> None:
        """Stop: the thread ends after its current fragment."""
        self._stopped.set()

    def results(self) -> list[dict[str, Any] | RefusalError]:
        """Return the result of each file.

        Returns
        -------
        results : list of dict or RefusalError
            In their order; those that were not done in time are refused.
        """
        said = list(self._said)
        late = RefusalError(
            HTTPStatus.GATEWAY_TIMEOUT,
            "time limit",
            f"was not done in time: expected {self._limits.seconds:g} s at most for a request",
        )
        said += [late] * (len(self._uploads) - len(said))
        for one in said:
            self._metrics.files.labels(one.reason if isinstance(one, RefusalError) else "answered").inc()
        return said

    def _answer(self, upload: Upload) -> dict[str, Any] | RefusalError:
        info = self._model.info
        began, items = time.monotonic(), read_song(self._pool, Part(str(upload.path)), info.mel, None)
        watched = _Watched(items, self._limits.sound_seconds, info.mel.fragment_seconds, self._stopped)
        with contextlib.closing(items):
            try:
                return song_values(self._model.classifier.answer(upload.name, watched), info)
            except AudioError as error:
                if error.reason in (Reason.UNREADABLE, Reason.IO_ERROR):  # the server wrote the file itself
                    _log.error("An upload that was received %s", error.sentence)
                    sentence = "was received, but the server cannot read it now. Try again in some seconds."
                    return RefusalError(HTTPStatus.INTERNAL_SERVER_ERROR, Reason.IO_ERROR.value, sentence)
                return RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, error.reason.value, error.sentence)
            except WorkerStartError as error:
                _log.error("%s", error)
                return _no_worker()
            except RefusalError as refusal:
                return refusal
            finally:
                self._metrics.seconds.labels("decode").observe(watched.seconds)
                self._metrics.seconds.labels("model").observe(time.monotonic() - began - watched.seconds)


def _no_worker() -> RefusalError:
    sentence = "cannot be decoded now: the server cannot start a process for it. Try again in some seconds."
    return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "no worker", sentence, {"Retry-After": "5"})


class _StoppedError(Exception):
    """The request has ended before its answer."""


class _Watched:
    """Iterate over a song; end it when it is too long or the request has ended, and measure the time of decoding."""

    def __init__(
        self, items: Iterator[Fragment | Ending], most_seconds: float, fragment_seconds: float, stopped: threading.Event
    ) -> None:
        self._items, self._stopped = items, stopped
        self._most_seconds, self._fragment_seconds = most_seconds, fragment_seconds
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Fragment | Ending]:
        while True:
            began = time.monotonic()
            try:
                item = next(self._items, None)
            finally:
                self.seconds += time.monotonic() - began
            if self._stopped.is_set():
                raise _StoppedError
            if item is None:
                return
            if self._reached(item) > self._most_seconds:
                sentence = f"is too long: expected {self._most_seconds / 60:g} minutes of sound at most"
                raise RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, "too long", sentence)
            yield item

    def _reached(self, item: Fragment | Ending) -> float:
        if isinstance(item, Ending):
            return item.seconds
        return 0.0 if item.padded else (item.index + 1) * self._fragment_seconds
