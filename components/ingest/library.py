"""Scan a library of any layout, split its songs and write one manifest per split.

The manifests name every song with the SHA-256 of its content, and their folder is named after their own digest. Any
change of a song, a genre or a split thus leads to another folder, and TFX, whose own fingerprint is the number of
files, their bytes and times, notices it.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tumbao.components.ingest import frozen_test_set, progress
from tumbao.components.ingest.atomic_write import write_whole_folder
from tumbao.components.ingest.audio_error import INFRASTRUCTURE_REASONS, AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, scan_song
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.fragments import fragment_count
from tumbao.components.ingest.listing import LIBRARY_FILE, Entry, SongList, is_outside
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.splits import GIVEN, artists_in_several_splits, given_splits, is_leaky, split_songs
from tumbao.components.ingest.tables import write_csv
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema import record
from tumbao.schema.errors import UnavailableError, UserError
from tumbao.schema.genres import unknown_genre
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

MAX_FAILED_SHARE, MIN_FAILED = 0.05, 3
"""A run fails if at least `MIN_FAILED` songs, and more than this share, cannot be read for an infrastructure reason."""

_INFRASTRUCTURE = {reason.value for reason in INFRASTRUCTURE_REASONS}
_NAMED = 20  # songs listed in an error message


@dataclasses.dataclass(frozen=True)
class Song:
    """One song of the library, or one part of a song; unknown strings are empty.

    `entry`, the index in the library's list from 0, identifies the file in all reports. `seconds` is the length before
    decoding. `columns` are other columns of the library's list, with names in lower case.
    """

    entry: int
    song: str
    path: str
    genre: str
    artist: str
    split: str
    sha256: str
    start_seconds: float
    end_seconds: float | None
    seconds: float
    subgenre: str = ""
    licence: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def part(self) -> AudioSegment:
        """The part of the file that the song consists of."""
        return AudioSegment(self.path, self.start_seconds, self.end_seconds)


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One file that is not used, and why; of a duplicate, `duplicate_of` is the song that is used instead."""

    song: str
    path: str
    reason: str
    detail: str
    entry: int
    duplicate_of: str = ""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """The result of scanning a library; `synthetic` if it declares that its songs are composed, not recorded."""

    name: str
    synthetic: bool
    songs: tuple[Song, ...]
    rejected: tuple[Rejected, ...]
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Number of songs and rejected files together."""
        return len(self.songs) + len(self.rejected)

    def summary(self) -> list[str]:
        """Return lines with the number of songs found, and the rejected files with their reasons."""
        if not self.rejected:
            return [f"{self.found} songs found"]
        counts = collections.Counter(item.reason for item in self.rejected)
        reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
        return [
            f"{self.found} songs found, {len(self.rejected)} of them rejected ({reasons})",
            *rejection_lines(self.rejected),
        ]

    def groups(self, split_by: str) -> dict[str, str]:
        """Return the artist of each song, or its value in a column of the list; empty if unknown."""
        key = split_by.lower()
        return {one.song: one.artist if key == "artist" else one.columns.get(key, "") for one in self.songs}


def scan(
    library: AnyPath,
    genres: Sequence[str],
    spec: MelSpec,
    layout: str = "auto",
    workers: int = 4,
    scan_cache: ScanCache | None = None,
    unfinished: Collection[str] = (),
) -> Catalog:
    """Hash each file of a library and read its header.

    Songs of genres other than `genres`, and files in `unfinished` (paths that are still being written), are rejected.
    Raises an error if the library does not exist, is invalid or has no usable song of a genre.
    """
    listed = read_library(library.absolute(), layout, genres)
    catalog = scan_files(library, listed, genres, spec, workers, scan_cache, unfinished)
    require_usable(catalog, genres, library)
    return catalog


def require_usable(catalog: Catalog, genres: Sequence[str], library: AnyPath) -> None:
    """Raise an error if many files could not be read, or if a genre has no usable song."""
    require_few_failures(catalog.found, catalog.rejected)
    per_genre = collections.Counter(song.genre for song in catalog.songs)
    require_genres(per_genre, genres, catalog.rejected, f"in {library.absolute()}")


def scan_files(
    library: AnyPath,
    listed: SongList,
    genres: Sequence[str],
    spec: MelSpec,
    workers: int = 4,
    scan_cache: ScanCache | None = None,
    unfinished: Collection[str] = (),
) -> Catalog:
    """Hash each file that a library lists and read its header; a genre may have no song.

    Raises `LibraryUnavailableError` if the library no longer exists at the end, for example on a disk that was removed.
    """
    library = library.absolute()
    root = library if library.is_dir() else library.parent
    entries = listed.entries
    progress.start("catalog", len(entries))
    opened = scan_cache.open() if scan_cache else contextlib.nullcontext()
    with opened as cache, WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(workers) as threads:
        scan_one = functools.partial(_scan_file, pool, cache, root, genres, spec, unfinished)
        outcomes = list(threads.map(scan_one, range(len(entries)), entries))
    if entries and not (any(library.iterdir()) if library.is_dir() else library.is_file()):
        raise LibraryUnavailableError(
            f"{library} no longer exists, or is empty, although its songs could be listed. Check the storage and run "
            "again."
        )
    songs, rejected = _without_duplicates(outcomes)
    return Catalog(library.name, is_synthetic(root), songs, rejected, notes=listed.notes)


def is_synthetic(library: AnyPath) -> bool:
    """Return the value of `synthetic` in the library's `LIBRARY_FILE`; False if there is no such file."""
    file = library / LIBRARY_FILE
    if not file.exists():
        return False
    try:
        return bool(json.loads(file.read_text("utf-8")).get("synthetic", False))
    except (ValueError, AttributeError) as error:
        raise UserError(f'Expected a JSON object like {{"synthetic": true}} in {file}. Received: {error}') from error


