"""Parts of the OpenAPI document besides the schemas: request bodies, parameters and errors."""

from __future__ import annotations

from typing import Any

from tumbao.serving.server.schemas import Problem

Responses = dict[int | str, dict[str, Any]]

FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        }
    },
}
"""Body of a classification request."""

FILE_PARAMETERS = [
    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
    {
        "name": "sha256",
        "in": "query",
        "required": False,
        "schema": {"type": "string"},
        "description": "Of the content: with it, the file may be kept forever.",
    },
]
"""Parameters of a request for a model file."""

_PROBLEMS = {
    400: "No form of files.",
    404: "The model that answers has no such file, or no longer.",
    408: "The files did not come in time.",
    413: "More bytes or files than are accepted.",
    415: "No multipart/form-data.",
    422: "The only file is no song that can be used; the reasons are those of `tumbao classify`.",
    429: "Busy; Retry-After says when to try again.",
    500: "Something is wrong with the server; its log says what.",
    503: "No model is loaded, or no process can be started to decode songs; Retry-After says when to try again.",
    504: "The only file was not done in time.",
    507: "No room for the files.",
}


def problems(*statuses: int) -> Responses:
    """Return the descriptions of error responses, by status."""
    return {status: {"model": Problem, "description": _PROBLEMS[status]} for status in statuses}
