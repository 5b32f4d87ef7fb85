"""A server with a tiny model on a free port, and songs that it classifies as salsa and bachata."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn

from tumbao.components.ingest import decoders
from tumbao.serving.server import models
from tumbao.serving.server.api import KEEP_ALIVE_SECONDS, make_app
from tumbao.serving.server.uploads import Limits

RATE = 22_050
Serving = Callable[..., contextlib.AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session", autouse=True)
def quick_looks() -> Iterator[None]:
    """Check the push folder 20 times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "POLL_SECONDS", 0.05)
        yield


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """Serve a model: serving(model, **limits) -> client."""

    @contextlib.contextmanager
    def serve(model: Path, web: Path | None = None, origins: Any = (), root_path: str = "", **limits: Any) -> Any:
        page = {"web": web} if web else {}
        app = make_app(model, Limits(**limits), origins, root_path, **page)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(
                app,
                log_config=None,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=10,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,  # a connection closed as it is used again is no answer
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                    if any(model.glob("**/model.json")):
                        while client.get("/readyz").status_code != 200:
                            time.sleep(0.02)
                    yield client
            finally:
                server.should_exit = True
                thread.join()

    return serve


@pytest.fixture(scope="session")
def client(serving: Serving, pushed: Path) -> Iterator[httpx.Client]:
    with serving(pushed) as one:
        yield one


@pytest.fixture(scope="session")
def salsa(tone: Callable[..., np.ndarray]) -> bytes:
    """Write a loud song of 30 s."""
    return wav(2 * tone(30))


@pytest.fixture(scope="session")
def bachata(tone: Callable[..., np.ndarray]) -> bytes:
    """Write a soft song of 30 s."""
    return wav(0.02 * tone(30))


@pytest.fixture
def push_folder(pushed: Path, tmp_path: Path) -> Path:
    """Copy the tiny model to a new push folder, as version 1."""
    return shutil.copytree(pushed, tmp_path / "pushed")


@pytest.fixture
def hostile_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(decoders, "read_unchanged", "hostile:read")


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


def send(client: httpx.Client, *contents: bytes) -> httpx.Response:
    return client.post("/v1/classify", files=[("files", (str(n), content)) for n, content in enumerate(contents)])
