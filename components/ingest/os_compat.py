"""System calls of POSIX, and what comes nearest to them on Windows, which was type-checked for and not run."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 2**31 - 2  # Windows lets nobody else read a locked byte: it lies behind the content

    def pread(descriptor: int, count: int, position: int) -> bytes:
        """Read bytes from a position; the position of the descriptor changes."""
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, count)

    def lock(descriptor: int) -> None:
        """Lock a file until it is closed; raise OSError if another process has locked it."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

    def user_id() -> int:
        """Return the owner of all files, as in `os.stat_result`."""
        return 0

else:
    import fcntl

    pread = os.pread
    user_id = os.getuid

    def lock(descriptor: int) -> None:
        """Lock a file until it is closed; raise OSError if another process has locked it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
