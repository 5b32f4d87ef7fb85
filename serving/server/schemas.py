"""Schemas of the responses, and errors of the API."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
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


Share = Field(ge=0, le=1)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reason(_Shape):
    """Why there is no answer."""

    reason: str = Field(description="The kind of trouble, for programs.")
    message: str = Field(description="What is wrong and what was expected.")


class Problem(_Shape):
    """A request, or its only file, that gets no answer."""

    error: Reason


class Section(_Shape):
    """A part of a song that keeps one genre; where the next one begins, the genre changes."""

    start_seconds: float
    end_seconds: float
    genre: str
    probability: float = Share
    fragments: int


class Fragment(_Shape):
    """30 seconds of a song."""

    start_seconds: float
    end_seconds: float
    genre: str = Field(description="The most probable one.")
    familiar: bool = Field(description="Whether it sounds like the songs that the model was trained on.")
    probabilities: dict[str, float]


class File(_Shape):
    """What is said of a file: what `tumbao classify --json` says, or an error."""

    file: str = Field(description="Its name, as it was sent.")
    file_bytes: int
    status: int = Field(
        description="200, 422 (no song that can be used), 500 or 503 (server failure), 504 (not in time)."
    )
    model: str = Field(description="Tells the model from others.")
    synthetic_training_data: bool = Field(description="The model knows nothing of real recordings.")


class Answered(File):
    """A file with an answer."""

    genre: str | None = Field(description="The song's genre; null where the model is not confident.")
    nearest: str = Field(description="The genre that comes closest.")
    probability: float = Field(ge=0, le=1, description="Of the nearest genre.")
    main_genre: str | None = Field(default=None, description="With sub-genres: the most probable genre.")
    main_probability: float | None = Field(default=None, ge=0, le=1, description="The sum over its sub-genres.")
    majority: str = Field(description="The genre that most fragments vote for.")
    duration_seconds: float = Field(description="What could be decoded.")
    declared_seconds: float | None = Field(description="What the file's header says, right or wrong.")
    truncated: bool = Field(description="The file breaks off.")
    padded: bool = Field(description="The song is shorter than a fragment.")
    silent_fragments: int = Field(description="Fragments without a part in the answer.")
    audio_track: int = Field(ge=1, description="The audio track that was decoded: the one that players play.")
    audio_tracks: int = Field(ge=1, description="How many audio tracks the file has.")
    main_probabilities: dict[str, float] | None = Field(default=None, description="Of genres; with sub-genres only.")
    probabilities: dict[str, float]
    votes: dict[str, int]
    sections: list[Section]
    fragments: list[Fragment]


class Refused(File):
    """A file without an answer."""

    error: Reason


class Answers(_Shape):
    """An entry for each file, in their order."""

    files: list[Answered | Refused]


class Labels(_Shape):
    """The genres, in the order of the model's outputs."""

    labels: list[str]


class ModelFile(_Shape):
    """A file of the model."""

    name: str
    url: str = Field(description="Relative to this document; it names the content, which may be kept forever.")
    bytes: int
    sha256: str


class ModelCard(_Shape):
    """What the model says of itself."""

    version: str
    model: str = Field(description="Tells the model from others.")
    card: dict[str, object] = Field(description="Its model.json: training data, split, figures, calibration and more.")
    files: list[ModelFile]


class AtMost(_Shape):
    """What the server accepts at most."""

    megabytes: float
    sound_minutes: float
    files: int
    seconds: float


class State(_Shape):
    """How the server is."""

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
