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
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from tumbao import __version__
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError
from tumbao.serving.server import schemas
from tumbao.serving.server.classify_handler import ClassifyHandler
from tumbao.serving.server.middleware import CloseUnreadRequests, Metrics, ServerMiddleware
from tumbao.serving.server.models import Model, Models
from tumbao.serving.server.schemas import ApiError
from tumbao.serving.server.uploads import Limits

WEB_FOLDER = Path(__file__).parents[1] / "web"  # the web page and its files, served at `/`

_CLASSIFY = """
Classify one or more songs, in any format that `tumbao classify` accepts.
Each file has its own result or error; the error of a single file is also the error of the request.
Example: `curl -F files=@one.mp3 -F files=@two.flac http://127.0.0.1:8080/v1/classify`
"""
_SHA256 = Query(description="SHA-256 of the content: with it, the response can be cached indefinitely.")
_FILE_TYPES = ("application/octet-stream", "application/json", "text/plain")
_IMMUTABLE = "public, max-age=31536000, immutable"


def make_app(
    folder: AnyPath, limits: Limits, origins: Sequence[str] = (), root_path: str = "", web: Path = WEB_FOLDER
) -> ASGIApp:
    """Create the ASGI application for one event loop; `root_path` is the prefix of a reverse proxy, as `/tumbao`."""
    metrics = Metrics()
    models = Models(folder, metrics)
    handler = ClassifyHandler(models, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        yield
        models.close()
        handler.close()

    app = FastAPI(
        title="Tumbao",
        version=__version__,
        description="Recognises tropical music genres from audio.",
        lifespan=lifespan,
        docs_url=None,  # its scripts are on another host
        redoc_url=None,
    )
    _add_model_routes(app, handler, limits)
    _add_system_routes(app, handler, metrics)
    app.router.default = _Page(directory=web, html=True)  # all other paths are files of the page
    app.add_exception_handler(ApiError, lambda _, error: _respond(error, metrics))
    app.add_exception_handler(HTTPException, lambda _, error: _respond(_path_error(error), metrics))
    app.add_exception_handler(Exception, lambda _, error: _respond(_INTERNAL, metrics))
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], expose_headers=["Retry-After"]
        )
    return CloseUnreadRequests(ServerMiddleware(app, metrics, root_path))


def _add_model_routes(app: FastAPI, handler: ClassifyHandler, limits: Limits) -> None:
    @app.post(
        "/v1/classify",
        openapi_extra={"requestBody": schemas.FORM},
        description=_CLASSIFY,
        response_model=schemas.ClassifyResponse,
        responses=schemas.error_responses(400, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    )
    async def classify(request: Request) -> Response:
        return await handler.classify(request)

    @app.get("/v1/labels", response_model=schemas.Labels, responses=schemas.error_responses(503))
    async def labels() -> Any:
        """List the genres, in the order of the model's outputs."""
        return {"labels": handler.model().info.genres}

    @app.get("/v1/model", response_model=schemas.ModelCard, responses=schemas.error_responses(503))
    async def model() -> Any:
        """Return the description of the model and the addresses of its files."""
        model = handler.model()
        files = [
            {"name": name, "url": f"model/files/{name}?sha256={file.sha256}", **file._asdict()}
            for name, file in model.files.items()
        ]
        return {"version": model.version, "model": model.identity, "card": model.card, "files": files}

    @app.get(
        "/v1/model/files/{name}",
        description="Download a file of the model.",
        response_class=FileResponse,
        responses={
            200: {"content": {kind: {} for kind in _FILE_TYPES}, "description": "The file."},
            **schemas.error_responses(404, 503),
        },
    )
    async def model_file(name: str, sha256: Annotated[str | None, _SHA256] = None) -> Response:
        return _file(handler.model(), name, sha256)

    @app.get("/v1/limits", response_model=schemas.UploadLimits)
    async def upload_limits() -> Any:
        """Return the limits of a classification request."""
        return {name: getattr(limits, name) for name in schemas.UploadLimits.model_fields}


def _add_system_routes(app: FastAPI, handler: ClassifyHandler, metrics: Metrics) -> None:
    @app.get("/healthz", response_model=schemas.Status)
    async def health() -> Any:
        """Check that the server responds."""
        return {"status": "alive"}

    @app.get("/readyz", response_model=schemas.Status, responses=schemas.error_responses(503))
    async def ready() -> Any:
        """Check that a model is loaded and a decoder process runs or can be started."""
        await handler.check()
        return {"status": "ready"}

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics."}},
    )
    async def prometheus_metrics() -> Response:
        """Return the metrics in the format of Prometheus."""
        return Response(metrics.text(), media_type=metrics.content_type)


class _Page(StaticFiles):
    """Static files with machine-independent media types that browsers revalidate before use."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


for _extension, _type in {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}.items():
    mimetypes.add_type(_type, _extension)

_INTERNAL = ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed; its log contains the error.")


def _file(model: Model, name: str, sha256: str | None) -> Response:
    file, path = model.files.get(name), model.assets / name
    if file is None or sha256 not in (None, file.sha256) or not path.is_file():
        raise ApiError(HTTPStatus.NOT_FOUND, "not found", "The model has no such file; see v1/model for its files.")
    headers = {"Cache-Control": _IMMUTABLE if sha256 else "no-cache"}
    return FileResponse(path, headers=headers, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")


def _path_error(error: HTTPException) -> ApiError:
    status = HTTPStatus(error.status_code)
    sentence = f"{status.description or status.phrase}; see openapi.json."
    return ApiError(status, status.phrase.lower(), sentence, error.headers)


def _respond(error: ApiError, metrics: Metrics) -> JSONResponse:
    metrics.errors.labels(error.reason).inc()
    return error.response()


INTERRUPTED = 130  # exit status after Ctrl-C, as in shells

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than reverse proxies keep theirs (60 s in nginx and in load balancers).

A proxy that sends a request on a connection that is just being closed answers 502.
"""

_log = logging.getLogger(__name__)


def serve(model: AnyPath, host: str, port: int, limits: Limits, origins: Sequence[str], root_path: str) -> int:
    """Serve until SIGTERM or Ctrl-C, finish the accepted requests, and return the exit status (0 or 130)."""
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
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
        )
        _log.info("Listening at http://%s:%d%s/", host, listener.getsockname()[1], root_path.rstrip("/"))
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises the signal again after shutdown
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0
