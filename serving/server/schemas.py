"""Schemas of the responses, and errors of the API."""

from __future__ import annotations

from collections.abc import Mapping
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
    status: int = Field(description="200, 422 (not a usable song), 500, 503 (server error) or 504 (time limit).")
    model: str = Field(description="Identifier of the model.")
    synthetic_training_data: bool = Field(description="Whether the model was trained on synthetic songs only.")
    decision: str = Field(description="blessed; undecided if the model was tested on too few songs; or refused.")


class ClassifiedFile(File):
    """A classified file."""

    genre: str | None = Field(description="Genre of the song; null if the model is not confident.")
    nearest: str = Field(description="The most probable genre, even if not confident.")
    probability: float = Field(ge=0, le=1, description="Probability of `nearest`.")
    main_genre: str | None = Field(None, description="The most probable main genre, for models with sub-genres.")
    main_probability: float | None = Field(None, ge=0, le=1, description="Sum over the sub-genres of `main_genre`.")
    majority: str = Field(description="The genre with the most votes of fragments.")
    duration_seconds: float = Field(description="Length of the decoded audio.")
    declared_seconds: float | None = Field(description="Length declared in the file's header; it may be wrong.")
    truncated: bool = Field(description="Whether the file is truncated.")
    padded: bool = Field(description="Whether the song is shorter than a fragment.")
    silent_fragments: int = Field(description="Number of silent fragments, which are ignored.")
    audio_track: int = Field(ge=1, description="Number of the decoded audio track, the default one of players.")
    audio_tracks: int = Field(ge=1, description="Number of audio tracks in the file.")
    main_probabilities: dict[str, float] | None = Field(
        None, description="Probability by main genre, for models with sub-genres."
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
    url: str = Field(description="Relative to this document; it contains the digest, so it can be cached.")
    bytes: int
    sha256: str


class ModelCard(_Schema):
    """The description of the model."""

    version: str
    model: str = Field(description="Identifier of the model.")
    card: dict[str, object] = Field(description="Content of model.json: training data, split, metrics, calibration.")
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
