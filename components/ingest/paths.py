"""Where things lie: a path of this machine, or an address in a bucket, which is used like one.

Buckets are read through TensorFlow's file systems. `pathlib` would make gs:/ of gs://: what a person names goes through
`place` first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tumbao.schema.errors import UserError

SCHEMES = ("gs://", "ram://")
"""How an address begins: a bucket's, or that of TensorFlow's file system in memory, which tests use."""


def is_remote(path: str) -> bool:
    """Tell an address from a path.

    Parameters
    ----------
    path : str
        As a person or a list of songs gives it.

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


class Status(NamedTuple):
    """What is known of a file in a bucket, named as in `os.stat_result`.

    Parameters
    ----------
    st_size : int
        Its bytes.
    st_mtime_ns : int
        When it was written, in nanoseconds since 1970.
    """

    st_size: int
    st_mtime_ns: int


@dataclasses.dataclass(frozen=True, order=True)
class Address:
    """A file or a folder in a bucket, with as much of `pathlib.Path` as is needed; what cannot be done is an OSError.

    Parameters
    ----------
    text : str
        Begins with one of `SCHEMES` and does not end with a slash.
    """

    text: str

    def __str__(self) -> str:
        """Give the address as it is written."""
        return self.text

    def __truediv__(self, name: str) -> Address:
        """Name something below it."""
        return Address(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.text.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The name's ending, with its point."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Address:
        """The folder that it lies in; a bucket's is itself."""
        above = self.text.rpartition("/")[0]
        return self if above.endswith("/") else Address(above)

    def absolute(self) -> Address:
        """Give itself: addresses are whole."""
        return self

    def with_name(self, name: str) -> Address:
        """Name something beside it.

        Parameters
        ----------
        name : str
            The last part of the new address.
        """
        return self.parent / name

    def exists(self) -> bool:
        """Tell whether something is there."""
        with _explained(self) as files:
            return bool(files.exists(self.text))

    def is_dir(self) -> bool:
        """Tell whether it is a folder, or something lies below it."""
        with _explained(self) as files:
            return bool(files.isdir(self.text))

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return self.exists() and not self.is_dir()

    def read_bytes(self) -> bytes:
        """Read a file."""
        with _explained(self) as files, files.GFile(self.text, "rb") as file:
            return bytes(file.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Read a file of text, its line ends as they are.

        Parameters
        ----------
        encoding : str
            How it is written.
        """
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and the folders above it.

        Parameters
        ----------
        content : bytes
            All that it is to hold.
        """
        with _explained(self) as files:
            if not self.text.startswith("gs://"):  # there are no folders, and TensorFlow looks for ever for a bucket
                files.makedirs(self.parent.text)
            with files.GFile(self.text, "wb") as file:
                file.write(content)

    def require_bucket(self) -> None:
        """Look for the bucket, without which TensorFlow would try for ever to make a folder in it.

        Raises
        ------
        ValueError
            If it is not there, or may not be looked at.
        """
        bucket = re.match(r"gs://[^/]+", self.text)
        with _explained(self) as files:
            if bucket and not files.isdir(bucket[0]):
                raise UserError(
                    f"Expected a bucket that exists, and rights to list it. Received: {self}. Correct its name, or "
                    f"make it: gcloud storage buckets create {bucket[0]}"
                )

    def iterdir(self) -> list[Address]:
        """List what lies directly in a folder."""
        with _explained(self) as files:
            return [self / name.rstrip("/") for name in files.listdir(self.text)]

    def glob(self, pattern: str) -> list[Address]:
        """List what fits a pattern.

        Parameters
        ----------
        pattern : str
            Below the folder; a star stands for anything but a slash.
        """
        with _explained(self) as files:
            return [Address(path) for path in files.glob(f"{self._literally()}/{pattern}")]

    def files_below(self) -> list[Address]:
        """List all files below a folder, sorted.

        Asked level by level: one answer of a bucket names a thousand files, whatever folders they lie in, while to ask
        of each whether it is a folder takes a question each.
        """
        files: list[str] = []
        with _explained(self) as system:
            pattern = f"{self._literally()}/*"
            level = system.glob(pattern)
            while level:
                pattern += "/*"
                below = system.glob(pattern)
                folders = {path.rpartition("/")[0] for path in below}
                files += [path for path in level if path not in folders and not path.endswith("/")]
                level = below
        return sorted(map(Address, files))

    def stat(self) -> Status:
        """Ask for a file's size and time."""
        with _explained(self) as files:
            status = files.stat(self.text)
            return Status(status.length, status.mtime_nsec)

    def copy_to(self, target: Path) -> None:
        """Copy a file, or a folder with all files below it, to this machine.

        Parameters
        ----------
        target : Path
            The file or folder to write.
        """
        with _explained(self) as files:
            if not files.isdir(self.text):
                files.copy(self.text, str(target))
                return
        for file in self.files_below():
            local = target / below(file, self)
            local.parent.mkdir(parents=True, exist_ok=True)
            file.copy_to(local)

    def _literally(self) -> str:
        return re.sub(r"([*?\[\\])", r"\\\1", self.text)


Place = Path | Address
"""Where something lies."""


def place(text: str | Place) -> Place:
    """Understand what a person names.

    Parameters
    ----------
    text : str or Place
        A path or an address.

    Returns
    -------
    place : Place
        An `Address` if it begins with one of `SCHEMES`.

    Examples
    --------
    >>> place("gs://music/salsa/").name
    'salsa'
    """
    return Address(str(text).rstrip("/")) if is_remote(str(text)) else Path(str(text))


def below(path: Place, folder: Place) -> PurePosixPath:
    """Tell where in a folder something lies.

    Parameters
    ----------
    path : Place
        Below the folder, and written as the folder is.
    folder : Place
        The folder.

    Returns
    -------
    rest : PurePosixPath
        The rest of the path; `.` for the folder itself.
    """
    return PurePosixPath(str(path)[len(str(folder)) :].lstrip("/"))


@contextlib.contextmanager
def local_copy(file: Place) -> Iterator[Path]:
    """Give a file of this machine to read from.

    Parameters
    ----------
    file : Place
        A path is given back as it is.

    Yields
    ------
    local : Path
        The file, or a copy that is deleted afterwards.

    Raises
    ------
    OSError
        If an address cannot be read.
    """
    if isinstance(file, Path):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        local = Path(folder) / "copy"
        file.copy_to(local)
        yield local


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[Any]:
    """Give TensorFlow's file systems, and make an OSError of what they refuse."""
    try:
        import tensorflow as tf  # only those who keep things in buckets wait for it
    except ModuleNotFoundError as error:
        raise UserError(
            f"Expected TensorFlow to be installed, which reads addresses. Received: {address}, and a light install. "
            'Copy the files to this machine, or `pip install "tumbao[pipeline]"`.'
        ) from error
    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, error.message or "not found", address.text) from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message, address.text) from error
