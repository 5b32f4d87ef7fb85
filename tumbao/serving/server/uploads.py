"""From a request's body to files: written while they arrive, counted, and cut off where it is too much."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tumbao.serving.server.limits import Limits
from tumbao.serving.server.refusal import RefusalError

FORM_BYTES = 65_536
"""What a form may have beside its files: boundaries and headers, in bytes."""

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every odd byte that a client sends


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file that was sent.

    Parameters
    ----------
    name : str
        As the client calls it; of no use as a path.
    path : Path
        Where it lies.
    bytes : int
        Its size.
    """

    name: str
    path: Path
    bytes: int


class _Form:
    """A form that is being received: its files are written to a folder, under numbers."""

    def __init__(self, boundary: bytes, folder: Path, limits: Limits) -> None:
        self.uploads: list[Upload] = []
        self.whole = False
        self._folder, self._limits = folder, limits
        self._file_bytes = self._form_bytes = 0
        self._header, self._value = bytearray(), bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_file,
                "on_part_data": self._write,
                "on_part_end": self._end_file,
                "on_end": self._end,
            },
        )

    def feed(self, block: bytes) -> None:
        before = self._file_bytes
        self._parser.write(block)
        self._form_bytes += len(block) - (self._file_bytes - before)
        if self._form_bytes > FORM_BYTES:
            raise _bad_form(f"has more than {FORM_BYTES} bytes beside its files")

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value.decode("latin-1"))
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _begin_file(self) -> None:
        if not self._name:
            raise _bad_form('has a part without a file; with curl: -F "files=@song.mp3"')
        if len(self.uploads) == self._limits.files:
            sentence = f"Expected {self._limits.files} files at most. Received: more"
            raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too many files", sentence)
        path = self._folder / str(len(self.uploads))
        self._file = path.open("wb")
        self.uploads.append(Upload(self._name, path, 0))

    def _write(self, data: bytes, start: int, end: int) -> None:
        self._file_bytes += end - start
        if self._file_bytes > self._limits.bytes:
            raise _too_large(self._limits)
        if self._file:
            self._file.write(data[start:end])

    def _end_file(self) -> None:
        if self._file:
            self.uploads[-1] = dataclasses.replace(self.uploads[-1], bytes=self._file.tell())
            self._file.close()
        self._file, self._name = None, ""

    def _end(self) -> None:
        self.whole = True


async def receive(
    content_type: str, content_length: str | None, blocks: AsyncIterator[bytes], folder: Path, limits: Limits
) -> list[Upload]:
    """Receive the files of a form.

    Parameters
    ----------
    content_type : str
        Header of the request.
    content_length : str or None
        Header of the request; believed only where it says too much.
    blocks : async iterator of bytes
        The body.
    folder : Path
        Where to write the files.
    limits : Limits
        How much and how many.

    Returns
    -------
    uploads : list of Upload
        At least one.

    Raises
    ------
    RefusalError
        If there is too much, the body is no form of files, or the disk is full.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        sentence = f"Expected multipart/form-data. Received: {content_type[:80] or 'no Content-Type'}"
        raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "no form", sentence)
    if not options.get(b"boundary"):
        raise _bad_form("names no boundary")
    if content_length and content_length.isdecimal() and int(content_length) > limits.bytes + FORM_BYTES:
        raise _too_large(limits)
    form = None
    try:
        form = _Form(options[b"boundary"], folder, limits)
        async for block in blocks:
            await asyncio.to_thread(form.feed, block)
    except FormParserError as error:
        raise _bad_form("cannot be read") from error
    except OSError as error:
        sentence = "There is no room for these files at the moment."
        raise RefusalError(HTTPStatus.INSUFFICIENT_STORAGE, "disk full", sentence) from error
    finally:
        if form:
            form.close()
    if not form.whole:
        raise _bad_form("breaks off")
    if not form.uploads:
        raise _bad_form("holds no file")
    return form.uploads


def _too_large(limits: Limits) -> RefusalError:
    sentence = f"Expected {limits.megabytes:g} MB at most, all files together. Received: more"
    return RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large", sentence)


def _bad_form(what: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, "bad form", f"Expected a form with files. Received: one that {what}")
