"""Exit code, message and log of a command that fails."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tumbao.components.ingest.download_cache import cache_folder
from tumbao.schema.errors import UserError, describe, is_disk_full, is_unavailable

FAILED, WRONG_USE = 1, 2


def explain(error: Exception, command: str, arguments: Sequence[str] = ()) -> tuple[int, str]:
    """Return the exit code and the message for an error that ends a command."""
    if isinstance(error, UserError):
        return WRONG_USE, str(error)
    sentence = describe(error, arguments)
    if is_unavailable(error) or is_disk_full(error):
        return FAILED, sentence
    if isinstance(error, OSError) and error.filename in arguments:
        return WRONG_USE, sentence
    first = " ".join(sentence.split())[:500]
    log = getattr(error, "log", None) or _write_traceback(error, command)
    if log is None:
        traceback.print_exception(error, file=sys.stderr)
        return FAILED, first
    return FAILED, f"{first}. This is unexpected; the traceback is in {log}"


def _write_traceback(error: Exception, command: str) -> Path | None:
    """Write a traceback to the cache, or else to the folder for temporary files; None if neither can be written."""
    now = datetime.datetime.now().astimezone()
    text = f"{now.isoformat(timespec='seconds')} tumbao {command}\n{''.join(traceback.format_exception(error))}"
    for folder in (lambda: cache_folder() / "logs", lambda: Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder().mkdir(parents=True, exist_ok=True)
            prefix = f"tumbao-{command}-{now:%Y%m%d-%H%M%S}-"
            descriptor, name = tempfile.mkstemp(".log", prefix, folder())
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return Path(name)
    return None
