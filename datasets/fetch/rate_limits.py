"""Limits on the requests to other servers."""

from __future__ import annotations

import dataclasses

from tumbao.schema.errors import UserError

LONGEST_WAIT_SECONDS = 60.0
REQUEST_SLEEP_SECONDS = 0.75


@dataclasses.dataclass(frozen=True)
class Manners:
    """Pauses, download rate and retries.

    `sleep_seconds` is the pause between songs; waits before a retry begin with it and double. `kilobytes_per_second`
    limits a download; None sets no limit. `retries` apply after a broken connection or a server error. Raises
    ValueError if a value is out of range.
    """

    sleep_seconds: float = 5.0
    kilobytes_per_second: float | None = None
    retries: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.sleep_seconds < float("inf"):
            raise UserError(f"Expected sleep_seconds of 0 or more. Received: {self.sleep_seconds}.")
        if self.kilobytes_per_second is not None and not self.kilobytes_per_second > 0:
            raise UserError(f"Expected kilobytes_per_second above 0. Received: {self.kilobytes_per_second}.")
        if self.retries < 0:
            raise UserError(f"Expected retries of 0 or more. Received: {self.retries}.")

    @property
    def request_sleep_seconds(self) -> float:
        """Pause between the requests for one page."""
        return min(self.sleep_seconds, REQUEST_SLEEP_SECONDS)

    def wait_seconds(self, n: int) -> float:
        """Return the wait before the next retry, after `n` retries; yt-dlp passes `n` by this name.

        It is at most `LONGEST_WAIT_SECONDS`, or `sleep_seconds` if that is longer.
        """
        return max(self.sleep_seconds, min(self.sleep_seconds * 2**n, LONGEST_WAIT_SECONDS))
