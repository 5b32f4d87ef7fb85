"""The routes of the HTTP server, and the command that runs it."""

from __future__ import annotations

import contextlib
import logging
import math
import mimetypes
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from tumbao import __version__
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError
from tumbao.serving.server import schemas
from tumbao.serving.server.classify_handler import Reception
from tumbao.serving.server.docs_page import docs_page
from tumbao.serving.server.limits import Limits
from tumbao.serving.server.metrics import Metrics
from tumbao.serving.server.middleware import CutOff, Surroundings
from tumbao.serving.server.models import Model, Models
from tumbao.serving.server.schemas import RefusalError

WEB_FOLDER = Path(__file__).parents[1] / "web"
"""The web page and its files, served at `/`."""

_CLASSIFY = """
Say which genres songs are: one file or many, in any format that `tumbao classify` takes.
Each file is answered or refused by itself; if there is only one and it is refused, so is the request.
With curl: `curl -F files=@one.mp3 -F files=@two.flac http://127.0.0.1:8080/v1/classify`
"""
_FILE_TYPES = ("application/octet-stream", "application/json", "text/plain")
_FOREVER = "public, max-age=31536000, immutable"
_NO_PAGE = 'This is Tumbao\'s API: <a href="docs">how to use it</a>.'


def make_app(
    folder: AnyPath, limits: Limits, origins: Sequence[str] = (), root_path: str = "", web: Path = WEB_FOLDER
) -> ASGIApp:
    """Create the ASGI application for one event loop.

    The push folder (see `predict.find_assets`) is watched from the start of the application. `origins` are the origins
    whose pages may access the server; `root_path` is the prefix of a reverse proxy, such as `/tumbao`.
    """
    metrics = Metrics()
    models = Models(folder, metrics)
    reception = Reception(models, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        yield
        models.close()
        reception.close()

    app = FastAPI(
        title="Tumbao",
        version=__version__,
        description="Recognises tropical music genres from audio.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    @app.post(
        "/v1/classify",
        openapi_extra={"requestBody": schemas.FORM},
        description=_CLASSIFY,
        response_model=schemas.Answers,
        responses=schemas.problems(400, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    )
    async def classify(request: Request) -> Response:
        return await reception.classify(request)

    @app.get("/v1/labels", response_model=schemas.Labels, responses=schemas.problems(503))
    async def labels() -> Any:
        """List the genres, in the order of the model's outputs."""
        return {"labels": reception.model().info.genres}

    @app.get("/v1/model", response_model=schemas.ModelCard, responses=schemas.problems(503))
    async def model() -> Any:
        """Tell what the model says of itself, and where its files are."""
        return _card(reception.model())

    @app.get(
        "/v1/model/files/{name}",
        openapi_extra={"parameters": schemas.FILE_PARAMETERS},
        description="Hand out a file of the model, for those who run it themselves.",
        response_class=FileResponse,
        responses={
            200: {"content": {kind: {} for kind in _FILE_TYPES}, "description": "The file."},
            304: {"description": "The client has it."},
            **schemas.problems(404, 503),
        },
    )
    async def model_file(request: Request) -> Response:
        sha256, known = request.query_params.get("sha256"), request.headers.get("if-none-match", "")
        return _file(reception.model(), request.path_params["name"], sha256, known)

    @app.get("/v1/limits", response_model=schemas.AtMost)
    async def at_most() -> Any:
        """Tell what is accepted at most."""
        return {name: getattr(limits, name) for name in schemas.AtMost.model_fields}

    @app.get("/healthz", response_model=schemas.State)
    async def health() -> Any:
        """Say that the server lives."""
        return {"status": "alive"}

    @app.get("/readyz", response_model=schemas.State, responses=schemas.problems(503))
    async def ready() -> Any:
        """Say whether a model is loaded and a process to decode songs runs or can be started."""
        await reception.check()
        return {"status": "ready"}

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics."}},
    )
    async def tell_metrics() -> Response:
        """Tell Prometheus what happens."""
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    if not (web / "index.html").is_file():

        @app.get("/", include_in_schema=False)
        async def no_page() -> Response:
            return HTMLResponse(f'<!doctype html><html lang="en"><title>Tumbao</title><p>{_NO_PAGE}</p></html>')

    app.router.default = _Page(directory=web, html=True)  # every path outside the API belongs to the page
    app.add_exception_handler(RefusalError, lambda _, error: _refuse(error, metrics))
    app.add_exception_handler(HTTPException, lambda _, error: _refuse(_of_path(error), metrics))
    app.add_exception_handler(Exception, lambda _, error: _refuse(_INTERNAL, metrics))
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], expose_headers=["Retry-After"]
        )
    return CutOff(Surroundings(app, metrics, root_path))


class _Page(StaticFiles):
    """Static files with machine-independent media types that browsers revalidate before use."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


for _extension, _type in {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}.items():
    mimetypes.add_type(_type, _extension)

_INTERNAL = RefusalError(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something is wrong with the server; its log says what."
)


def _card(model: Model) -> dict[str, Any]:
    files = [
        {"name": name, "url": f"model/files/{name}?sha256={file.sha256}", "bytes": file.bytes, "sha256": file.sha256}
        for name, file in model.files.items()
    ]
    return {"version": model.version, "model": model.identity, "card": model.card, "files": files}


def _file(model: Model, name: str, sha256: str | None, known: str) -> Response:
    file, path = model.files.get(name), model.assets / name
    if file is None or sha256 not in (None, file.sha256) or not path.is_file():
        raise RefusalError(HTTPStatus.NOT_FOUND, "not found", "The model has no such file; v1/model lists them.")
    headers = {"ETag": f'"{file.sha256}"', "Cache-Control": _FOREVER if sha256 else "no-cache"}
    if headers["ETag"] in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return FileResponse(path, headers=headers, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")


def _of_path(error: HTTPException) -> RefusalError:
    status = HTTPStatus(error.status_code)
    return RefusalError(
        status, status.phrase.lower(), f"{status.description or status.phrase}; see docs.", error.headers
    )


def _refuse(refusal: RefusalError, metrics: Metrics) -> JSONResponse:
    metrics.errors.labels(refusal.reason).inc()
    return refusal.response()


INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""

_log = logging.getLogger(__name__)


def serve(model: AnyPath, host: str, port: int, limits: Limits, origins: Sequence[str], root_path: str) -> int:
    """Serve until SIGTERM or Ctrl-C, finish the accepted requests, and return the exit status (0 or 130).

    `port` 0 means a free one; `origins` and `root_path` are those of `api.make_app`. Raises `UserError` if the address
    is not available.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"Expected an address and a port to listen at. Received: {host}, {port} ({error.strerror})"
        ) from error
    with listening as listener:
        config = uvicorn.Config(
            make_app(model, limits, origins, root_path),
            access_log=False,
            lifespan="on",
            log_config=None,
            log_level=logging.WARNING,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(limits.seconds),
            ws="none",
        )
        _log.info("Listening at http://%s:%d%s/ (API: docs)", host, listener.getsockname()[1], root_path.rstrip("/"))
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises the signal again after shutdown
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0
