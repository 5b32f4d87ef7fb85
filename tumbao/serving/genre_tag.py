"""The genre in a file's tags, whatever its format calls it, and the tags beside it, which are to stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mutagen
from mutagen._vorbis import VComment
from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TCON, ID3FileType
from mutagen.mp4 import MP4Tags

_KEYS = {VComment: "genre", MP4Tags: "\xa9gen", ASFTags: "WM/Genre", APEv2: "Genre", ID3: "TCON"}
_PADDING_BLOCK, _COMMENT_BLOCK = 1, 4  # of a flac: the one comes and goes, the other is compared by its comments
_V1_BYTES, _V1_NO_GENRE = 128, 255


class NoTagsError(Exception):
    """A format that has no tags, or none that can be written."""


class TaggedFile:
    """A file and its tags.

    ID3 tags keep their version (2.2, which nobody writes, becomes 2.4), and of an ID3v1 block that lies at the end of
    a file only the genre changes.

    Parameters
    ----------
    path : str or Path
        The file; its content decides which tags it has.

    Raises
    ------
    NoTagsError
        If it can have none.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = mutagen.File(path)
        if self._file is not None and isinstance(self._file.tags, ID3) and self._file.tags.version[:2] == (2, 3):
            self._file = type(self._file)(path, translate=False)  # or its years and lists became those of 2.4
        if self._file is not None and self._file.tags is None:
            try:
                self._file.add_tags()
            except (mutagen.MutagenError, NotImplementedError) as error:
                raise NoTagsError(type(self._file).__name__) from error
        self._key = next((key for kind, key in _KEYS.items() if isinstance(self._tags, kind)), "")
        if not self._key:
            raise NoTagsError("unknown")

    @property
    def _tags(self) -> Any:
        return self._file.tags if self._file is not None else None

    @property
    def genre(self) -> str:
        """The genre, several with a comma between; empty where the tags name none."""
        if self._key not in self._tags:
            return ""
        value = self._tags[self._key]
        texts = value.genres if isinstance(value, TCON) else value if isinstance(value, list) else [value]
        return ", ".join(text for one in texts if (text := str(one).strip()))

    def save(self, genre: str) -> None:
        """Write another genre into the file.

        Parameters
        ----------
        genre : str
            The only one afterwards.
        """
        if not isinstance(self._tags, ID3):
            self._tags[self._key] = [genre]
            self._file.save()
            return
        end = self._v1()
        self._tags.setall(self._key, [TCON(encoding=3, text=[genre])])
        self._file.save(v2_version=3 if self._tags.version[:2] == (2, 3) else 4, v23_sep=None)
        if end and self._v1():
            number = TCON.GENRES.index(genre) if genre in TCON.GENRES else _V1_NO_GENRE
            with self._path.open("r+b") as file:
                file.seek(-_V1_BYTES, 2)
                file.write(end[:-1] + bytes([number]))

    def _v1(self) -> bytes:
        if not isinstance(self._file, ID3FileType) or self._path.stat().st_size < _V1_BYTES:
            return b""
        with self._path.open("rb") as file:
            file.seek(-_V1_BYTES, 2)
            end = file.read()
        return end if end.startswith(b"TAG") else b""

    def others(self) -> object:
        """Give everything beside the genre in a form that can be compared.

        Returns
        -------
        others : object
            Equal for two files whose tags differ in nothing but the genre.
        """
        tags = self._tags
        if isinstance(tags, ID3):
            frames = [(key, _parts(frame)) for key, frame in tags.items() if key != self._key]
            return [*sorted(frames), sorted(tags.unknown_frames), self._v1()[:-1]]
        if isinstance(tags, VComment):
            blocks = self._file.metadata_blocks if isinstance(self._file, FLAC) else []
            kept = [block for block in blocks if block.code not in (_PADDING_BLOCK, _COMMENT_BLOCK)]
            comments = [(key, value) for key, value in tags if key.lower() != self._key]
            return [tags.vendor, comments, [(block.code, block.write()) for block in kept]]
        if isinstance(tags, ASFTags):
            return [(key, _parts(value), repr(value)) for key, value in tags if key != self._key]
        return sorted((key, repr(value)) for key, value in tags.items() if key != self._key)


def _parts(value: object) -> str:
    """Give what an object holds, but not in which encoding: tags of a version that lacks it are written in another."""
    return repr(sorted((name, part) for name, part in vars(value).items() if name != "encoding"))
