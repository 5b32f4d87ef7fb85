"""What songs there are: a folder of genre folders becomes one manifest per split.

The manifests name every song with the hash of its content, so they say all that ingest depends on. They lie in a folder
named after their own digest: another song, another genre, another byte in a file, another split is another folder,
which is how TFX (whose own fingerprint is file count, bytes and seconds) notices the change.
"""

from __future__ import annotations

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tumbao import progress
from tumbao.components.ingest.folders import walk
from tumbao.components.ingest.fragments import cut, fragment_count
from tumbao.components.ingest.splits import Assignment, split_songs
from tumbao.components.ingest.waveform import AudioError, Reason, decode, probe
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.schema.validation import schema_text

UNKNOWN_GENRE = "unknown genre"
DUPLICATE = "duplicate"
"""Reasons of the catalog's own, beside those of `waveform.Reason`."""

LIBRARY_FILE = "library.json"
"""A file at the root of a library that describes it; `{"synthetic": true}` marks composed songs."""


@dataclasses.dataclass(frozen=True)
class Song:
    """One song of the library.

    Parameters
    ----------
    song : str
        Its identifier: the path below the library, with forward slashes.
    path : str
        Where the file lies.
    genre : str
        Name of the folder it lies in.
    sha256 : str
        Hash of the file's bytes, hexadecimal.
    seconds : float
        Length as the file's header declares it; decoded where the header does not tell or tells too little.
    """

    song: str
    path: str
    genre: str
    sha256: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One file that is not used, and why.

    Parameters
    ----------
    song : str
        The path below the library.
    path : str
        Where the file lies.
    reason : str
        One of `waveform.Reason`, `UNKNOWN_GENRE` or `DUPLICATE`.
    detail : str
        A sentence for the person who looks after the library.
    """

    song: str
    path: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Catalog:
    """A library, looked through.

    Parameters
    ----------
    name : str
        Name of the library's folder.
    synthetic : bool
        Whether the library says that its songs are composed, not recorded.
    songs : tuple of Song
        Usable as far as their headers tell, sorted by identifier.
    rejected : tuple of Rejected
        All other files, sorted likewise.
    """

    name: str
    synthetic: bool
    songs: tuple[Song, ...]
    rejected: tuple[Rejected, ...]

    @property
    def found(self) -> int:
        """Number of songs and rejected files together."""
        return len(self.songs) + len(self.rejected)


def scan(library: Path, genres: Sequence[str], spec: MelSpec, workers: int = 4) -> Catalog:
    """Look through a folder of genre folders: hash each file and read its header.

    Parameters
    ----------
    library : Path
        Holds a folder for each genre; folders below those are looked through as well.
    genres : sequence of str
        The run's genres. Songs in other folders are rejected as of unknown genre.
    spec : MelSpec
        Says how long a fragment is.
    workers : int
        How many files are read at the same time.

    Returns
    -------
    catalog : Catalog
        Every file that is no hidden file and no sidecar (see `folders.SIDECARS`) stands in `songs` or in `rejected`.

    Raises
    ------
    ValueError
        If the folder does not exist or a genre has no usable song.
    """
    library = library.absolute()
    if not library.is_dir():
        raise ValueError(
            f"Expected a folder with one folder of songs per genre ({', '.join(genres)}). Received: {library}, "
            f"which {'is no folder' if library.exists() else 'does not exist'}."
        )
    listing = walk(library)
    progress.start("catalog", len(listing.files))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(lambda path: _look(path, library, genres, spec), listing.files))
    outcomes += [_unreadable(Path(error.filename), library, error.strerror) for error in listing.unlisted]
    songs, rejected = _without_duplicates(outcomes)
    catalog = Catalog(library.name, is_synthetic(library), songs, rejected)
    per_genre = collections.Counter(song.genre for song in songs)
    require_genres(per_genre, genres, rejected, f"in {library}")
    return catalog


def is_synthetic(library: Path) -> bool:
    """Tell whether a library declares itself composed.

    Parameters
    ----------
    library : Path
        The library's folder.

    Returns
    -------
    synthetic : bool
        The value of `synthetic` in its `LIBRARY_FILE`, False where there is none.

    Raises
    ------
    ValueError
        If the file is there and cannot be read.
    """
    file = library / LIBRARY_FILE
    if not file.exists():
        return False
    try:
        return bool(json.loads(file.read_text("utf-8")).get("synthetic", False))
    except (ValueError, AttributeError) as error:
        raise ValueError(f'Expected a JSON object like {{"synthetic": true}} in {file}. Received: {error}') from error


def require_genres(
    per_genre: collections.Counter[str], genres: Sequence[str], rejected: Iterable[Rejected], place: str
) -> None:
    """Refuse to go on when a genre has no usable song.

    Parameters
    ----------
    per_genre : collections.Counter
        Usable songs of each genre.
    genres : sequence of str
        The run's genres.
    rejected : iterable of Rejected
        Named in the message.
    place : str
        Where songs are missing, for the message.

    Raises
    ------
    ValueError
        Names the genres and what was rejected.
    """
    missing = [genre for genre in genres if not per_genre[genre]]
    if not missing:
        return
    reasons = "".join(f"\n  rejected: {item.song}: {item.reason}: {item.detail}" for item in list(rejected)[:20])
    raise ValueError(
        f"Expected at least one usable song of each genre {place}. Received none of: {', '.join(missing)}. "
        f"Add songs, mend those that were rejected, or choose the genres with --genres.{reasons}"
    )


def _look(path: Path, library: Path, genres: Sequence[str], spec: MelSpec) -> Song | Rejected:
    relative = path.relative_to(library)
    name = relative.as_posix()
    genre = relative.parts[0] if len(relative.parts) > 1 else ""
    try:
        if _in_utf8(str(path)) != str(path):
            return _unreadable(path, library, "its name is not in UTF-8; rename it")
        if genre not in genres:
            received = f"the folder {genre}" if genre else "no genre folder"
            return Rejected(name, str(path), UNKNOWN_GENRE, f"expected one of {', '.join(genres)}; received {received}")
        seconds = _seconds(path, spec)
        with path.open("rb") as file:
            return Song(name, str(path), genre, _digest(file), seconds)
    except AudioError as error:
        return Rejected(name, str(path), error.reason.value, error.sentence)
    except OSError as error:
        return _unreadable(path, library, error.strerror)
    finally:
        progress.advance("catalog")


def _unreadable(path: Path, library: Path, why: str | None) -> Rejected:
    name = path.relative_to(library).as_posix()
    return Rejected(_in_utf8(name), _in_utf8(str(path)), Reason.UNREADABLE.value, f"cannot be read: {why}")


def _in_utf8(name: str) -> str:
    """Write out the bytes of a file's name that are no UTF-8, so that manifests can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _seconds(path: Path, spec: MelSpec) -> float:
    declared = probe(path).declared_seconds
    if declared is not None and fragment_count(declared, spec):
        return declared
    waveform = decode(path, spec.sample_rate_hz)
    cut(waveform.samples, spec, path)  # refuses what is too short
    return waveform.duration_seconds


