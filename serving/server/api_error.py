"""Why a request, or one of its files, gets no answer."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse


class RefusalError(Exception):
    """No answer, with the reason.

    Parameters
    ----------
    status : HTTPStatus
        Of the response.
    reason : str
        The kind of trouble, for programs and counts.
    message : str
        What is wrong and what was expected; of a file as the continuation of its name. Tells nothing of the server.
    headers : mapping of str to str, optional
        Of the response.
    """

    def __init__(self, status: HTTPStatus, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers

    def values(self) -> dict[str, Any]:
        """Say it as `tumbao classify --json` does.

        Returns
        -------
        values : dict of str to object
            Ready for JSON.
        """
        return {"error": {"reason": self.reason, "message": self.message}}

    def response(self) -> JSONResponse:
        """Answer with it.

        Returns
        -------
        response : JSONResponse
            For the whole request.
        """
        return JSONResponse(self.values(), self.status, self.headers)
