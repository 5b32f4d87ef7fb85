"""`tumbao serve`: the server from its start to its end."""

from __future__ import annotations

import logging
import math
import signal
import socket
from collections.abc import Sequence

import uvicorn

from tumbao.components.ingest.paths import Place
from tumbao.schema.errors import UserError
from tumbao.serving.server.api import make_app
from tumbao.serving.server.limits import Limits

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_log = logging.getLogger(__name__)


def serve(model: Place, host: str, port: int, limits: Limits, origins: Sequence[str], root_path: str) -> int:
    """Serve until a signal says otherwise; then accept no more, and answer what was accepted.

    Parameters
    ----------
    model : Place
        Where models are pushed.
    host : str
        Address to listen at.
    port : int
        Port to listen at; 0 for a free one.
    limits : Limits
        What is done at most.
    origins : sequence of str
        Origins whose pages may ask this server.
    root_path : str
        Where a proxy has the server.

    Returns
    -------
    status : int
        Exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Raises
    ------
    UserError
        If the address cannot be listened at.
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
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn gives it back when all is done
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0
