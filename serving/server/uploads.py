"""Uploads: files are written to temporary folders while they arrive, and the server's limits are enforced."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from tumbao.components.ingest.os_compat import lock
from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.schema.errors import UserError, is_disk_full
from tumbao.serving.server.schemas import ApiError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the server, per request and in total; all must be above 0, except `waiting`, which may be 0."""

    megabytes: float = 200.0  # total size of a request's files, in 1,000,000 bytes
    sound_minutes: float = 30.0  # audio length of one file
    files: int = 10
    seconds: float = 120.0  # from the first byte of a request to its answer
    parallel: int = dataclasses.field(default_factory=cpu_count)  # requests processed at the same time
    waiting: int = 64  # further requests that are received or queued

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 if field.name == "waiting" else value > 0):
                raise UserError(f"Expected limits above 0. Received: {field.name}={value}")

    @property
    def bytes(self) -> int:
        """Total size of the files of a request, in bytes."""
        return round(self.megabytes * 1_000_000)

    @property
    def requests(self) -> int:
        """Number of requests accepted at the same time."""
        return self.parallel + self.waiting


_PREFIX = "tumbao-serve-"
_LOCK_FILE = "lock"


class TempStorage:
    """A temporary folder of this server, in `parent` or the system's folder for temporary files (TMPDIR).

    It is locked while the server runs. Folders that are not locked were left by a killed server and are removed.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for folder in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError), (folder / _LOCK_FILE).open("r+b") as file:  # locked, or another user's
                lock(file.fileno())
                shutil.rmtree(folder, ignore_errors=True)
        self._directory = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
        self.folder = Path(self._directory.name)
        self._file = (self.folder / _LOCK_FILE).open("wb")
        lock(self._file.fileno())

    def close(self) -> None:
        """Remove the folder."""
        self._file.close()
        self._directory.cleanup()

    def request(self) -> tempfile.TemporaryDirectory[str]:
        """Create an empty folder for a request; it is removed at the end of its context."""
        return tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True)


FORM_BYTES = 65_536  # allowance of a form beyond the limit of its files, for boundaries, headers and fields, in bytes

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it logs every unexpected byte


@dataclasses.dataclass(frozen=True)
class Upload:
    """An uploaded file; `name` is chosen by the client and must not be used as a path."""

    name: str
    path: Path
    bytes: int


class _Form:
    """A form whose files are written to a folder under numbers; all other parts are skipped.

    Starlette's parser is not used: it keeps text fields in memory, rejects a form with an unnamed part, accepts a
    truncated form as complete, and its files have no path that a decoder process could open.
    """

    def __init__(self, boundary: bytes, folder: Path, limits: Limits) -> None:
        self.uploads: list[Upload] = []
        self.complete = False
        self._folder, self._limits = folder, limits
        self._bytes = self._file_bytes = 0
        self._header, self._value = bytearray(), bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": self._write,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, block: bytes) -> None:
        """Parse the next bytes."""
        self._bytes += len(block)
        if self._bytes > self._limits.bytes + FORM_BYTES:
            raise _too_large(self._limits)
        self._parser.write(block)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        if not self._name:  # a field, or an input in which no file was chosen
            return
        if len(self.uploads) == self._limits.files:
            sentence = f"The request contains more than {self._limits.files} files."
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too many files", sentence)
        path = self._folder / str(len(self.uploads))
        self._file = path.open("wb")
        self.uploads.append(Upload(self._name, path, 0))

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file_bytes += end - start
            if self._file_bytes > self._limits.bytes:
                raise _too_large(self._limits)
            self._file.write(data[start:end])

    def _end_part(self) -> None:
        if self._file:
            self.uploads[-1] = dataclasses.replace(self.uploads[-1], bytes=self._file.tell())
            self._file.close()
        self._file, self._name = None, ""

    def _end(self) -> None:
        self.complete = True


async def receive(request: Request, folder: Path, limits: Limits) -> list[Upload]:
    """Receive the files of a form, at least one."""
    content_type, content_length = (request.headers.get(name, "") for name in ("content-type", "content-length"))
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        sentence = f"Expected the content type multipart/form-data. Received: {content_type[:80] or 'none'}"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "no form", sentence)
    if not options.get(b"boundary"):
        raise _bad_form("has no boundary")
    if content_length.isdecimal() and int(content_length) > limits.bytes + FORM_BYTES:
        raise _too_large(limits)
    try:
        with contextlib.closing(_Form(options[b"boundary"], folder, limits)) as form:
            async for block in request.stream():
                form.feed(block)
    except FormParserError as error:
        raise _bad_form("is malformed") from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        sentence = "The server's disk is full."
        raise ApiError(HTTPStatus.INSUFFICIENT_STORAGE, "disk full", sentence) from error
    if not form.complete:
        raise _bad_form("is incomplete")
    if not form.uploads:
        raise _bad_form('contains no file; with curl: -F "files=@song.mp3"')
    return form.uploads


def _too_large(limits: Limits) -> ApiError:
    sentence = f"The files of the request exceed {limits.megabytes:g} MB in total."
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large", sentence)


def _bad_form(problem: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, "bad form", f"The form {problem}.")