def _digest(file: io.BufferedReader) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _without_duplicates(outcomes: Iterable[Song | Rejected]) -> tuple[tuple[Song, ...], tuple[Rejected, ...]]:
    songs: list[Song] = []
    rejected: list[Rejected] = []
    first: dict[str, Song] = {}
    for outcome in outcomes:
        if isinstance(outcome, Rejected):
            rejected.append(outcome)
        elif outcome.sha256 in first:
            detail = f"the same bytes as {first[outcome.sha256].song}"
            rejected.append(Rejected(outcome.song, outcome.path, DUPLICATE, detail))
        else:
            first[outcome.sha256] = outcome
            songs.append(outcome)
    return tuple(songs), tuple(sorted(rejected, key=lambda item: item.song))


MANIFEST_COLUMNS = ("song", "path", "genre", "sha256", "seconds", "fragments")
"""Columns of a split's manifest; `fragments` lists indexes, empty means all of them."""


def write_manifests(
    catalog: Catalog, folder: Path, *, genres: Sequence[str], protocol: str, seed: int, spec: MelSpec
) -> Path:
    """Split a catalog and write one CSV per split, `rejected.csv`, `schema.pbtxt` and `catalog.json`.

    Parameters
    ----------
    catalog : Catalog
        The library.
    folder : Path
        Where the manifests' folder is made.
    genres : sequence of str
        The run's genres, in the order of the labels.
    protocol : str
        How to split, see `splits.PROTOCOLS`.
    seed : int
        Changes who goes where.
    spec : MelSpec
        Gives the fragments' length.

    Returns
    -------
    manifests : Path
        ``folder/<digest>``; an equal catalog gives the same folder, untouched.

    Raises
    ------
    ValueError
        If a genre has too few songs.
    """
    counts: dict[str, dict[str, int]] = {genre: {} for genre in genres}
    for song in catalog.songs:
        counts[song.genre][song.song] = fragment_count(song.seconds, spec)
    assignment = split_songs(counts, protocol, seed)
    texts = {f"{split}.csv": _manifest(catalog, assignment, split, protocol) for split in SPLITS}
    texts["schema.pbtxt"] = schema_text(genres)
    texts["rejected.csv"] = _csv(["song", "path", "reason", "detail"], map(dataclasses.astuple, catalog.rejected))
    description = {
        "library": catalog.name,
        "synthetic": catalog.synthetic,
        "found": catalog.found,
        "genres": list(genres),
        "protocol": protocol,
        "leaky": protocol == "fragment",
        "seed": seed,
    }
    texts["catalog.json"] = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    target = folder / digest
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as half_written:
            inner = Path(half_written) / digest
            inner.mkdir()
            for name, text in texts.items():
                (inner / name).write_text(text, "utf-8")
            inner.rename(target)
    return target


def _manifest(catalog: Catalog, assignment: Assignment, split: str, protocol: str) -> str:
    members = assignment[split]
    rows = [
        (
            s.song,
            s.path,
            s.genre,
            s.sha256,
            s.seconds,
            "" if protocol == "song" else " ".join(map(str, members[s.song])),
        )
        for s in catalog.songs
        if s.song in members
    ]
    return _csv(MANIFEST_COLUMNS, rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # its line ends, or it would not quote a name with a carriage return
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
