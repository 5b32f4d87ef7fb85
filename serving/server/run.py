"""`tumbao serve`: run the server until it is stopped."""

from __future__ import annotations

import logging
import math
import signal
import socket
from collections.abc import Sequence

import uvicorn

from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError
from tumbao.serving.server.api import make_app
from tumbao.serving.server.limits import Limits

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
