"""What there is to classify: files, what lies in folders, and what lists name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import Part
from tumbao.components.ingest.folders import left_out_line, walk
from tumbao.components.ingest.listing import is_outside, one_path
from tumbao.components.ingest.manifest import read_entries
from tumbao.components.ingest.places import Place, place
from tumbao.components.ingest.tables import EXTENSIONS
from tumbao.errors import UserError


@dataclasses.dataclass(frozen=True)
class Song:
    """One thing to classify.

    Parameters
    ----------
    part : Part
        The file, or the part of it.
    fault : AudioError or None
        Why it cannot be tried.
    """

    part: Part
    fault: AudioError | None = None


@dataclasses.dataclass(frozen=True)
class AudioFiles:
    """What there is to classify.

    Parameters
    ----------
    songs : tuple of Song
        Each file, or part of one, once.
    notes : tuple of str
        Messages such as how many files are left out.
    """

    songs: tuple[Song, ...]
    notes: tuple[str, ...] = ()


def find_audio_files(paths: Iterable[str | Place]) -> AudioFiles:
    """List the songs to classify.

    A file that is named is taken as it is, unless its ending is that of a list (`tables.EXTENSIONS`): then its rows
    are the songs. In folders, what is no song by its name is left out, see `folders.left_out_kind`. A file that is
    named in several ways, by a relative and an absolute path or through a linked folder, is taken once.

    Parameters
    ----------
    paths : iterable of str or Place
        Files, folders and lists.

    Returns
    -------
    AudioFiles
        The songs in the order of the paths and of the lists' rows, folders sorted.

    Raises
    ------
    ValueError
        If a path does not exist, a list makes no sense, or there is no song at all.
    """
    roots = [place(path) for path in paths]
    found: dict[tuple[Part, bool], Song] = {}
    left_out: dict[str, str] = {}
    for path in roots:
        if not path.exists():
            raise UserError(f"No such file or folder: {path}")
        if path.is_dir():
            listing = walk(path)
            left_out |= {one_path(str(file)): kind for file, kind in listing.left_out.items()}
            songs = [Song(Part(str(file))) for file in listing.files]
            for error in listing.unlisted:
                songs.append(_faulty(Part(error.filename), Reason.UNREADABLE, f"cannot be listed: {error.strerror}"))
        elif path.suffix.lower() in EXTENSIONS:
            songs = list(_listed(path))
        else:
            songs = [Song(Part(str(path)))]
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


def _listed(file: Place) -> Iterator[Song]:
    root = file.parent
    for entry in read_entries(file, root=root, required=("file_name",)):
        part = Part(entry.path, entry.start_seconds or 0.0, entry.end_seconds)
        if entry.fault:
            yield _faulty(part, entry.fault_reason, entry.fault)
        elif is_outside(entry, root):
            sentence = f"leads out of {root.absolute()}; name it by its absolute path if it is meant"
            yield _faulty(part, Reason.OUTSIDE, sentence)
        else:
            yield Song(part)


def _faulty(part: Part, reason: Reason, sentence: str) -> Song:
    return Song(part, AudioError(part.path, reason, sentence))


def stamp(part: Part) -> tuple[int, int] | None:
    """Tell a file from what it was before, or will be later, without reading it.

    Parameters
    ----------
    part : Part
        The file.

    Returns
    -------
    stamp : tuple of int or None
        Its bytes and when it was modified, in microseconds since 1970; None if it cannot be told.
    """
    try:
        status = place(part.path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns // 1000
