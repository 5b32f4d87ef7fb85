"""Standard output and error: UTF-8, without a traceback if they cannot be written, and redirected to a log in runs."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from tumbao.schema.errors import UserError
from tumbao.serving.formatting import TerminalConsole

CLOSED = 141
"""Exit code if the reader of a pipe has closed it, the same as for programs that SIGPIPE ends."""

NOT_WRITTEN = 1
"""Exit code if standard output cannot be written, for example on a full disk."""


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Replace stdout and stderr by UTF-8 streams; exit with `CLOSED` or `NOT_WRITTEN` if stdout cannot be written."""
    _require_utf8()
    _open_closed()
    former = sys.stdout, sys.stderr
    for stream in former:
        _flush(stream)
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.SetConsoleOutputCP(65_001)  # a console reads bytes by its code page: UTF-8
    output = _Stream(1, "w", closefd=False)
    output.required = True
    ours = sys.stdout, sys.stderr = _text(output, line_buffering=output.isatty()), error_stream(2, closes=False)
    try:
        try:
            yield
        finally:
            ours[0].flush()
    finally:
        if output.failure:  # last: commands redirect standard error until here
            ours[1].write(f"error: standard output cannot be written: {output.failure}\n")
        _flush(ours[1])
        sys.stdout, sys.stderr = former


def error_stream(descriptor: int, *, closes: bool = True) -> TextIO:
    """Open a descriptor as a UTF-8 stream for messages; text that cannot be written is discarded."""
    return _text(_Stream(descriptor, "w", closefd=closes), line_buffering=True)


def _text(raw: _Stream, line_buffering: bool) -> TextIO:
    """Open a text stream without a `BufferedWriter`, which writes its bytes twice if Ctrl-C interrupts `raw.write`."""
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="", line_buffering=line_buffering)


@contextlib.contextmanager
def redirect_output(log: Path, console: Console, streams: Sequence[int] = (1, 2)) -> Iterator[Console]:
    """Redirect the process's standard streams to a log; yield a console that still writes to the terminal."""
    former = sys.stdout, sys.stderr
    for python in former:
        python.flush()
    former_streams = {stream: os.dup(stream) for stream in streams}
    with contextlib.ExitStack() as stack:
        file, independent = stack.enter_context(log.open("ab", buffering=0)), stack.enter_context(_independent(console))
        for stream in streams:
            os.dup2(file.fileno(), stream)
        if 1 in streams:  # output that does not fit on a full disk is discarded without an error
            stack.enter_context(contextlib.redirect_stdout(error_stream(1, closes=False)))
        try:
            yield independent
        except Exception as error:
            if not isinstance(error, UserError):
                file.write("".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
                error.log = log  # type: ignore[attr-defined] # for `failures.explain`
            raise
        finally:
            for python in (sys.stdout, *former):
                python.flush()
            for stream, copy in former_streams.items():
                os.dup2(copy, stream)
                os.close(copy)


@contextlib.contextmanager
def _independent(console: Console) -> Iterator[Console]:
    """Yield a console that writes to the same file, however the process's streams are redirected."""
    try:
        descriptor = os.dup(console.file.fileno())
    except io.UnsupportedOperation:  # no file descriptor, as StringIO
        yield console
        return
    shape: dict[str, Any] = {"force_terminal": console.is_terminal, "width": console.width}  # unknown afterwards
    shape["quiet"] = console.quiet
    with error_stream(descriptor) as terminal:
        yield TerminalConsole(file=terminal, **shape)


class _Stream(io.FileIO):
    """A stream that writes all bytes; what cannot be written is discarded, and ends the program if `required`."""

    required = False
    failure: str | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[super().write(rest) or len(rest) :]  # None if a stream that does not block is full
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # or the interpreter writes again at exit, and reports the error
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.required and error.errno == errno.EPIPE:
                raise SystemExit(CLOSED) from error
            if self.required:
                self.failure = error.strerror
                raise SystemExit(NOT_WRITTEN) from error
        return len(content)


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError, SystemExit):  # closed, or None
        stream.flush()


def _open_closed() -> None:
    """Open the null device for closed standard streams, so that no file gets their numbers; writing still fails."""
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number


def _require_utf8() -> None:
    """Restart in Python's UTF-8 mode if file names have another encoding in the current locale."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
