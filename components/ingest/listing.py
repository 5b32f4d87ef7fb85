"""The songs that a library lists, before any file is opened; and the simplest layout, a folder of genre folders."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.paths import AnyPath, RemotePath, as_path, below, is_remote
from tumbao.schema.errors import UserError

LIBRARY_FILE = "library.json"
"""A file at the root of a library that describes it; `{"synthetic": true}` marks composed songs."""

SPLIT_NAMES: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Common names of a split → its name in `record.SPLITS`."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One song, or a part of one, as the library lists it; unknown strings are empty.

    `path` is absolute, or an address (see `paths.SCHEMES`). `song` is the identifier, the unit of split: the path below
    the library with forward slashes, unless the library defines another; entries of one song are parts of it. A start
    of None means the beginning of the file, an end of None its end. `extras` are the other columns of the library's
    table.

    `relative` marks a path that is written relative to a list: it has to stay in the library, see `is_outside`. `fault`
    says why there is nothing to open (a folder that cannot be listed, an invalid row). `subgenre` is used by
    `subgenres.scan_subgenres` only.
    """

    path: str
    song: str
    genre: str
    artist: str = ""
    album: str = ""
    split: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None
    extras: dict[str, str] = dataclasses.field(default_factory=dict)
    relative: bool = False
    fault: str = ""
    subgenre: str = ""
    fault_reason: Reason = Reason.UNREADABLE


@dataclasses.dataclass(frozen=True)
class SongList:
    """Every song and every fault of a library, and messages such as the number of files that are left out."""

    entries: list[Entry]
    notes: tuple[str, ...] = ()


def split_name(text: str) -> str:
    """Return the name of a split in `record.SPLITS` (`Validation` → `val`); empty if the text is not a split."""
    return SPLIT_NAMES.get(text.strip().lower(), "")


def is_outside(entry: Entry, root: AnyPath) -> bool:
    """Tell whether a relative path leads out of the library, through `..` or a link; such a file must not be opened.

    An absolute path in a list is intended by its author, and links in a folder by its owner: they are never outside.
    """
    if not entry.relative:
        return False
    if isinstance(root, RemotePath):
        return ".." in entry.path[len(root.text) :].split("/")
    real_root = os.path.realpath(root)  # not Path.resolve, which raises where links run in a circle
    return not Path(os.path.realpath(entry.path)).is_relative_to(real_root)


def one_path(path: str) -> str:
    """Return the same absolute path for all ways to name a file; one that is itself a link keeps its own path."""
    if is_remote(path):
        return path
    folder, name = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - Path.resolve raises where links run in a circle


def identifier(path: str, root: AnyPath) -> str:
    """Return a song's path below the library, or its whole path if it lies elsewhere."""
    if is_remote(path):
        return path.removeprefix(f"{root}/")
    plain = Path(os.path.normpath(path))
    if isinstance(root, RemotePath):
        return plain.as_posix()
    top = Path(os.path.normpath(root.absolute()))
    if plain.is_relative_to(top):
        return plain.relative_to(top).as_posix()
    real, real_top = Path(one_path(path)), Path(os.path.realpath(top))
    return (real.relative_to(real_top) if real.is_relative_to(real_top) else plain).as_posix()


def invalid_row(file: AnyPath, line: int, fault: str, name: str = "") -> Entry:
    """Return an entry with a fault for the row that begins in a line; `name` is the list's path below the library."""
    return Entry(
        path=f"{file}, line {line}",
        song=f"{name or file.name}, line {line}",
        genre="",
        fault=fault,
        fault_reason=Reason.INVALID_ROW,
    )


def read_folder(folder: AnyPath) -> SongList:
    """List a folder of `<genre>/file` or `<split>/<genre>/file`, with folders of any depth below the genre.

    Files are sorted by path and followed by faults for the folders that could not be listed.
    """
    root = folder.absolute()
    if not root.is_dir():
        raise UserError(
            f"Expected a folder with one folder of songs per genre. Received: {folder}, "
            f"which {'is no folder' if root.exists() else 'does not exist'}."
        )
    listing = walk(root)
    entries = [_found(path, root) for path in listing.files]
    for error in listing.unlisted:
        found = _found(as_path(error.filename), root)
        entries.append(dataclasses.replace(found, fault=f"cannot be listed: {error.strerror}"))
    line = left_out_line(kind for path, kind in listing.left_out.items() if path != root / LIBRARY_FILE)
    return SongList(entries, (line,) if line else ())