def require_genres(
    per_genre: collections.Counter[str], genres: Sequence[str], rejected: Iterable[Rejected], where: str
) -> None:
    """Raise an error if a genre has no usable song; `where` is part of the message."""
    missing = [genre for genre in genres if not per_genre[genre]]
    if not missing:
        return
    reasons = "\n".join(["\nRejected:", *lines] if (lines := rejection_lines(rejected)) else [])
    raise UserError(
        f"Expected at least one usable song of each genre {where}. Received none of: {', '.join(missing)}. "
        f"Add songs, repair or remove those that were rejected, or choose the genres with --genres.{reasons}"
    )


def rejection_lines(rejected: Iterable[Rejected]) -> list[str]:
    """Return a line for each of the first rejected files, and one with the number of the others."""
    lines = [f"  {item.song}: {item.reason}: {item.detail}" for item in rejected]
    return lines if len(lines) <= _NAMED else [*lines[:_NAMED], f"  and {len(lines) - _NAMED} more"]


class LibraryUnavailableError(UnavailableError):
    """The library, or many of its songs, cannot be read because of the machine or the storage."""


def require_few_failures(found: int, rejected: Iterable[Rejected]) -> None:
    """Raise an error if many songs were rejected for one of `audio_error.INFRASTRUCTURE_REASONS`."""
    failed = [item for item in rejected if item.reason in _INFRASTRUCTURE]
    if len(failed) < MIN_FAILED or len(failed) <= MAX_FAILED_SHARE * found:
        return
    counts = ", ".join(f"{reason}: {n}" for reason, n in collections.Counter(item.reason for item in failed).items())
    names = "".join(f"\n{line}" for line in rejection_lines(failed))
    raise LibraryUnavailableError(
        f"{len(failed)} of {found} songs could not be read for a reason that may lie in this machine or in the storage "
        f"of the library, not in the songs ({counts}). Without them the data would be incomplete. "
        f"Check memory, disk and network, or take these songs out of the library, and run again.{names}"
    )


