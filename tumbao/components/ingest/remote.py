"""Files in buckets, through TensorFlow's file systems: a copy is made here for as long as it is read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tumbao.components.ingest.audio_error import AudioError, Reason

SCHEMES = ("gs://", "ram://")
"""How an address begins: a bucket's, or that of TensorFlow's file system in memory, which tests use."""


def is_remote(path: str) -> bool:
    """Tell an address from a path.

    Parameters
    ----------
    path : str
        As a list of songs gives it.

    Returns
    -------
    remote : bool
        True if it begins with one of `SCHEMES`.

    Examples
    --------
    >>> [is_remote(path) for path in ("gs://music/a.mp3", "music/a.mp3", "gs:/a.mp3")]
    [True, False, False]
    """
    return path.startswith(SCHEMES)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Give a file of this machine to read from.

    Parameters
    ----------
    path : str
        A path, which is given back as it is, or an address.

    Yields
    ------
    local : Path
        The file, or a copy that is deleted afterwards.

    Raises
    ------
    AudioError
        If an address cannot be read.
    """
    if not is_remote(path):
        yield Path(path)
        return
    import tensorflow as tf  # only those who keep songs in buckets wait for it

    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        local = Path(folder) / "song"
        try:
            tf.io.gfile.copy(path, str(local))
        except tf.errors.OpError as error:
            raise AudioError(path, Reason.UNREADABLE, f"cannot be read: {error.message}") from error
        yield local