def _found(path: AnyPath, root: AnyPath) -> Entry:
    relative = below(path, root)
    folders = relative.parts[:-1]
    split = split_name(folders[0]) if folders else ""
    genre, subgenre, *_ = (*(folders[1:] if split else folders), "", "")
    return Entry(path=str(path), song=relative.as_posix(), genre=genre, subgenre=subgenre, split=split)


_SOUND = (
    ".3g2 .3gp .aac .ac3 .aif .aifc .aiff .alac .amr .ape .asf .au .avi .caf .dff .dsf .dts .flac .flv .m2ts .m4a .m4b "
    ".m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpc .mpeg .mpg .mpga .oga .ogg .ogv .opus .ra .rf64 .rm .snd .spx "
    ".tta .w64 .wav .wave .webm .wma .wmv .wv"
)
SOUND = frozenset(_SOUND.split())
"""Extensions of audio files: a file with one of them is always tried."""

_ENDINGS = {
    "document": ".asc .csv .doc .docx .epub .htm .html .ini .json .jsonl .lrc .md .nfo .ods .odt .pdf .ppt .pptx .rtf "
    ".srt .toml .tsv .txt .url .vtt .webloc .xls .xlsx .xml .yaml .yml",
    "picture": ".ai .avif .bmp .gif .heic .heif .ico .jfif .jpe .jpeg .jpg .png .psd .svg .tif .tiff .webp",
    "playlist": ".asx .cue .fpl .m3u .m3u8 .pls .wpl .xspf .zpl",
    "log or checksum": ".accurip .ffp .log .md5 .sfv .sha1 .sha256 .torrent",
    "archive": ".7z .bz2 .cab .dmg .gz .iso .lzma .rar .tar .tgz .xz .zip .zst",
    "score or project": ".als .asd .aup .aup3 .flp .kar .mid .midi .mscz .musicxml .pek .reapeaks .rpp .sf2 .sfk .sfz",
    "program or database": ".bat .db .dll .exe .js .lnk .py .sh .sqlite",
}
SIDECARS = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}
"""Extensions of other files found beside songs → kind of file. Such a file is tried if its content is audio."""

