"""Errors of the API."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse


class RefusalError(Exception):
    """A request, or one of its files, is refused.

    `reason` is the kind of error, for programs and metrics. `message` describes what was wrong and what was expected;
    for a file it continues the file's name. It must not reveal anything about the server.
    """

    def __init__(self, status: HTTPStatus, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers

    def values(self) -> dict[str, Any]:
        """Return the same JSON values as `tumbao classify --json`."""
        return {"error": {"reason": self.reason, "message": self.message}}

    def response(self) -> JSONResponse:
        """Return the response for the whole request."""
        return JSONResponse(self.values(), self.status, self.headers)
