"""Requests for answers: as many as there is room for, each for so long and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from tumbao.components.ingest.worker_pool import WorkerPool, WorkerStartError
from tumbao.serving.server.job import Job
from tumbao.serving.server.limits import Limits
from tumbao.serving.server.metrics import Metrics
from tumbao.serving.server.models import Model, Models
from tumbao.serving.server.refusal import RefusalError
from tumbao.serving.server.scratch import Scratch
from tumbao.serving.server.uploads import Upload, receive

CLIENT_GONE = 499
"""Status, for log and metrics, of a request whose client did not wait for the answer."""

_WORKER_TIMEOUT_SECONDS = 20.0  # time without output after which a decoder is stopped
_MOST_RETRY_SECONDS = 60
_log = logging.getLogger(__name__)


class Reception:
    """Receives files and gives answers.

    Parameters
    ----------
    models : Models
        Answer.
    limits : Limits
        What is done at most.
    metrics : Metrics
        Told what happens.
    """

    def __init__(self, models: Models, limits: Limits, metrics: Metrics) -> None:
        self._models, self._limits, self._metrics = models, limits, metrics
        self._held = contextlib.ExitStack()
        self._scratch = self._held.enter_context(contextlib.closing(Scratch()))
        self._pool = self._held.enter_context(WorkerPool(min(_WORKER_TIMEOUT_SECONDS, limits.seconds)))
        self._threads = ThreadPoolExecutor(limits.parallel, "classify")
        self._accepted = 0
        self._usual_seconds = 1.0

    def close(self) -> None:
        """Give back what it holds: threads, processes and folders."""
        self._threads.shutdown(cancel_futures=True)
        self._held.close()

    def model(self) -> Model:
        """Find the model that answers now.

        Returns
        -------
        model : Model
            The newest.

        Raises
        ------
        RefusalError
            If none is loaded yet.
        """
        if self._models.current is None:
            sentence = "There is no model yet: it is being loaded, or none was pushed."
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "no model", sentence, {"Retry-After": "5"})
        return self._models.current

    async def check(self) -> None:
        """Make sure that requests can be answered: a model is loaded, and a worker process runs or can be started.

        Raises
        ------
        RefusalError
            If not.
        """
        self.model()
        try:
            await asyncio.to_thread(self._pool.check)
        except WorkerStartError as error:
            _log.error("Not ready: %s", error)
            sentence = "No process can be started to decode songs; the server's log says why."
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "no worker", sentence, {"Retry-After": "5"}) from error

    async def classify(self, request: Request) -> Response:
        """Answer for the files of a request.

        Parameters
        ----------
        request : Request
            A form of files.

        Returns
        -------
        response : Response
            What is said of each file; of a single one that is refused, the refusal.

        Raises
        ------
        RefusalError
            If the request as a whole gets no answer.
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
        """Wait for a job, until its time is over; say whether the client waits too."""
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
