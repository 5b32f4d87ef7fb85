"""What the server does at most for a request, and for all of them together."""

from __future__ import annotations

import dataclasses

from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server does at most.

    Parameters
    ----------
    megabytes : float
        Files of a request, together, in 1,000,000 bytes.
    sound_minutes : float
        Sound of a file.
    files : int
        Files of a request.
    seconds : float
        For a request, from its first byte to its answer.
    parallel : int
        Requests that are worked on at the same time.
    waiting : int
        Requests beyond these that are being received or wait for their turn.

    Raises
    ------
    ValueError
        If one of them is not above 0; `waiting` may be 0.
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
        """Files of a request, together, in bytes."""
        return round(self.megabytes * 1_000_000)

    @property
    def sound_seconds(self) -> float:
        """Sound of a file, in seconds."""
        return self.sound_minutes * 60

    @property
    def requests(self) -> int:
        """Requests that are accepted at the same time."""
        return self.parallel + self.waiting
