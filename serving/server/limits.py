"""Limits of the server, per request and in total."""

from __future__ import annotations

import dataclasses

from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.schema.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the server, per request and in total; all must be above 0, except `waiting`, which may be 0.

    `megabytes` is the total size of a request's files, in 1,000,000 bytes; `sound_minutes` the audio length of one
    file; `files` the number of files of a request; `seconds` the time from its first byte to its answer. `parallel`
    requests are processed at the same time; `waiting` further ones are received or queued.
    """

    megabytes: float = 200.0
    sound_minutes: float = 30.0
    files: int = 10
    seconds: float = 120.0
    parallel: int = dataclasses.field(default_factory=cpu_count)
    waiting: int = 64

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 if field.name == "waiting" else value > 0):
                raise UserError(f"Expected limits above 0. Received: {field.name}={value}")

    @property
    def bytes(self) -> int:
        """Total size of the files of a request, in bytes."""
        return round(self.megabytes * 1_000_000)

    @property
    def sound_seconds(self) -> float:
        """Audio length of a file, in seconds."""
        return self.sound_minutes * 60

    @property
    def requests(self) -> int:
        """Number of requests accepted at the same time."""
        return self.parallel + self.waiting
