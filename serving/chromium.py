"""A headless Chromium on this machine: find, start, wait for and kill it."""

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
"""Program names of Chromium; the first one on PATH is used."""

PATIENCE_SECONDS = 60.0
"""Longest time without a message from the page while one is expected."""

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",  # the crash reporter would outlive the browser
    "--disable-dev-shm-usage",  # small in containers
    "--remote-debugging-pipe",  # the browser exits when this pipe closes
)
_ENDS_WITH_US = 'exec "$@" 3<&0 4>/dev/null 0</dev/null'
"""Connect the debugging pipe (descriptor 3) to our stdin, so that Chromium exits even if this process is killed."""

_Word = TypeVar("_Word")


class BrowserUnavailableError(RuntimeError):
    """No browser can be used here.

    The message is the reason in a few words, followed by what to do or further details.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


class BrowserError(RuntimeError):
    """The browser started but failed; the message contains its output."""


def find_chromium(chromium: str | None = None) -> str:
    """Find a Chromium by name or path; by default the first of `NAMES`."""
    names = NAMES if chromium is None else (chromium,)
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BrowserUnavailableError(
            "no Chromium", f"expected a program {' or '.join(names)}. On Debian: apt-get install chromium"
        )
    return found


class Chromium:
    """A running Chromium.

    It writes only to `folder`, which must be empty.
    """

    def __init__(self, program: str, address: str, folder: Path) -> None:
        self._said = folder / "stderr.txt"
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # not available to root
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
        """Return the next message of the page from the queue.

        Raises `BrowserError` if the browser exits or sends nothing for `PATIENCE_SECONDS`.
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
        """Kill it and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
