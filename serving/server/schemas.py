"""Schemas of the responses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

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
