"""Standard output and error of a command: UTF-8 whatever the locale, and no traceback if they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

CLOSED = 141
"""Exit code if the reader of a pipe has closed it, which is that of programs that SIGPIPE ends."""

NOT_WRITTEN = 1
"""Exit code if standard output cannot be written, for example on a full disk."""


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by streams of the process's own standard output and error.

    Yields
    ------
    None
        If standard output cannot be written, `SystemExit` is raised: with `CLOSED` and no message if its reader has
        closed it, otherwise with `NOT_WRITTEN` after one sentence. Text that standard error cannot take is lost.
    """
    _require_utf8()
    _open_closed()
    former = sys.stdout, sys.stderr
    for stream in former:
        _flush(stream)
    output = _Output(1, "w", closefd=False)
    ours = sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(output), encoding="utf-8", errors="backslashreplace", line_buffering=output.isatty()
        ),
        error_stream(2, closes=False),
    )
    try:
        try:
            yield
        finally:
            ours[0].flush()
    finally:
        if output.failure:  # last, because commands redirect standard error until here
            ours[1].write(f"error: standard output cannot be written: {output.failure}\n")
        _flush(ours[1])
        sys.stdout, sys.stderr = former


def error_stream(descriptor: int, *, closes: bool = True) -> TextIO:
    """Open a descriptor for messages; text that cannot be written is lost.

    Parameters
    ----------
    descriptor : int
        Standard error, or a copy of it.
    closes : bool
        Whether the descriptor is closed with the stream.

    Returns
    -------
    stream : TextIO
        In UTF-8; the bytes of file names that are no UTF-8 are written with backslashes.
    """
    raw = io.BufferedWriter(_Errors(descriptor, "w", closefd=closes))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _Output(io.FileIO):
    failure: str | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            _discard(self)  # otherwise the interpreter writes once more as it exits, and reports the error
            if error.errno == errno.EPIPE:
                raise SystemExit(CLOSED) from error
            self.failure = error.strerror
            raise SystemExit(NOT_WRITTEN) from error


class _Errors(io.FileIO):
    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            _discard(self)
            return len(content)


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError, SystemExit):  # closed, or there is none
        stream.flush()


def _discard(stream: io.FileIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _open_closed() -> None:
    """Open the null device in place of closed streams, so that no file gets their numbers; writing still fails."""
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free


def _require_utf8() -> None:
    """Restart in Python's UTF-8 mode if the locale has another encoding of file names."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
