"""Handling of classification requests, limited in number and time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment, SongSummary
from tumbao.components.ingest.worker_pool import WorkerPool, WorkerStartError
from tumbao.serving.predict import song_values
from tumbao.serving.server.limits import Limits
from tumbao.serving.server.metrics import Metrics
from tumbao.serving.server.models import Model, Models
from tumbao.serving.server.schemas import RefusalError
from tumbao.serving.server.uploads import Scratch, Upload, receive

_log = logging.getLogger(__name__)


class Job:
    """Classifies uploads, all with the same model even if another one is loaded meanwhile."""

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
        """Stop the thread after its current fragment."""
        self._stopped.set()

    def results(self) -> list[dict[str, Any] | RefusalError]:
        """Return the result of each file in order; files that are not finished get an error."""
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
        began, items = time.monotonic(), read_song(self._pool, AudioSegment(str(upload.path)), info.mel, None)
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
    """The request ended before its answer."""


class _Watched:
    """Iterate over a song; stop if it is too long or the request has ended, and measure the decoding time."""

    def __init__(
        self,
        items: Iterator[Fragment | SongSummary],
        most_seconds: float,
        fragment_seconds: float,
        stopped: threading.Event,
    ) -> None:
        self._items, self._stopped = items, stopped
        self._most_seconds, self._fragment_seconds = most_seconds, fragment_seconds
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Fragment | SongSummary]:
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

    def _reached(self, item: Fragment | SongSummary) -> float:
        if isinstance(item, SongSummary):
            return item.seconds
        return 0.0 if item.padded else (item.index + 1) * self._fragment_seconds


CLIENT_GONE = 499
"""Status, in log and metrics, of a request whose client disconnected before the answer."""

_WORKER_TIMEOUT_SECONDS = 20.0  # time without output after which a decoder is stopped
_MOST_RETRY_SECONDS = 60
_log = logging.getLogger(__name__)


class Reception:
    """Receives uploads and returns answers."""

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self._models, self._limits, self._metrics = models, limits, metrics
        self._held = contextlib.ExitStack()
        self._scratch = self._held.enter_context(contextlib.closing(Scratch()))
        self._pool = self._held.enter_context(WorkerPool(min(_WORKER_TIMEOUT_SECONDS, limits.seconds)))
        self._threads = ThreadPoolExecutor(limits.parallel, "classify")
        self._accepted = 0
        self._usual_seconds = 1.0

    def close(self) -> None:
        """Release threads, processes and folders."""
        self._threads.shutdown(cancel_futures=True)
        self._held.close()

    def model(self) -> Model:
        """Return the current model; raise `RefusalError` if none is loaded yet."""
        if self._models.current is None:
            sentence = "There is no model yet: it is being loaded, or none was pushed."
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "no model", sentence, {"Retry-After": "5"})
        return self._models.current

    async def check(self) -> None:
        """Check that a model is loaded and a worker process runs or can be started; raise `RefusalError` if not."""
        self.model()
        try:
            await asyncio.to_thread(self._pool.check)
        except WorkerStartError as error:
            _log.error("Not ready: %s", error)
            sentence = "No process can be started to decode songs; the server's log says why."
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "no worker", sentence, {"Retry-After": "5"}) from error

    async def classify(self, request: Request) -> Response:
        """Answer a request with a form of files.

        A file that is refused has its error in the response; if it is the only one, the response is the error. Raises
        `RefusalError` if the whole request is refused.
        """
        model = self.model()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.seconds
        with self._place(), self._scratch.request() as folder:
            try:
                with self._metrics.timed("upload"):
                    headers = request.headers
                    receiving = receive(
                        headers.get("content-type", ""),
                        headers.get("content-length"),
                        request.stream(),
                        folder,
                        self._limits,
                    )
                    uploads = await asyncio.wait_for(receiving, deadline - loop.time())
            except asyncio.TimeoutError as error:
                sentence = f"Expected the files within {self._limits.seconds:g} s. Received: a part of them"
                raise RefusalError(HTTPStatus.REQUEST_TIMEOUT, "slow upload", sentence) from error
            except ClientDisconnect:
                return Response(status_code=CLIENT_GONE)
            job = Job(uploads, model, self._pool, self._limits, self._metrics)
            if not await self._done(job, request, deadline):
                return Response(status_code=CLIENT_GONE)
            self._usual_seconds += 0.1 * (self._limits.seconds - (deadline - loop.time()) - self._usual_seconds)
        results = job.results()
        if len(results) == 1 and isinstance(results[0], RefusalError):
            return results[0].response()
        files = [_file(upload, said, model) for upload, said in zip(uploads, results, strict=True)]
        return JSONResponse({"files": files})

    async def _done(self, job: Job, request: Request, deadline: float) -> bool:
        """Wait for a job until the deadline; return whether the client is still connected."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, job.run)
        gone = asyncio.ensure_future(_gone(request))
        try:
            waited = {work, gone}
            await asyncio.wait(waited, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return work.done() or not gone.done()
        finally:
            job.stop()
            work.cancel()
            gone.cancel()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._accepted >= self._limits.requests:
            seconds = min(math.ceil(self._usual_seconds), _MOST_RETRY_SECONDS)
            sentence = f"There are {self._accepted} requests before this one. Try again in some seconds."
            raise RefusalError(HTTPStatus.TOO_MANY_REQUESTS, "busy", sentence, {"Retry-After": str(seconds)})
        self._accepted += 1
        try:
            with self._metrics.accepted.track_inprogress():
                yield
        finally:
            self._accepted -= 1


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _file(upload: Upload, said: dict[str, Any] | RefusalError, model: Model) -> dict[str, Any]:
    values = {
        "file": upload.name,
        "file_bytes": upload.bytes,
        "status": said.status if isinstance(said, RefusalError) else HTTPStatus.OK,
        "model": model.identity,
        "synthetic_training_data": model.info.training_data.synthetic,
    }
    return values | (said.values() if isinstance(said, RefusalError) else said)
