"""An address is used like a path, and a library in a bucket is the same library as in a folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from tumbao.components.ingest.download_cache import cache_folder, cached_copy
from tumbao.components.ingest.formats import find_layout, read_library
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.components.ingest.listing import Entry, is_outside, walk
from tumbao.components.ingest.paths import AnyPath, RemotePath, as_path, below, local_copy
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

Upload = Callable[[Path], RemotePath]
WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process")


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Iterator[RemotePath]:
    """Give an empty folder of the file system in memory."""
    address = RemotePath(f"ram://bucket/{request.node.name}")
    yield address
    if address.exists():
        tf.io.gfile.rmtree(str(address))


@pytest.fixture
def upload(bucket: RemotePath) -> Upload:
    """Copy a folder of this machine into the bucket, where there are files and no folders."""

    def copy(folder: Path) -> RemotePath:
        for file in folder.rglob("*"):
            if file.is_file():
                (bucket / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())
        return bucket

    return copy


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (file := folder / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
    return folder


@pytest.mark.parametrize("text", ["gs://music/salsa/La rebelión.low.mp3", "gs://music/salsa", "gs://music"])
def test_an_address_has_the_parts_of_a_path(text: str) -> None:
    address, path = as_path(text), Path("/" + text.removeprefix("gs://"))
    assert isinstance(address, RemotePath)
    assert (address.name, address.suffix) == (path.name, path.suffix)
    assert str(address / "a.mp3") == text + "/a.mp3"
    assert (address / "a.mp3").parent == address == address.absolute()
    assert RemotePath("gs://music").parent == RemotePath("gs://music")


def test_text_without_a_scheme_is_a_path() -> None:
    assert as_path("gs:/music") == Path("gs:/music")
    assert as_path(Path("salsa")) == Path("salsa")
    assert as_path("gs://music/salsa//") == as_path("gs://music/salsa") == as_path(RemotePath("gs://music/salsa"))


def test_files_are_written_read_and_listed(bucket: RemotePath) -> None:
    file = bucket / "salsa" / "a [1]*.txt"
    assert not file.exists()
    file.write_bytes("canción\r\n".encode())
    assert file.exists() and file.is_file() and not file.is_dir()
    assert file.parent.is_dir() and not file.parent.is_file() and bucket.exists()
    assert file.read_text() == "canción\r\n"
    assert bucket.iterdir() == [bucket / "salsa"]
    assert bucket.glob("*/*.txt") == [file] == bucket.files_below()
    before = file.stat()
    assert before.st_size == 10
    file.write_bytes(b"another length")
    assert file.stat() != before


def test_a_missing_file_is_an_error_with_its_address(bucket: RemotePath) -> None:
    for fails in (
        lambda: (bucket / "none").read_bytes(),
        lambda: (bucket / "none").stat(),
        lambda: (bucket / "none").iterdir(),
        lambda: cached_copy(bucket / "none", "none"),
    ):
        with pytest.raises(FileNotFoundError, match="none") as info:
            fails()
        assert info.value.filename == str(bucket / "none")


def test_without_tensorflow_an_address_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    with pytest.raises(ValueError, match=r"Expected TensorFlow .* Received: gs://music/a\.mp3, and a light install"):
        RemotePath("gs://music/a.mp3").read_bytes()


def test_characters_of_glob_patterns_in_names_are_escaped(bucket: RemotePath) -> None:
    for name in ("sal*sa", "saloonsa", r"[a]", "a", r"b\c"):
        (bucket / name / "deep" / "song.mp3").write_bytes(b"")
    for name in ("sal*sa", r"[a]", r"b\c"):
        assert (bucket / name).files_below() == [bucket / name / "deep" / "song.mp3"]


def test_local_copies_are_deleted_and_cached_ones_stay(
    bucket: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    (bucket / "model" / "assets" / "a.txt").write_bytes(b"a")
    (bucket / "model" / "b.txt").write_bytes(b"b")
    with local_copy(bucket / "model" / "b.txt") as copy:
        assert copy.read_bytes() == b"b"
    assert not copy.exists()
    folder = cached_copy(bucket / "model", "models/1")
    assert folder == cache_folder() / "models" / "1"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt")) == ["assets/a.txt", "b.txt"]
    (bucket / "model" / "b.txt").write_bytes(b"another")
    assert (cached_copy(bucket / "model", "models/1") / "b.txt").read_bytes() == b"b"
    assert list((tmp_path / "cache" / "models").iterdir()) == [folder]
    assert cached_copy(tmp_path, "unused") == tmp_path


LIBRARIES = {
    "folder": {"salsa/Celia Cruz/a b.mp3": "", "train/cumbia/c.mp3": "", "salsa/cover.jpg": "", "salsa/.hidden/x": ""},
    "manifest": {
        "songs.csv": "file_name,genre,artist\nsalsa/'a.mp3,salsa,Celia\n../b.mp3,cumbia,\n",
        "salsa/'a.mp3": "",
    },
    "audiofolder": {
        "train/metadata.jsonl": '{"file_name": "a.mp3", "genre": "salsa"}\n{"file_name": "none.mp3", "genre": "x"}',
        "train/a.mp3": "",
        "train/b.mp3": "",
    },
    "fma": {
        "fma_metadata/tracks.csv": (
            ",album,artist,track,track,track,set,set\n,title,name,genre_top,genres,title,split,subset\ntrack_id,,,,,,,\n"
            "2,An album,An artist,Salsa,[9],A title,training,small\n"
        ),
        "fma_metadata/genres.csv": "genre_id,title\n9,Latin\n",
        "fma_small/000/000002.mp3": "",
    },
    "jamendo": {
        "data/autotagging_genre.tsv": (
            "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
            "track_14\tartist_1\talbum_2\t14/14.mp3\t180.0\tgenre---salsa\n"
        ),
        "data/splits/split-0/autotagging_genre-test.tsv": (
            "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\ntrack_14\ta\tb\t14/14.mp3\t1\tgenre---salsa\n"
        ),
        "audio/14/14.mp3": "",
    },
}


@pytest.mark.parametrize("layout", LIBRARIES)
def test_each_layout_is_read_in_a_bucket_as_in_a_folder(layout: str, tmp_path: Path, upload: Upload) -> None:
    source: AnyPath = write(tmp_path / "library", **LIBRARIES[layout])
    remote: AnyPath = upload(tmp_path / "library")
    if layout == "manifest":
        source, remote = source / "songs.csv", remote / "songs.csv"

    def entries_of(library: AnyPath) -> list[Entry]:
        root = library.parent if layout == "manifest" else library
        return [
            dataclasses.replace(entry, path=str(below(as_path(entry.path), root)), song=entry.song.removeprefix("../"))
            for entry in read_library(library, "auto", ["salsa"]).entries
        ]

    here, there = entries_of(source), entries_of(remote)
    assert there == [
        dataclasses.replace(entry, song=there[n].song) if ".." in entry.path else entry for n, entry in enumerate(here)
    ]
    assert here


def test_the_layout_of_a_bucket_is_found_without_copying_its_songs(
    bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "salsa" / "a.mp3").write_bytes(b"")
    copied: list[RemotePath] = []
    copy_to = RemotePath.copy_to

    def noted(file: RemotePath, target: Path) -> None:
        copied.append(file)
        copy_to(file, target)

    monkeypatch.setattr(RemotePath, "copy_to", noted)
    assert find_layout(bucket) == "folder"
    assert all(file.suffix in {".csv", ".tsv"} for file in copied)


def test_paths_out_of_a_library_in_a_bucket_are_outside(bucket: RemotePath) -> None:
    (bucket / "library" / "songs.csv").write_bytes(b"file_name,genre\nsub/../../b.mp3,salsa\nsub/..b.mp3,salsa\n")
    outside, inside = read_library(bucket / "library" / "songs.csv").entries
    assert is_outside(outside, bucket / "library")
    assert not is_outside(inside, bucket / "library")


def test_a_folder_that_cannot_be_listed_is_an_error_of_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pattern: str) -> list[str]:
        raise tf.errors.PermissionDeniedError(None, None, "403")

    monkeypatch.setattr(tf.io.gfile, "glob", refuse)
    listing = walk(RemotePath("ram://bucket/library"))
    assert [(error.filename, error.strerror) for error in listing.unlisted] == [("ram://bucket/library", "403")]


def test_a_library_in_a_bucket_is_scanned_as_one_in_a_folder(
    tmp_path: Path, upload: Upload, write_song: WriteSong, small_spec: MelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    for genre in ("cumbia", "salsa"):
        write_song(library / genre / "0.wav", 5 + 3 * (genre == "salsa"))
        for number in (1, 2):
            shutil.copy(library / genre / "0.wav", library / genre / f"{number}.wav")
            with (library / genre / f"{number}.wav").open("ab") as file:
                file.write(bytes(number))
    (library / "salsa" / "text.mp3").write_text("la la la")
    (library / "library.json").write_text('{"synthetic": true}')
    remote = upload(library)
    cache = ScanCache(tmp_path / "scan_cache.sqlite", "0" * 16)
    here = scan(library, ["cumbia", "salsa"], small_spec)
    there = scan(remote, ["cumbia", "salsa"], small_spec, "folder", scan_cache=cache)
    assert there.synthetic and len(there.songs) == 6 and len(there.rejected) == 1

    def moved(path: str) -> str:
        return f"{remote}/{below(Path(path), library)}"

    assert there.songs == tuple(dataclasses.replace(song, path=moved(song.path)) for song in here.songs)
    assert there.rejected == tuple(dataclasses.replace(one, path=moved(one.path)) for one in here.rejected)
    fetched: list[str] = []

    def copy_to(file: RemotePath, target: Path) -> None:
        fetched.append(file.name)
        target.touch()

    monkeypatch.setattr(RemotePath, "copy_to", copy_to)
    assert scan(remote, ["cumbia", "salsa"], small_spec, "folder", scan_cache=cache).songs == there.songs
    assert fetched == ["text.mp3"]  # usable songs are in the cache


def test_manifests_in_a_bucket_equal_those_in_a_folder(
    tmp_path: Path, bucket: RemotePath, write_song: WriteSong, small_spec: MelSpec
) -> None:
    for number in range(3):
        write_song(tmp_path / "library" / "salsa" / f"{number}.wav", 5 + number)
    catalog = scan(tmp_path / "library", ["salsa"], small_spec)

    def write(folder: AnyPath) -> AnyPath:
        return write_manifests(catalog, folder, genres=["salsa"], split_by="song", seed=7, spec=small_spec)

    here = write(tmp_path / "catalogs")
    there = write(bucket / "catalogs")
    assert there == bucket / "catalogs" / here.name
    names = {f"{split}.csv" for split in SPLITS} | {"catalog.json", "rejected.csv", "schema.pbtxt"}
    assert {file.name: file.read_bytes() for file in there.iterdir()} == {
        file.name: file.read_bytes() for file in here.iterdir()
    }
    assert names == {file.name for file in there.iterdir()}
    tf.io.gfile.remove(str(there / "train.csv"))
    assert write(bucket / "catalogs") == there
    assert not (there / "train.csv").exists()  # a folder is complete once its last file exists
    tf.io.gfile.remove(str(there / "catalog.json"))
    write(bucket / "catalogs")
    assert (there / "train.csv").exists()
