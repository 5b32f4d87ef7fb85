from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mutagen
import mutagen.flac
import mutagen.id3
import numpy as np
import pytest
import soundfile

from tests.sounds import decode, write_libav
from tumbao.components.ingest.tags import artist_and_title
from tumbao.serving.classify.tags import Outcome, TaggedFile, Tagger, Tagging, write_genre

SOUND = (0.1 * np.random.default_rng(0).standard_normal((44_100, 2))).astype(np.float32)
GENRE_KEYS = ("tcon", "\xa9gen", "wm/genre", "genre")
PICTURE = b"\xff\xd8 a picture \xff\xd9" * 40


def by_libsndfile(path: Path) -> None:
    form, subtype = {".opus": ("OGG", "OPUS"), ".aiff": ("AIFF", "PCM_16"), ".ogg": ("OGG", "VORBIS")}.get(
        path.suffix, (None, None)
    )
    soundfile.write(path, SOUND, 48_000 if subtype == "OPUS" else 44_100, format=form, subtype=subtype)


def by_libav(path: Path, codec: str) -> None:
    write_libav(path, SOUND[:, 0], 44_100, codec, {"alac": "s16p", "flac": "s16"}.get(codec, ""))


WRITERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("song.mp3", "song.flac", "song.ogg", "song.opus", "song.wav", "song.aiff"), by_libsndfile),
    "aac.m4a": lambda path: by_libav(path, "aac"),
    "alac.m4a": lambda path: by_libav(path, "alac"),
    "song.wma": lambda path: by_libav(path, "wmav2"),
    "song.wv": lambda path: by_libav(path, "wavpack"),
}


def dress(path: Path) -> None:
    """Write artist, title, and a picture in formats with ID3 tags."""
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, mutagen.id3.ID3):
        file.tags.add(mutagen.id3.TPE1(text=["Celia Cruz", "La Sonora Matancera"]))
        file.tags.add(mutagen.id3.TIT2(encoding=3, text=["Químbara 🎺"]))
        file.tags.add(mutagen.id3.TDRC(text=["1974-05"]))
        file.tags.add(mutagen.id3.APIC(mime="image/jpeg", type=3, desc="cover", data=PICTURE))
    else:
        artist, title = {".wma": ("Author", "Title"), ".m4a": ("\xa9ART", "\xa9nam")}.get(
            path.suffix, ("artist", "title")
        )
        file[artist], file[title] = ["Celia Cruz"], ["Químbara 🎺"]
    file.save()


