"""Middleware that closes the connection if a request is answered before its body was read to the end."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 2.0
"""How long the body is read and dropped after the answer.

A client that is disconnected while it sends may not receive the answer.
"""


class CutOff:
    """ASGI middleware for an application that may answer without reading the whole request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
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