_DOWNLOADS = (
    ".!bt .!qb .!ut .aria2 .bc! .crdownload .download .downloading .fdmdownload .filepart .incomplete .opdownload "
    ".part .part.met .partial .ytdl"
)
_UNFINISHED = tuple(_DOWNLOADS.split())
_TEMPORARY = (".bak", ".swp", ".temp", ".tmp", "~")
_SYSTEM_FILES = frozenset((".ds_store", "desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"))
_SYSTEM_FOLDERS = frozenset(
    (
        *("#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "__macosx"),
        *("lost+found", "network trash folder", "recycled", "recycler", "system volume information", "temporary items"),
    )
)

_SOUND_BEGINS = re.compile(
    rb"ID3[\2-\4]|fLaC[\0\x80]|OggS\0|\x30\x26\xb2\x75|\x1aE\xdf\xa3|MAC [^ -~]|wvpk|MPCK|caff\0|\.snd\0"
    rb"|FORM....AIF|(RIFF|RF64|BW64)....WAVE"
    rb"|....ftyp(M4|mp4|iso|qt)|\xff[\xe2\xe3\xf2-\xf7\xfa-\xfd]|\xff[\xf0\xf1\xf8\xf9]",
    re.DOTALL,
)
_OTHER_BEGINS = {
    "document": rb"%PDF-|\xd0\xcf\x11\xe0|\xff\xfe|\xfe\xff",
    "picture": rb"\xff\xd8\xff|\x89PNG\r|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*",
    "archive": rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b\x08|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd",
    "score or project": rb"MThd",
    "program or database": rb"\x7fELF|MZ|SQLite format 3",
}
_PEEKED_BYTES = 512


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a folder, what is left out by its kind, and an error with its name for each folder not listed."""

    files: tuple[AnyPath, ...]
    left_out: dict[AnyPath, str]
    unlisted: tuple[OSError, ...]


def walk(folder: AnyPath) -> Listing:
    """List a folder of any depth; links are followed, and no folder is listed twice."""
    if isinstance(folder, RemotePath):
        return _walk_bucket(folder)
    files: list[AnyPath] = []
    left_out: dict[AnyPath, str] = {}
    unlisted: list[OSError] = []
    waiting = [(folder, os.path.realpath(folder))]
    seen: set[str] = set()
    while waiting:  # not os.walk, which recurses for each level
        place, real = waiting.pop()
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                found = list(entries)
        except OSError as error:
            unlisted.append(OSError(error.errno, error.strerror or str(error), str(place)))
            continue
        for entry in sorted(found, key=lambda one: one.name, reverse=True):
            path = place / entry.name
            is_folder = _is_folder(entry)
            if kind := left_out_kind(path, is_folder=is_folder):
                left_out[path] = kind
            elif not is_folder:
                files.append(path)
            elif entry.is_symlink():
                waiting.append((path, os.path.realpath(path)))
            else:
                waiting.append((path, os.path.join(real, entry.name)))  # noqa: PTH118
    return Listing(tuple(sorted(files)), left_out, tuple(sorted(unlisted, key=lambda error: str(error.filename))))


def left_out_kind(path: AnyPath, *, is_folder: bool = False) -> str:
    """Return the kind of a file or folder that is not searched for songs, such as `picture`; empty if it is searched.

    A file with an extension of `SOUND` is always tried. Of other files the first bytes are read: audio is tried
    whatever its name, text and pictures are left out. In a bucket only the name is checked.
    """
    name = path.name.casefold()
    if name in _SYSTEM_FOLDERS or name.startswith(".trash"):
        return "system folder" if is_folder else "system file"
    if name in _SYSTEM_FILES or name.startswith("._"):
        return "system file"
    if name.endswith((".download", ".crdownload") if is_folder else _UNFINISHED) or ".part-frag" in name:
        return "unfinished download"
    if not is_folder and (name.endswith(_TEMPORARY) or name.startswith("~$")):
        return "temporary file"
    if name.startswith("."):
        return "hidden folder" if is_folder else "hidden file"
    ending = PurePath(name).suffix
    if is_folder or ending in SOUND:
        return ""
    if isinstance(path, RemotePath):
        return SIDECARS.get(ending, "")
    content = _first_bytes(path)
    if _SOUND_BEGINS.match(content):
        return ""
    return SIDECARS.get(ending) or _kind_of(content)


def left_out_line(kinds: Iterable[str]) -> str:
    """Count what is left out: `3 files and 1 folder left out: 2 pictures, 1 system folder, 1 unfinished download`."""
    counts = collections.Counter(kinds)
    if not counts:
        return ""
    folders = sum(count for kind, count in counts.items() if kind.endswith("folder"))
    totals = ((counts.total() - folders, "file"), (folders, "folder"))
    what = " and ".join(f"{count} {_plural(name, count)}" for count, name in totals if count)
    by_count = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return f"{what} left out: {', '.join(f'{count} {_plural(kind, count)}' for kind, count in by_count)}"


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else f"{kind.replace(' or ', 's or ')}s"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cycle of links
        return False


def _first_bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            return b""
        with path.open("rb") as file:
            return file.read(_PEEKED_BYTES)
    except OSError:
        return b""


def _kind_of(content: bytes) -> str:
    for kind, begins in _OTHER_BEGINS.items():
        if re.match(begins, content, re.DOTALL):
            return kind
    text = content.strip(b"\t\n\r\f\x1b")
    is_text = text and min(text) >= 0x20 and b"\x7f" not in text
    return "document" if is_text else ""


def _walk_bucket(folder: RemotePath) -> Listing:
    try:
        paths = folder.files_below()
    except OSError as error:
        return Listing((), {}, (error,))
    files: list[AnyPath] = []
    left_out: dict[AnyPath, str] = {}
    for path in paths:
        at = folder
        *folders, name = below(path, folder).parts
        for part in folders:
            at = at / part
            if kind := left_out_kind(at, is_folder=True):
                left_out[at] = kind
                break
        else:
            if kind := left_out_kind(at / name):
                left_out[path] = kind
            else:
                files.append(path)
    return Listing(tuple(files), left_out, ())
