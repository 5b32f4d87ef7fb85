"""Bodies that nobody reads: who is answered before the end of what they say is cut off, however much is left."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 2.0
"""How long it is listened to after the answer: a client that is cut off while it talks may not hear what it is told."""


class CutOff:
    """An application whose clients are cut off.

    Parameters
    ----------
    app : ASGI application
        May answer without reading all of a request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI says.

        Parameters
        ----------
        scope : Scope
            The request.
        receive : callable
            Gives its body.
        send : callable
            Takes the response.
        """
        unread = scope["type"] == "http" and _has_body(Headers(scope=scope))

        async def noted() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def ended() -> None:
            while unread:
                await noted()

        async def answered(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ended(), LINGER_SECONDS)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, noted, answered)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
