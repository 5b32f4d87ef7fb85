"""What songs there are: a library, in whatever layout, becomes one manifest per split.

The manifests name every song with the hash of its content, so they say all that ingest depends on. They lie in a folder
named after their own digest: another song, another genre, another byte in a file, another split is another folder,
which is how TFX (whose own fingerprint is file count, bytes and seconds) notices the change.
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
from typing import TypeVar

from tumbao import progress
from tumbao.components.ingest import fixed_tests
from tumbao.components.ingest.audio_error import INFRASTRUCTURE_REASONS, AudioError, Reason
from tumbao.components.ingest.decoders import Part, scan_song
from tumbao.components.ingest.folding import Folded
from tumbao.components.ingest.fragments import fragment_count
from tumbao.components.ingest.layouts import read_library
from tumbao.components.ingest.listing import LIBRARY_FILE, Entry, SongList, is_outside
from tumbao.components.ingest.look_memory import LookMemory
from tumbao.components.ingest.places import Place
from tumbao.components.ingest.splits import GIVEN, artists_on_two_sides, given_splits, leaks, split_songs
from tumbao.components.ingest.tables import write_csv
from tumbao.components.ingest.whole_folder import write_whole_folder
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.errors import UnavailableError, UserError
from tumbao.schema.genre_names import unknown_genre
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.schema.validation import schema_text

MAX_FAILED_SHARE, MIN_FAILED = 0.05, 3
"""A run fails if a larger share of the songs, and at least so many, cannot be read for a reason that is not theirs."""

_INFRASTRUCTURE = {reason.value for reason in INFRASTRUCTURE_REASONS}
_NAMED = 20  # songs in an error's message


@dataclasses.dataclass(frozen=True)
class Song:
    """One song of the library, or one part of a song.

    Parameters
    ----------
    entry : int
        Its place in the library's list, from 0: what every file is accounted for by.
    song : str
        Its identifier, the unit of split, see `listing.Entry`.
    path : str
        Where the file lies.
    genre : str
        One of the run's genres.
    artist : str
        As the library or else the file's tags spell it; may be empty.
    split : str
        The library's own split; may be empty.
    sha256 : str
        Hash of the file's bytes, hexadecimal.
    start_seconds : float
        Where it begins in the file.
    end_seconds : float or None
        Where it ends in the file; None means at the file's end.
    seconds : float
        Its length as the file's header declares it; decoded where the header does not tell or tells too little.
    subgenre : str
        As the library spells it; may be empty.
    licence : str
        As the library's list writes it, in a column `licence` or `license`; may be empty.
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

    @property
    def part(self) -> Part:
        """What of the file it is."""
        return Part(self.path, self.start_seconds, self.end_seconds)


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One file that is not used, and why.

    Parameters
    ----------
    song : str
        Its identifier, see `listing.Entry`.
    path : str
        Where the file lies.
    reason : str
        One of `audio_error.Reason`.
    detail : str
        A sentence for the person who looks after the library.
    entry : int
        Its place in the library's list, from 0.
    duplicate_of : str
        Identifier of the song that is kept in place of this one; empty if the reason is another.
    """

    song: str
    path: str
    reason: str
    detail: str
    entry: int
    duplicate_of: str = ""


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
    folded : tuple of Folded
        Sub-genres whose songs count for their genre, where sub-genres were asked for.
    notes : tuple of str
        See `listing.SongList`.
    """

    name: str
    synthetic: bool
    songs: tuple[Song, ...]
    rejected: tuple[Rejected, ...]
    folded: tuple[Folded, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Number of songs and rejected files together."""
        return len(self.songs) + len(self.rejected)


def scan(
    library: Place,
    genres: Sequence[str],
    spec: MelSpec,
    layout: str = "auto",
    workers: int = 4,
    memory: LookMemory | None = None,
    growing: Collection[str] = (),
) -> Catalog:
    """Look through a library: hash each file and read its header.

    Parameters
    ----------
    library : Place
        A folder or a list of songs, see `layouts.read_library`.
    genres : sequence of str
        The run's genres. Other songs are rejected as of unknown genre.
    spec : MelSpec
        Says how long a fragment is.
    layout : str
        The library's form, one of `layouts.LAYOUTS`.
    workers : int
        How many files are read at the same time.
    memory : LookMemory, optional
        Knows the files that have not changed since the last look.
    growing : collection of str
        Paths of files that are still being written: they are rejected unread.

    Returns
    -------
    catalog : Catalog
        Every file that is not left out (see `folders.left_out_kind`) stands in `songs` or in `rejected`.

    Raises
    ------
    ValueError
        If the library is not there, makes no sense, or has no usable song of a genre.
    """
    listed = read_library(library.absolute(), layout, genres)
    catalog = look_through(library, listed, genres, spec, workers, memory, growing)
    require_usable(catalog, genres, library)
    return catalog


def require_usable(catalog: Catalog, genres: Sequence[str], library: Place) -> None:
    """Refuse a library that could not be read, or that has no usable song of a genre.

    Parameters
    ----------
    catalog : Catalog
        What was found.
    genres : sequence of str
        The run's genres.
    library : Place
        The folder or the list of songs, for the message.

    Raises
    ------
    LibraryUnavailableError
        See `require_few_failures`.
    UserError
        See `require_genres`.
    """
    require_few_failures(catalog.found, catalog.rejected)
    per_genre = collections.Counter(song.genre for song in catalog.songs)
    require_genres(per_genre, genres, catalog.rejected, f"in {library.absolute()}")


def look_through(
    library: Place,
    listed: SongList,
    genres: Sequence[str],
    spec: MelSpec,
    workers: int = 4,
    memory: LookMemory | None = None,
    growing: Collection[str] = (),
) -> Catalog:
    """Hash each file that a library lists and read its header, whether or not every genre has a song.

    Parameters
    ----------
    library : Place
        The folder or the list of songs.
    listed : SongList
        What it lists, see `layouts.read_library`.
    genres : sequence of str
        Songs of other genres are rejected.
    spec : MelSpec
        Says how long a fragment is.
    workers : int
        How many files are read at the same time.
    memory : LookMemory, optional
        Knows the files that have not changed since the last look.
    growing : collection of str
        Paths of files that are still being written: they are rejected unread.

    Returns
    -------
    catalog : Catalog
        Every entry stands in `songs` or in `rejected`.

    Raises
    ------
    LibraryUnavailableError
        If the library is no longer there at the end, such as on a disk that was taken away.
    """
    library = library.absolute()
    root = library if library.is_dir() else library.parent
    entries = listed.entries
    progress.start("catalog", len(entries))
    known = memory.open() if memory else contextlib.nullcontext()
    with known as remembered, WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(workers) as threads:
        look = functools.partial(_look, pool, remembered, root, genres, spec, growing)
        outcomes = list(threads.map(look, range(len(entries)), entries))
    if entries and not (any(library.iterdir()) if library.is_dir() else library.is_file()):
        raise LibraryUnavailableError(
            f"{library} is gone or empty: it was there when its songs were listed. Check the storage and run again."
        )
    songs, rejected = _without_duplicates(outcomes)
    return Catalog(library.name, is_synthetic(root), songs, rejected, notes=listed.notes)


def is_synthetic(library: Place) -> bool:
    """Tell whether a library declares itself composed.

    Parameters
    ----------
    library : Place
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
        raise UserError(f'Expected a JSON object like {{"synthetic": true}} in {file}. Received: {error}') from error


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
    reasons = "".join(f"\n  rejected: {item.song}: {item.reason}: {item.detail}" for item in list(rejected)[:_NAMED])
    raise UserError(
        f"Expected at least one usable song of each genre {place}. Received none of: {', '.join(missing)}. "
        f"Add songs, mend those that were rejected, or choose the genres with --genres.{reasons}"
    )


class LibraryUnavailableError(UnavailableError):
    """The library, or many of its songs, cannot be read for a reason that is not the songs' own."""


def require_few_failures(found: int, rejected: Iterable[Rejected]) -> None:
    """Refuse to go on when many songs were rejected for a reason that may not be theirs.

    Parameters
    ----------
    found : int
        Songs of the library.
    rejected : iterable of Rejected
        Those of them that are not used.

    Raises
    ------
    LibraryUnavailableError
        If more than `MAX_FAILED_SHARE` of the songs, and at least `MIN_FAILED`, were rejected for one of
        `audio_error.INFRASTRUCTURE_REASONS`.
    """
    failed = [item for item in rejected if item.reason in _INFRASTRUCTURE]
    if len(failed) < MIN_FAILED or len(failed) <= MAX_FAILED_SHARE * found:
        return
    counts = ", ".join(f"{reason}: {n}" for reason, n in collections.Counter(item.reason for item in failed).items())
    names = "".join(f"\n  {item.song}: {item.reason}: {item.detail}" for item in failed[:_NAMED])
    more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    raise LibraryUnavailableError(
        f"{len(failed)} of {found} songs could not be read for a reason that may lie in this machine or in the storage "
        f"of the library, not in the songs ({counts}). Without them the data would be incomplete, so this ends here. "
        f"Check memory, disk and network, or take these songs out of the library, and run again.{names}{more}"
    )


def _look(
    pool: WorkerPool,
    memory: LookMemory | None,
    root: Place,
    genres: Sequence[str],
    spec: MelSpec,
    growing: Collection[str],
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
            return reject(Reason.OUTSIDE, f"leads out of {root}; name it by its absolute path if it is meant")
        if entry.path in growing:
            return reject(Reason.GROWING, "changed within the last minute: it is taken when it no longer does")
        part = Part(entry.path, entry.start_seconds or 0.0, entry.end_seconds)
        look = functools.partial(scan_song, pool, part, spec)
        looked = memory.look(part, look) if memory else look()
        return Song(
            entry=number,
            song=entry.song,
            path=entry.path,
            genre=entry.genre,
            artist=entry.artist or looked.artist,
            split=entry.split,
            sha256=looked.sha256,
            start_seconds=part.start_seconds,
            end_seconds=part.end_seconds,
            seconds=looked.seconds,
            subgenre=entry.subgenre,
            licence=_licence(entry),
        )
    except AudioError as error:
        return reject(error.reason, error.sentence)
    finally:
        progress.advance("catalog")


def _licence(entry: Entry) -> str:
    told = {name.lower(): text.strip() for name, text in entry.extras.items()}
    return told.get("licence") or told.get("license") or told.get("licencia") or ""


def _in_utf8(name: str) -> str:
    """Write out the bytes of a file's name that are no UTF-8, so that manifests can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _without_duplicates(outcomes: Iterable[Song | Rejected]) -> tuple[tuple[Song, ...], tuple[Rejected, ...]]:
    songs: list[Song] = []
    rejected: list[Rejected] = []
    first: dict[tuple[str, float, float | None], Song] = {}
    for outcome in outcomes:
        if isinstance(outcome, Rejected):
            rejected.append(outcome)
            continue
        same = first.setdefault((outcome.sha256, outcome.start_seconds, outcome.end_seconds), outcome)
        if same is outcome:
            songs.append(outcome)
        else:
            detail = f"the same bytes as {same.song}"
            duplicate = Rejected(outcome.song, outcome.path, Reason.DUPLICATE.value, detail, outcome.entry, same.song)
            rejected.append(duplicate)
    return tuple(songs), tuple(sorted(rejected, key=lambda item: item.song))


FIXED = "fixed"
"""The split method that keeps the test songs of the first split drawn so, see `fixed_tests`."""

MANIFEST_COLUMNS = (
    "entry",
    "song",
    "path",
    "genre",
    "artist",
    "sha256",
    "start",
    "end",
    "seconds",
    "first",
    "fragments",
)
"""Columns of a split's manifest.

`first` is the number of the part's first fragment in its song; `fragments` lists indexes in the part, empty means all.
"""


Folder = TypeVar("Folder", bound=Place)


def write_manifests(
    catalog: Catalog,
    folder: Folder,
    *,
    genres: Sequence[str],
    protocol: str,
    seed: int,
    spec: MelSpec,
    method: str = "stratified",
) -> Folder:
    """Split a catalog and write one CSV per split, `rejected.csv`, `schema.pbtxt` and `catalog.json`.

    Parameters
    ----------
    catalog : Catalog
        The library.
    folder : Place
        Where the manifests' folder is made.
    genres : sequence of str
        The run's genres, in the order of the labels.
    protocol : str
        How to split, see `splits.PROTOCOLS`.
    seed : int
        Changes who goes where.
    spec : MelSpec
        Gives the fragments' length.
    method : str
        One of `splits.METHODS`, `GIVEN` for the library's own splits, whatever the protocol, or `FIXED`: stratified
        when it is drawn first; from then on songs that come are for train and val, but for genres without test songs.

    Returns
    -------
    manifests : Place
        ``folder/<digest>``; an equal catalog gives the same folder, untouched.

    Raises
    ------
    ValueError
        If a genre has too few songs, or a fixed split is not by song or has lost its test songs.
    """
    if method == FIXED and protocol != "song":
        raise ValueError(f"Expected to split by song where the test songs are fixed. Received: protocol={protocol!r}")
    counts: dict[str, dict[str, int]] = {genre: {} for genre in genres}
    firsts: list[int] = []
    for song in catalog.songs:
        first = counts[song.genre].get(song.song, 0)
        firsts.append(first)
        counts[song.genre][song.song] = first + fragment_count(song.seconds, spec)
    artists = {song.song: song.artist for song in catalog.songs}
    if method == GIVEN:
        assignment = given_splits(counts, ((song.song, song.split) for song in catalog.songs))
    elif method == FIXED:
        fixed = fixed_tests.draw(counts, {_content(song): song.song for song in catalog.songs}, folder, seed)
        assignment = fixed.assignment
    else:
        assignment = split_songs(counts, protocol, seed, method=method, artists=artists)
    texts = {f"{split}.csv": _manifest(catalog, firsts, assignment[split], protocol, spec) for split in SPLITS}
    texts["schema.pbtxt"] = schema_text(genres)
    names = [field.name for field in dataclasses.fields(Rejected)]
    texts["rejected.csv"] = write_csv(names, map(dataclasses.astuple, catalog.rejected))
    description = {
        "library": catalog.name,
        "synthetic": catalog.synthetic,
        "found": catalog.found,
        "genres": list(genres),
        "protocol": protocol,
        "method": method,
        "artists_on_two_sides": artists_on_two_sides(assignment, artists),
        "leaky": leaks(protocol, method),
        "seed": seed,
    }
    licences = collections.Counter({song.song: song.licence for song in catalog.songs}.values())
    if licences.keys() - {""}:
        description["licences"] = dict(sorted(licences.items()))
    if catalog.folded:
        description["folded"] = [folded.sentence for folded in catalog.folded]
    texts["catalog.json"] = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    target = folder / digest
    write_whole_folder(target, texts)
    if method == FIXED:
        fixed_tests.keep(fixed, texts["test.csv"], folder)
    return target  # type: ignore[return-value] # what is below a path is a path, below an address an address


def _content(song: Song) -> fixed_tests.Content:
    """Tell what is heard, as a manifest tells it: the file's hash, begin and end."""
    return song.sha256, str(song.start_seconds), "" if song.end_seconds is None else str(song.end_seconds)


def _manifest(
    catalog: Catalog, firsts: Sequence[int], members: Mapping[str, Sequence[int]], protocol: str, spec: MelSpec
) -> str:
    rows: list[Sequence[object]] = []
    for song, first in zip(catalog.songs, firsts, strict=True):
        if song.song not in members:
            continue
        fragments = ""
        if protocol == "fragment":
            own = range(first, first + fragment_count(song.seconds, spec))
            fragments = " ".join(str(index - first) for index in members[song.song] if index in own)
            if not fragments:
                continue
        rows.append(
            (
                song.entry,
                song.song,
                song.path,
                song.genre,
                song.artist,
                *_content(song),
                song.seconds,
                first,
                fragments,
            )
        )
    return write_csv(MANIFEST_COLUMNS, rows)
