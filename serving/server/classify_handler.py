"""Handling of classification requests, limited in number and time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment, SongSummary
from tumbao.components.ingest.worker_pool import WorkerPool, WorkerStartError
from tumbao.serving.predict import song_values
from tumbao.serving.server.middleware import Metrics
from tumbao.serving.server.models import Model, Models
from tumbao.serving.server.schemas import ApiError
from tumbao.serving.server.uploads import Limits, TempStorage, Upload, receive

_RETRY = {"Retry-After": "5"}
_log = logging.getLogger(__name__)


class Job:
    """Classifies uploads, all with the same model even if another one is loaded meanwhile."""

    def __init__(
        self, uploads: Sequence[Upload], model: Model, pool: WorkerPool, limits: Limits, metrics: Metrics
    ) -> None:
        self._uploads, self._model, self._pool = uploads, model, pool
        self._limits, self._metrics = limits, metrics
        self._results: list[dict[str, Any] | ApiError] = []
        self._started = time.monotonic()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Classify the files; the target of the thread."""
        if self._stopped.is_set():
            return
        self._metrics.seconds.labels("wait").observe(time.monotonic() - self._started)
        with self._metrics.working.track_inprogress(), contextlib.suppress(_StoppedError):
            for upload in self._uploads:
                self._results.append(self._answer(upload))

    def stop(self) -> None:
        """Stop the thread after its current fragment."""
        self._stopped.set()

    def response(self) -> Response:
        """Return the result of each file in order; files that are not finished get an error."""
        sentence = f"was not classified within the time limit of {self._limits.seconds:g} s for a request"
        late = ApiError(HTTPStatus.GATEWAY_TIMEOUT, "time limit", sentence)
        results, files = list(self._results), []
        results += [late] * (len(self._uploads) - len(results))
        for upload, result in zip(self._uploads, results, strict=True):
            if isinstance(result, ApiError):
                status, outcome, values = result.status, result.reason, result.values()
            else:
                status, outcome, values = HTTPStatus.OK, "answered", result
            self._metrics.files.labels(outcome).inc()
            about = {
                "file": upload.name,
                "file_bytes": upload.bytes,
                "status": status,
                "model": self._model.identity,
                "synthetic_training_data": self._model.info.training_data.synthetic,
                "decision": self._model.info.decision,
            }
            files.append(about | values)
        only = results[0]
        return only.response() if len(results) == 1 and isinstance(only, ApiError) else JSONResponse({"files": files})

    def _answer(self, upload: Upload) -> dict[str, Any] | ApiError:
        info = self._model.info
        with (
            self._metrics.seconds.labels("classify").time(),
            contextlib.closing(read_song(self._pool, AudioSegment(str(upload.path)), info.mel, None)) as items,
        ):
            try:
                return song_values(self._model.classifier.answer(self._limited(items)), info)
            except AudioError as error:
                if error.reason in (Reason.UNREADABLE, Reason.IO_ERROR):  # the server wrote the file itself
                    _log.error("An upload that was received %s", error.message)
                    sentence = "was received, but the server cannot read it at the moment. Try again in a few seconds."
                    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, Reason.IO_ERROR.value, sentence)
                return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, error.reason.value, error.message)
            except WorkerStartError as error:
                _log.error("%s", error)
                sentence = "cannot be decoded at the moment: the server cannot start a decoder process."
                return _unavailable("no worker", f"{sentence} Try again in a few seconds.")
            except ApiError as error:
                return error

    def _limited(self, items: Iterable[Fragment | SongSummary]) -> Iterator[Fragment | SongSummary]:
        """Iterate over a song; stop if it is too long or the request has ended."""
        for item in items:
            if self._stopped.is_set():
                raise _StoppedError
            fragment_seconds = self._model.info.mel.fragment_seconds
            seconds = item.seconds if isinstance(item, SongSummary) else item.index * fragment_seconds
            if seconds > self._limits.sound_minutes * 60:
                sentence = f"is too long: at most {self._limits.sound_minutes:g} minutes of audio are accepted"
                raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "too long", sentence)
            yield item


def _unavailable(reason: str, sentence: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, reason, sentence, _RETRY)


class _StoppedError(Exception):
    """The request ended before its answer."""


CLIENT_GONE = 499  # status, in log and metrics, of a request whose client disconnected before the answer

_WORKER_TIMEOUT_SECONDS = 20.0  # time without output after which a decoder is stopped


class ClassifyHandler:
    """Receives uploads and returns answers."""

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self._models, self._limits, self._metrics = models, limits, metrics
        self._held = contextlib.ExitStack()
        self._storage = self._held.enter_context(contextlib.closing(TempStorage()))
        self._pool = self._held.enter_context(WorkerPool(min(_WORKER_TIMEOUT_SECONDS, limits.seconds)))
        self._threads = ThreadPoolExecutor(limits.parallel, "classify")
        self._accepted = 0

    def close(self) -> None:
        """Release threads, processes and folders."""
        self._threads.shutdown(cancel_futures=True)
        self._held.close()

    def model(self) -> Model:
        """Return the current model; raise `ApiError` if none is loaded yet."""
        if self._models.current is None:
            sentence = "No model is available: it is still being loaded, or none has been pushed."
            raise _unavailable("no model", sentence)
        return self._models.current

    async def check(self) -> None:
        """Check that a model is loaded and a worker process runs or can be started; raise `ApiError` if not."""
        self.model()
        try:
            await asyncio.to_thread(self._pool.check)
        except WorkerStartError as error:
            _log.error("Not ready: %s", error)
            sentence = "No decoder process can be started; the server's log contains the reason."
            raise _unavailable("no worker", sentence) from error

    async def classify(self, request: Request) -> Response:
        """Answer a request with a form of files."""
        model = self.model()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.seconds
        with self._slot(), self._storage.request() as name:
            form = receive(request, Path(name), self._limits)
            try:
                with self._metrics.seconds.labels("upload").time():
                    uploads = await asyncio.wait_for(form, deadline - loop.time())
            except asyncio.TimeoutError as error:
                sentence = f"The upload was not completed within {self._limits.seconds:g} s."
                raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "slow upload", sentence) from error
            except ClientDisconnect:
                return Response(status_code=CLIENT_GONE)
            job = Job(uploads, model, self._pool, self._limits, self._metrics)
            if not await self._wait(job, request, deadline):
                return Response(status_code=CLIENT_GONE)
        return job.response()

    async def _wait(self, job: Job, request: Request, deadline: float) -> bool:
        """Wait for a job until the deadline; return whether the client is still connected."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, job.run)
        disconnected = asyncio.ensure_future(_disconnected(request))
        try:
            waited = {work, disconnected}
            await asyncio.wait(waited, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return work.done() or not disconnected.done()
        finally:
            job.stop()
            work.cancel()
            disconnected.cancel()

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if self._accepted >= self._limits.requests:
            sentence = f"The server is busy with {self._accepted} requests. Try again in a few seconds."
            raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, "busy", sentence, _RETRY)
        self._accepted += 1
        try:
            with self._metrics.accepted.track_inprogress():
                yield
        finally:
            self._accepted -= 1


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
