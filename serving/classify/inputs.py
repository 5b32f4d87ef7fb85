"""Inputs of classification: files, the files in folders, and the rows of lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.listing import is_outside, left_out_line, one_path, walk
from tumbao.components.ingest.paths import AnyPath, as_path
from tumbao.components.ingest.song_list import read_entries
from tumbao.components.ingest.tables import EXTENSIONS
from tumbao.schema.errors import UserError


@dataclasses.dataclass(frozen=True)
class Song:
    """A file, or part of one, to classify, or the fault for which it cannot be classified."""

    part: AudioSegment
    fault: AudioError | None = None


@dataclasses.dataclass(frozen=True)
class AudioFiles:
    """The songs to classify, each file or part once, and messages, such as the number of ignored files."""

    songs: tuple[Song, ...]
    notes: tuple[str, ...] = ()


def find_audio_files(paths: Iterable[str | AnyPath]) -> AudioFiles:
    """List the songs to classify, each once, in the order of the paths and of the lists' rows; folders are sorted.

    A path with the extension of a list stands for the songs in its rows; any other named file is taken whatever its
    extension. In folders, files that are not songs by their names are ignored.
    """
    roots = [as_path(path) for path in paths]
    found: dict[tuple[AudioSegment, bool], Song] = {}
    left_out: dict[str, str] = {}
    for path in roots:
        if not path.exists():
            raise UserError(f"No such file or folder: {path}")
        if path.is_dir():
            listing = walk(path)
            left_out |= {one_path(str(file)): kind for file, kind in listing.left_out.items()}
            songs = [Song(AudioSegment(str(file))) for file in listing.files]
            songs += [
                _faulty(AudioSegment(error.filename), Reason.UNREADABLE, f"cannot be listed: {error.strerror}")
                for error in listing.unlisted
            ]
        elif path.suffix.lower() in EXTENSIONS:
            songs = list(_listed(path))
        else:
            songs = [Song(AudioSegment(str(path)))]
        for song in songs:
            part = dataclasses.replace(song.part, path=one_path(song.part.path))
            found.setdefault((part, song.fault is None), song)
    line = left_out_line(left_out.values())
    if not found:
        raise UserError(
            f"No audio files in {', '.join(map(str, roots))}: expected files such as mp3, wav, flac or m4a"
            f"{f'; {line}' if line else ''}"
        )
    return AudioFiles(tuple(found.values()), (line,) if line else ())


def _listed(file: AnyPath) -> Iterator[Song]:
    root = file.parent
    for entry in read_entries(file, root=root, required=("file_name",)):
        part = AudioSegment(entry.path, entry.start_seconds or 0.0, entry.end_seconds)
        if entry.fault:
            yield _faulty(part, entry.fault_reason, entry.fault)
        elif is_outside(entry, root):
            sentence = f"leads out of {root.absolute()}; name it by its absolute path if it is meant"
            yield _faulty(part, Reason.OUTSIDE, sentence)
        else:
            yield Song(part)


def _faulty(part: AudioSegment, reason: Reason, sentence: str) -> Song:
    return Song(part, AudioError(part.path, reason, sentence))


def stamp(part: AudioSegment) -> tuple[int, int] | None:
    """Return size in bytes and modification time in microseconds since 1970 of a file, None if not available."""
    try:
        status = as_path(part.path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns // 1000