def raw_tags(path: Path) -> list[tuple[str, str]]:
    """Read all tags except the genre with mutagen."""
    tags = mutagen.File(path).tags
    pairs = tags if isinstance(tags, list) else tags.items()
    return sorted((key, repr(value)) for key, value in pairs if key.lower() not in GENRE_KEYS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def tagger() -> Iterator[Tagger]:
    with Tagger(overwrite=False) as tagger:
        yield tagger


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for name, write in WRITERS.items():
        write(folder / name)
        dress(folder / name)
    return folder


@pytest.fixture
def song(originals: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name = getattr(request, "param", "song.flac")
    path = tmp_path / name
    path.write_bytes((originals / name).read_bytes())
    return path


@pytest.mark.parametrize("song", WRITERS, indirect=True)
def test_audio_and_other_tags_are_unchanged_in_every_format(song: Path, tagger: Tagger) -> None:
    sound, tags = decode(song, 44_100).samples, raw_tags(song)
    assert tagger.write(song, "salsa") == Tagging(Outcome.WRITTEN)
    assert TaggedFile(song).genres == ["Salsa"]
    assert np.array_equal(decode(song, 44_100).samples, sound)
    assert raw_tags(song) == tags
    assert artist_and_title(song) == ("Celia Cruz", "Químbara 🎺")
    assert names(song.parent) == [song.name]
    assert tagger.write(song, "salsa") == Tagging(Outcome.SAME)
    assert tagger.write(song, "cumbia").outcome is Outcome.KEPT
    assert TaggedFile(song).genres == ["Salsa"]


@pytest.mark.parametrize("name", ["song.mp3", "song.flac", "aac.m4a", "song.wav", "WAVEX.wav"])
def test_a_file_without_any_tags_gets_one(tmp_path: Path, tagger: Tagger, name: str) -> None:
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path)
    else:
        soundfile.write(path, np.resize([0.1, -0.1], 44_101), 44_100, format=path.stem, subtype="PCM_24")
    sound = decode(path, 44_100).samples
    assert tagger.write(path, "vallenato").outcome is Outcome.WRITTEN
    assert TaggedFile(path).genres == ["Vallenato"]
    assert np.array_equal(decode(path, 44_100).samples, sound)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("song", ["song.mp3"], indirect=True)
def test_id3_keeps_its_version_and_its_lists(song: Path, tagger: Tagger, version: int) -> None:
    tags = mutagen.id3.ID3(song)
    if version == 3:
        tags.update_to_v23()
    tags.save(song, v2_version=version, v23_sep=None)
    before = mutagen.id3.ID3(song, translate=False)
    assert tagger.write(song, "salsa").outcome is Outcome.WRITTEN
    after = mutagen.id3.ID3(song, translate=False)
    assert after.version[:2] == before.version[:2] == (2, version)
    assert after.keys() - before.keys() == {"TCON"}
    assert {key: after[key].pprint() for key in before} == {key: before[key].pprint() for key in before}


def test_permissions_and_links_are_kept_and_the_time_is_new(song: Path, tagger: Tagger, tmp_path: Path) -> None:
    song.chmod(0o640)
    os.utime(song, (1_000_000_000, 1_000_000_000))
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link.flac"
    link.symlink_to(song)
    assert tagger.write(link, "salsa").outcome is Outcome.WRITTEN
    assert link.is_symlink()
    assert TaggedFile(song).genres == ["Salsa"]
    assert stat.S_IMODE(song.stat().st_mode) == 0o640
    assert song.stat().st_mtime > 1_700_000_000


def test_read_only_files_and_hard_links_are_unchanged(song: Path, tagger: Tagger) -> None:
    content = song.read_bytes()
    song.chmod(0o444)
    assert tagger.write(song, "salsa") == Tagging(Outcome.FAILED, "was not tagged: it is read-only")
    song.chmod(0o644)
    os.link(song, song.with_name("second.flac"))
    assert "2 names (hard links)" in tagger.write(song, "salsa").sentence
    assert song.read_bytes() == content
    assert names(song.parent) == ["second.flac", "song.flac"]


def write(song: Path, genre: str = "Salsa", overwrite: bool = False) -> Tagging:
    """Tag in this process, so that functions can be replaced."""
    return [item for item in write_genre(song, genre, overwrite) if item is not None][-1]


@pytest.mark.parametrize("function", ["shutil.copyfile", "os.chown", "os.fsync", "pathlib.Path.replace"])
def test_the_original_is_unchanged_after_an_error(song: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    content = song.read_bytes()
    monkeypatch.setattr(function, fail)
    assert write(song) == Tagging(Outcome.FAILED, "was not tagged: No space left on device")
    assert song.read_bytes() == content
    assert names(song.parent) == [song.name]


def test_a_copy_with_other_audio_or_tags_is_deleted(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, save = song.read_bytes(), TaggedFile.save

    def spoil_sound(file: TaggedFile, genre: str) -> None:
        save(file, genre)
        with Path(file._file.filename).open("r+b") as copy:
            copy.seek(-2_000, os.SEEK_END)
            copy.write(bytes(1_000))

    def spoil_tags(file: TaggedFile, genre: str) -> None:
        save(file, genre)
        tags = mutagen.File(file._file.filename)
        tags["artist"] = ["Someone else"]
        tags.save()

    for spoil, reason in ((spoil_sound, "its audio"), (spoil_tags, "its other tags")):
        monkeypatch.setattr(TaggedFile, "save", spoil)
        assert reason in write(song).sentence
        assert song.read_bytes() == content
        assert names(song.parent) == [song.name]


def test_a_file_that_changes_meanwhile_is_not_replaced(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(*_: object) -> None:
        song.write_bytes(b"someone else's work")

    monkeypatch.setattr(os, "chown", touch)
    assert "changed meanwhile" in write(song).sentence
    assert song.read_bytes() == b"someone else's work"


@pytest.mark.parametrize("function", ["shutil.copyfile", "mutagen.flac.FLAC.save", "os.fsync", "pathlib.Path.replace"])
def test_a_killed_process_leaves_a_complete_file(song: Path, tagger: Tagger, function: str) -> None:
    content = song.read_bytes()
    module, _, name = function.rpartition(".")
    program = f"""if True:
        import os, signal, pathlib, shutil, mutagen.flac
        from tumbao.serving.classify.tags import write_genre
        function = {module}.{name}
        def die(*arguments, **named):
            function(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        {module}.{name} = die
        list(write_genre({str(song)!r}, "Salsa", False))
    """
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    replaced = function == "pathlib.Path.replace"
    assert (song.read_bytes() == content) is not replaced
    assert tagger.write(song, "salsa").outcome is (Outcome.SAME if replaced else Outcome.WRITTEN)
    assert names(song.parent) == [song.name]
    assert TaggedFile(song).genres == ["Salsa"]


def id3v1(number: int) -> bytes:
    return b"TAG" + b"An older title".ljust(30, b"\0") + b"Celia Cruz".ljust(30, b"\0") + bytes(64) + bytes([number])


def mp3(path: Path, genre: str = "", number: int | None = None) -> None:
    """Write an mp3 with a genre in ID3v2, or a number of one in ID3v1, or both."""
    by_libsndfile(path)
    if genre:
        tags = mutagen.id3.ID3()
        tags.add(mutagen.id3.TPE1(encoding=1, text=["Celia Cruz"]))
        tags.add(mutagen.id3.TCON(encoding=1, text=[genre]))
        tags.save(path, v1=0, v2_version=3)
    if number is not None:
        with path.open("ab") as file:
            file.write(id3v1(number))


def mp3_with_v22(path: Path) -> None:
    by_libsndfile(path)
    frames = b"".join(
        name + struct.pack(">I", len(text) + 1)[1:] + b"\0" + text
        for name, text in ((b"TT2", b"Quimbara"), (b"TP1", b"Celia Cruz"), (b"TCO", b"(17)"))
    )
    path.write_bytes(b"ID3\2\0\0" + bytes([0, 0, len(frames) >> 7, len(frames) & 127]) + frames + path.read_bytes())


def with_genres(path: Path) -> None:
    WRITERS["song.flac" if path.suffix == ".flac" else "aac.m4a"](path)
    file = mutagen.File(path)
    artist, genre = ("artist", "genre") if path.suffix == ".flac" else ("\xa9ART", "\xa9gen")
    file[artist], file[genre] = "Celia Cruz", ["Rock", "Pop"]
    file.save()


def wav_with_info(path: Path) -> None:
    by_libsndfile(path)
    info = (
        b"INFO" + struct.pack("<4sI", b"IGNR", 5) + b"Rock\0\0" + struct.pack("<4sI", b"IART", 11) + b"Celia Cruz\0\0"
    )
    whole = path.read_bytes() + struct.pack("<4sI", b"LIST", len(info)) + info
    path.write_bytes(whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:])


TAGGED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mp3 with ID3v2 and ID3v1": ("a.mp3", lambda path: mp3(path, "Rock", 13)),
    "mp3 with ID3v1 alone": ("a.mp3", lambda path: mp3(path, number=17)),
    "mp3 with ID3v2.2": ("a.mp3", mp3_with_v22),
    "flac": ("a.flac", with_genres),
    "m4a": ("a.m4a", with_genres),
}


@pytest.mark.parametrize("kind", TAGGED)
def test_an_existing_genre_is_replaced_only_with_overwrite(tmp_path: Path, kind: str) -> None:
    name, make = TAGGED[kind]
    path = tmp_path / name
    make(path)
    content, sound = path.read_bytes(), decode(path, 44_100).samples
    kept = write(path, "Salsa", overwrite=False)
    assert kept.outcome is Outcome.KEPT, kept
    assert "Rock" in kept.sentence
    assert path.read_bytes() == content
    assert write(path, "Salsa", overwrite=True) == Tagging(Outcome.WRITTEN)
    assert TaggedFile(path).genres == ["Salsa"]
    if content[-128:].startswith(b"TAG"):
        assert path.read_bytes()[-1] == 143
    np.testing.assert_array_equal(decode(path, 44_100).samples, sound)
    assert artist_and_title(path)[0] == "Celia Cruz"
    assert write(path, "Salsa", overwrite=True) == Tagging(Outcome.SAME)


def test_the_number_of_other_is_not_a_genre(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    mp3(path, number=12)
    assert write(path, "Cumbia Sabanera") == Tagging(Outcome.WRITTEN)
    assert path.read_bytes()[-128:].startswith(id3v1(12)[:60])
    assert path.read_bytes()[-1] == 255


def test_another_spelling_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    mp3(path, "SALSA ")
    content = path.read_bytes()
    assert write(path, "Salsa", overwrite=False) == Tagging(Outcome.SAME)
    assert path.read_bytes() == content
    assert write(path, "Salsa", overwrite=True) == Tagging(Outcome.WRITTEN)
    assert TaggedFile(path).genres == ["Salsa"]


def streamed_wav(path: Path) -> None:
    by_libsndfile(path)
    path.write_bytes(path.read_bytes().replace(b"data" + struct.pack("<I", 176_400), b"data\xff\xff\xff\xff"))


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("a.mkv", lambda path: by_libav(path, "flac"), "cannot be tagged: its format has no tags"),
        ("a.aac", lambda path: by_libav(path, "aac"), "cannot be tagged: its format has no tags"),
        ("a.wav", wav_with_info, "its INFO list has another genre"),
        ("a.wav", streamed_wav, "was not tagged"),
        ("a.flac", lambda path: path.write_bytes(b"fLaC" + bytes(200)), "was not tagged"),
    ],
    ids=["mkv", "aac", "INFO list", "streamed wav", "damaged"],
)
def test_files_that_cannot_be_tagged_are_unchanged(
    tmp_path: Path, name: str, make: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / name
    make(path)
    content = path.read_bytes()
    assert sentence in write(path, "Salsa", overwrite=True).sentence
    assert path.read_bytes() == content
