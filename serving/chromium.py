"""A headless Chromium on this machine: found, started, listened to and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TypeVar

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Programs that are taken for Chromium, the first that is on PATH."""

PATIENCE_SECONDS = 60.0
"""How long the browser may say nothing while something is expected of it."""

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",  # its crash reporter would outlive it
    "--disable-dev-shm-usage",  # containers have little of it
    "--remote-debugging-pipe",  # it ends when this pipe does
)
_ENDS_WITH_US = 'exec "$@" 3<&0 4>/dev/null 0</dev/null'
"""Lets it read that pipe, where it looks for it, from us: even if this process is killed, Chromium ends."""

_Word = TypeVar("_Word")


class BrowserUnavailableError(RuntimeError):
    """No browser can be asked here.

    Parameters
    ----------
    reason : str
        Why, in a few words.
    advice : str
        What to do, or what is known besides.

    Attributes
    ----------
    reason : str
        Why, in a few words.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


class BrowserError(RuntimeError):
    """The browser was there, and did not answer; the message holds what it said."""


def find_chromium(chromium: str | None = None) -> str:
    """Find a Chromium.

    Parameters
    ----------
    chromium : str or None
        Its name or path; None for the first of `NAMES`.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    BrowserUnavailableError
        If there is none.
    """
    names = NAMES if chromium is None else (chromium,)
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BrowserUnavailableError(
            "no Chromium", f"expected a program {' or '.join(names)}. On Debian: apt-get install chromium"
        )
    return found


class Chromium:
    """A Chromium that runs.

    Parameters
    ----------
    program : str
        Its path.
    address : str
        The page to open.
    folder : Path
        An empty folder for all that it writes.
    """

    def __init__(self, program: str, address: str, folder: Path) -> None:
        self._said = folder / "stderr.txt"
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root cannot have one
        command = [program, *_FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", address]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ENDS_WITH_US, "sh", *command],
                env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def hear(self, words: queue.SimpleQueue[_Word]) -> _Word:
        """Wait for the page's next word.

        Parameters
        ----------
        words : queue.SimpleQueue
            Where its words arrive.

        Returns
        -------
        word : object
            The word.

        Raises
        ------
        BrowserError
            If the browser dies or says nothing for `PATIENCE_SECONDS`.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(queue.Empty):
                return words.get(timeout=0.1)
            code = self._process.poll()
            if code is not None or time.monotonic() > end:
                how = f"said nothing for {PATIENCE_SECONDS:.0f} s" if code is None else f"ended with code {code}"
                last = self._said.read_text(errors="replace").splitlines()[-5:]
                raise BrowserError("\n".join([f"Chromium {how}. Its last words:", *last]))

    def end(self) -> None:
        """End it and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