def _scan_file(
    pool: WorkerPool,
    cache: ScanCache | None,
    root: AnyPath,
    genres: Sequence[str],
    spec: MelSpec,
    unfinished: Collection[str],
    number: int,
    entry: Entry,
) -> Song | Rejected:
    def reject(reason: Reason, detail: str) -> Rejected:
        return Rejected(_in_utf8(entry.song), _in_utf8(entry.path), reason.value, detail, number)

    try:
        if entry.fault:
            return reject(entry.fault_reason, entry.fault)
        if _in_utf8(entry.path) != entry.path:
            return reject(Reason.UNREADABLE, "cannot be read: its name is not in UTF-8; rename it")
        if _in_utf8(entry.song) != entry.song:
            return reject(Reason.INVALID_ROW, "expected a `song` in UTF-8; rename it in the list")
        if entry.genre not in genres:
            return reject(Reason.UNKNOWN_GENRE, unknown_genre(entry.genre, genres))
        if is_outside(entry, root):
            return reject(Reason.OUTSIDE, f"lies outside {root}; use its absolute path if this is intended")
        if entry.path in unfinished:
            return reject(Reason.UNFINISHED, "changed within the last minute; it is used once it no longer changes")
        part = AudioSegment(entry.path, entry.start_seconds or 0.0, entry.end_seconds)
        scan_part = functools.partial(scan_song, pool, part, spec)
        scanned = cache.get(part, scan_part) if cache else scan_part()
        columns = {name.lower(): text.strip() for name, text in entry.extras.items()}
        return Song(
            entry=number,
            song=entry.song,
            path=entry.path,
            genre=entry.genre,
            artist=entry.artist or scanned.artist,
            split=entry.split,
            sha256=scanned.sha256,
            start_seconds=part.start_seconds,
            end_seconds=part.end_seconds,
            seconds=scanned.seconds,
            subgenre=entry.subgenre,
            licence=_licence(columns),
            columns=columns,
        )
    except AudioError as error:
        return reject(error.reason, error.message)
    finally:
        progress.advance("catalog")


def _licence(columns: Mapping[str, str]) -> str:
    return columns.get("licence") or columns.get("license") or columns.get("licencia") or ""


def _in_utf8(name: str) -> str:
    """Escape the bytes of a file name that are not UTF-8, so that it can be written to a manifest."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _without_duplicates(outcomes: Iterable[Song | Rejected]) -> tuple[tuple[Song, ...], tuple[Rejected, ...]]:
    songs: list[Song] = []
    rejected: list[Rejected] = []
    first: dict[tuple[str, float, float | None], Song] = {}
    for one in outcomes:
        if isinstance(one, Rejected):
            rejected.append(one)
            continue
        same = first.setdefault((one.sha256, one.start_seconds, one.end_seconds), one)
        if same is one:
            songs.append(one)
        else:
            detail = "it is listed more than once" if same.path == one.path else f"the same bytes as {same.song}"
            rejected.append(Rejected(one.song, one.path, Reason.DUPLICATE.value, detail, one.entry, same.song))
    return tuple(songs), tuple(sorted(rejected, key=lambda item: item.song))


FIXED = "fixed"
"""The split method that keeps the test songs of the first split, see `frozen_test_set`."""

_COLUMNS = "entry song path genre artist sha256 start end seconds first fragments"
MANIFEST_COLUMNS = tuple(_COLUMNS.split())
"""Columns of a split's manifest.

