"""How much is asked of other people's servers."""

from __future__ import annotations

import dataclasses

from tumbao.schema.errors import UserError

LONGEST_WAIT_SECONDS = 60.0
REQUEST_SLEEP_SECONDS = 0.75


@dataclasses.dataclass(frozen=True)
class Manners:
    """How much to ask of other people's servers.

    Parameters
    ----------
    sleep_seconds : float
        Pause between songs. Waits before another try begin with it and double.
    kilobytes_per_second : float or None
        Highest rate of a download; None sets no limit.
    retries : int
        How often to try again after a broken connection or a server's trouble.

    Raises
    ------
    ValueError
        If a value is out of range.
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
        """How long to wait before another try.

        Parameters
        ----------
        n : int
            Tries that were repeated already; yt-dlp passes it by this name.

        Returns
        -------
        seconds : float
            At most `LONGEST_WAIT_SECONDS`, or `sleep_seconds` where that is more.
        """
        return max(self.sleep_seconds, min(self.sleep_seconds * 2**n, LONGEST_WAIT_SECONDS))
