"""Paths of the local file system and addresses of objects in buckets, with one interface.

Buckets are read through TensorFlow's file systems. `pathlib` would turn gs:// into gs:/, so text from a user is
converted with `as_path` first.
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
"""Prefixes of an address: Google Cloud Storage, and TensorFlow's in-memory file system, which tests use."""


def is_remote(path: str) -> bool:
    """Tell whether a text is an address (begins with one of `SCHEMES`), not a path."""
    return path.startswith(SCHEMES)


class Status(NamedTuple):
    """Size and modification time of a file in a bucket, named as in `os.stat_result`."""

    st_size: int
    st_mtime_ns: int


@dataclasses.dataclass(frozen=True, order=True)
class RemotePath:
    """A file or a folder in a bucket, with the part of the interface of `pathlib.Path` that is needed.

    `text` begins with one of `SCHEMES` and does not end with a slash. Operations that fail raise OSError.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.text.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its point."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder of the address; the parent of a bucket is the bucket itself."""
        above = self.text.rpartition("/")[0]
        return self if above.endswith("/") else RemotePath(above)

    def absolute(self) -> RemotePath:
        """Return the address itself: addresses are absolute."""
        return self

    def exists(self) -> bool:
        """Tell whether there is a file or a folder."""
        with _explained(self) as files:
            return bool(files.exists(self.text))

    def is_dir(self) -> bool:
        """Tell whether it is a folder, or has objects below it."""
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
        """Read a text file without converting its line ends."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and create the folders above it."""
        with _explained(self) as files:
            # a bucket of gs:// has no folders, and if it does not exist, TensorFlow would retry forever
            if not self.text.startswith("gs://"):
                files.makedirs(self.parent.text)
            with files.GFile(self.text, "wb") as file:
                file.write(content)

    def require_bucket(self) -> None:
        """Raise an error if the bucket does not exist: TensorFlow would retry forever to create a folder in it."""
        bucket = re.match(r"gs://[^/]+", self.text)
        with _explained(self) as files:
            if bucket and not files.isdir(bucket[0]):
                raise UserError(
                    f"Expected a bucket that exists, and rights to list it. Received: {self}. Correct its name, or "
                    f"make it: gcloud storage buckets create {bucket[0]}"
                )

    def iterdir(self) -> list[RemotePath]:
        """List the direct children of a folder."""
        with _explained(self) as files:
            return [self / name.rstrip("/") for name in files.listdir(self.text)]

    def glob(self, pattern: str) -> list[RemotePath]:
        """List what matches a pattern below the folder; a star matches anything but a slash."""
        with _explained(self) as files:
            return [RemotePath(path) for path in files.glob(f"{self._literally()}/{pattern}")]

    def files_below(self) -> list[RemotePath]:
        """List all files below a folder, sorted.

        The listing goes level by level: one response of a bucket lists a thousand objects, whatever their folders,
        while testing whether an object is a folder takes one request per object.
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
        return sorted(map(RemotePath, files))

    def stat(self) -> Status:
        """Return size and modification time of a file."""
        with _explained(self) as files:
            status = files.stat(self.text)
            return Status(status.length, status.mtime_nsec)

    def copy_to(self, target: Path) -> None:
        """Copy a file, or a folder with all files below it, to this machine."""
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


AnyPath = Path | RemotePath
"""A path or an address."""


def as_path(text: str | AnyPath) -> AnyPath:
    """Convert text to a `RemotePath` if it begins with one of `SCHEMES`, otherwise to a `Path`."""
    return RemotePath(str(text).rstrip("/")) if is_remote(str(text)) else Path(str(text))


def below(path: AnyPath, folder: AnyPath) -> PurePosixPath:
    """Return the path relative to a folder, which has to be a prefix of it; `.` for the folder itself."""
    return PurePosixPath(str(path)[len(str(folder)) :].lstrip("/"))


@contextlib.contextmanager
def local_copy(file: AnyPath) -> Iterator[Path]:
    """Yield a path of this machine: the file itself, or a copy of an address that is deleted afterwards."""
    if isinstance(file, Path):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        local = Path(folder) / "copy"
        file.copy_to(local)
        yield local


@contextlib.contextmanager
def _explained(address: RemotePath) -> Iterator[Any]:
    """Yield TensorFlow's file systems, and convert their errors to OSError."""
    try:
        import tensorflow as tf  # a slow import, needed for addresses only
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