`first` is the number of the part's first fragment in its song; `fragments` lists indexes in the part, empty means all.
"""


def schema_text(genres: Sequence[str]) -> str:
    """Return the curated schema for TensorFlow Data Validation, with the domains of label and genre of the run."""
    curated = Path(record.__file__).with_name("schema.pbtxt")
    schema = text_format.Parse(curated.read_text("utf-8"), schema_pb2.Schema())
    for feature in schema.feature:
        if feature.name == record.LABEL:
            feature.int_domain.max = len(genres) - 1
    for domain in schema.string_domain:
        if domain.name == record.GENRE:
            domain.value[:] = genres
    return text_format.MessageToString(schema)


CATALOGS = "catalogs"  # folder of a workspace for `write_manifests`

Folder = TypeVar("Folder", bound=AnyPath)


def write_manifests(
    catalog: Catalog,
    folder: Folder,
    *,
    genres: Sequence[str],
    split_by: str,
    seed: int,
    spec: MelSpec,
    split_strategy: str = "stratified",
) -> Folder:
    """Split a catalog and write one CSV per split, `rejected.csv`, `schema.pbtxt` and `catalog.json`.

    `split_strategy` is one of `splits.SPLIT_STRATEGIES`, `GIVEN` (the library's own splits, whatever `split_by`) or
    `FIXED`. Returns ``folder/<digest>``; an equal catalog returns the same folder, unchanged.
    """
    if split_strategy == FIXED and split_by != "song":
        raise ValueError(f"Expected a split by song where the test songs are fixed. Received: split_by={split_by!r}")
    counts: dict[str, dict[str, int]] = {genre: {} for genre in genres}
    firsts: list[int] = []
    for song in catalog.songs:
        first = counts[song.genre].get(song.song, 0)
        firsts.append(first)
        counts[song.genre][song.song] = first + fragment_count(song.seconds, spec)
    artists = {song.song: song.artist for song in catalog.songs}
    if split_strategy == GIVEN:
        assignment = given_splits(counts, ((song.song, song.split) for song in catalog.songs))
    elif split_strategy == FIXED:
        fixed = frozen_test_set.split_with_test_songs(
            counts, {_content(song): song.song for song in catalog.songs}, folder, seed
        )
        assignment = fixed.assignment
    else:
        assignment = split_songs(counts, split_by, seed, split_strategy=split_strategy, groups=catalog.groups(split_by))
    texts = {f"{split}.csv": _manifest(catalog, firsts, assignment[split], split_by, spec) for split in SPLITS}
    texts["schema.pbtxt"] = schema_text(genres)
    names = [field.name for field in dataclasses.fields(Rejected)]
    texts["rejected.csv"] = write_csv(names, map(dataclasses.astuple, catalog.rejected))
    description = _description(catalog, genres, split_by, split_strategy, seed)
    description["artists_on_two_sides"] = artists_in_several_splits(assignment, artists)
    texts["catalog.json"] = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    target = folder / digest
    write_whole_folder(target, texts)
    if split_strategy == FIXED:
        frozen_test_set.save_test_songs(fixed, texts["test.csv"], folder)
    return target  # type: ignore[return-value] # `/` keeps the type of its left operand


def _description(
    catalog: Catalog, genres: Sequence[str], split_by: str, split_strategy: str, seed: int
) -> dict[str, Any]:
    """Return the content of `catalog.json`, without what depends on the assignment to splits."""
    description: dict[str, Any] = {
        "library": catalog.name,
        "synthetic": catalog.synthetic,
        "found": catalog.found,
        "genres": list(genres),
        "protocol": split_by,
        "method": split_strategy,
        "leaky": is_leaky(split_by, split_strategy),
        "seed": seed,
    }
    licences = collections.Counter({song.song: song.licence for song in catalog.songs}.values())
    if licences.keys() - {""}:
        description["licences"] = dict(sorted(licences.items()))
    if catalog.merged:
        description["folded"] = list(catalog.merged)
    return description


def _content(song: Song) -> frozen_test_set.Content:
    """Return hash, start and end of the audio, formatted as in a manifest."""
    return song.sha256, str(song.start_seconds), "" if song.end_seconds is None else str(song.end_seconds)


def _manifest(
    catalog: Catalog, firsts: Sequence[int], members: Mapping[str, Sequence[int]], split_by: str, spec: MelSpec
) -> str:
    rows: list[Sequence[object]] = []
    for song, first in zip(catalog.songs, firsts, strict=True):
        if song.song not in members:
            continue
        fragments = ""
        if split_by == "fragment":
            own = range(first, first + fragment_count(song.seconds, spec))
            fragments = " ".join(str(index - first) for index in members[song.song] if index in own)
            if not fragments:
                continue
        names = (song.entry, song.song, song.path, song.genre, song.artist)
        rows.append((*names, *_content(song), song.seconds, first, fragments))
    return write_csv(MANIFEST_COLUMNS, rows)
