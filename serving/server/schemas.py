"""Schemas of the responses, errors of the API, and its documentation as a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse


class ApiError(Exception):
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


Share = Field(ge=0, le=1)


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(_Schema):
    """The reason for an error."""

    reason: str = Field(description="Identifier of the kind of error.")
    message: str = Field(description="Description of the error and of what was expected.")


class ErrorResponse(_Schema):
    """The error of a request, or of its only file."""

    error: ErrorDetail


class Section(_Schema):
    """A part of a song with one genre; the next section has another one."""

    start_seconds: float
    end_seconds: float
    genre: str
    probability: float = Share
    fragments: int


class Fragment(_Schema):
    """A fragment of a song, 30 seconds long."""

    start_seconds: float
    end_seconds: float
    genre: str = Field(description="The most probable genre.")
    familiar: bool = Field(description="Whether the fragment is in distribution: like those of the training songs.")
    probabilities: dict[str, float]


class File(_Schema):
    """The result for a file: the values of `tumbao classify --json`, or an error."""

    file: str = Field(description="Name of the file in the request.")
    file_bytes: int
    status: int = Field(
        description="200, 422 (not a usable song), 500 or 503 (server error), 504 (time limit exceeded)."
    )
    model: str = Field(description="Identifier of the model.")
    synthetic_training_data: bool = Field(description="Whether the model was trained on synthetic songs only.")


class ClassifiedFile(File):
    """A classified file."""

    genre: str | None = Field(description="Genre of the song; null if the model is not confident.")
    nearest: str = Field(description="The most probable genre, even if not confident.")
    probability: float = Field(ge=0, le=1, description="Probability of `nearest`.")
    main_genre: str | None = Field(
        default=None, description="The most probable main genre, for models with sub-genres."
    )
    main_probability: float | None = Field(
        default=None, ge=0, le=1, description="Sum over the sub-genres of `main_genre`."
    )
    majority: str = Field(description="The genre with the most votes of fragments.")
    duration_seconds: float = Field(description="Length of the decoded audio.")
    declared_seconds: float | None = Field(description="Length declared in the file's header; it may be wrong.")
    truncated: bool = Field(description="Whether the file is truncated.")
    padded: bool = Field(description="Whether the song is shorter than a fragment.")
    silent_fragments: int = Field(description="Number of silent fragments, which are ignored.")
    audio_track: int = Field(ge=1, description="Number of the decoded audio track, the default one of players.")
    audio_tracks: int = Field(ge=1, description="Number of audio tracks in the file.")
    main_probabilities: dict[str, float] | None = Field(
        default=None, description="Probability of each main genre, for models with sub-genres."
    )
    probabilities: dict[str, float]
    votes: dict[str, int]
    sections: list[Section]
    fragments: list[Fragment]


class FailedFile(File):
    """A file that could not be classified."""

    error: ErrorDetail


class ClassifyResponse(_Schema):
    """The results of all files, in the order of the request."""

    files: list[ClassifiedFile | FailedFile]


class Labels(_Schema):
    """The genres, in the order of the model's outputs."""

    labels: list[str]


class ModelFile(_Schema):
    """A file of the model."""

    name: str
    url: str = Field(
        description="Relative to this document; it contains the digest, so the file can be cached indefinitely."
    )
    bytes: int
    sha256: str


class ModelCard(_Schema):
    """The description of the model."""

    version: str
    model: str = Field(description="Identifier of the model.")
    card: dict[str, object] = Field(
        description="Content of model.json: training data, split, metrics, calibration and more."
    )
    files: list[ModelFile]


class UploadLimits(_Schema):
    """Limits of a classification request."""

    megabytes: float
    sound_minutes: float
    files: int
    seconds: float


class Status(_Schema):
    """Status of the server."""

    status: str


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
        "description": "SHA-256 of the content: with it, the response can be cached indefinitely.",
    },
]
"""Parameters of a request for a model file."""

_ERRORS = {
    400: "The body is not a valid form with files.",
    404: "The current model has no such file.",
    408: "The upload was not completed in time.",
    413: "The request exceeds the limit of bytes or files.",
    415: "The body is not multipart/form-data.",
    422: "The only file is not a usable song; the reasons are those of `tumbao classify`.",
    429: "The server is busy; retry after the time in Retry-After.",
    500: "The server failed; its log contains the error.",
    503: "No model is loaded, or no decoder process can be started; retry after the time in Retry-After.",
    504: "The only file was not classified in time.",
    507: "The disk is full.",
}


def error_responses(*statuses: int) -> Responses:
    """Return the descriptions of error responses, by status."""
    return {status: {"model": ErrorResponse, "description": _ERRORS[status]} for status in statuses}


_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid; padding-top: 1rem; font-size: 1.2rem }
code { font-family: ui-monospace, monospace; font-size: 0.9rem }
table { margin: 0.5rem 0 }
td, th { text-align: left; vertical-align: top; padding: 0.1rem 1rem 0.1rem 0 }
"""


def docs_page(document: dict[str, Any]) -> str:
    """Render an OpenAPI document: operations with parameters and responses, followed by the schemas.

    FastAPI's own page loads scripts from another host.
    """
    info = document["info"]
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>',
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>',
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}",
            ' Machine-readable: <a href="openapi.json">openapi.json</a>.</p>',
            *_operations(document),
            *_schemas(document),
            "</html>",
        ]
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{_text(operation.get('description', ''))}</p>"
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Request body, <code>{escape(kind)}</code>:</p>"
                yield _table((name, _type(schema), "") for name, schema in body["schema"]["properties"].items())
            yield _table(
                (f"{one['name']} ({one['in']})", _type(one["schema"]), one.get("description", ""))
                for one in operation.get("parameters", [])
            )
            yield "<p>Responses:</p>"
            yield _table(
                (status, _contents(response.get("content", {})), response["description"])
                for status, response in operation["responses"].items()
            )


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{_text(schema.get("description", ""))}</p>'
        fields = schema.get("properties", {}).items()
        yield _table((field, _type(values), values.get("description", "")) for field, values in fields)


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = (f"<tr><th>{escape(name)}<td>{kind}<td>{_text(text)}" for name, kind, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _contents(contents: dict[str, Any]) -> str:
    return ", ".join(_type(content.get("schema", {})) or escape(kind) for kind, content in contents.items())


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value, with links to schemas; empty if it can be anything."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(schema.get("format", schema.get("type", "")))


def _text(text: str) -> str:
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))
