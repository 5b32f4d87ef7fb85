"""Tags are written without harm: the sound, the other tags and, where anything goes wrong, the whole file stay."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import mutagen
import mutagen.apev2
import mutagen.asf
import mutagen.flac
import mutagen.id3
import numpy as np
import pytest
import soundfile

from tests.sounds import decode
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
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=44_100, layout="stereo")
        stream.bit_rate = 128_000
        planes = np.ascontiguousarray(SOUND.T)
        resampler = av.AudioResampler(format=stream.codec_context.codec.audio_formats[0].name, layout="stereo")
        for start in range(0, 40 * 1_024, 1_024):
            frame = av.AudioFrame.from_ndarray(planes[:, start : start + 1_024], format="fltp", layout="stereo")
            frame.rate, frame.pts = 44_100, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


WRITERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("song.mp3", "song.flac", "song.ogg", "song.opus", "song.wav", "song.aiff"), by_libsndfile),
    "aac.m4a": lambda path: by_libav(path, "aac"),
    "alac.m4a": lambda path: by_libav(path, "alac"),
    "song.wma": lambda path: by_libav(path, "wmav2"),
    "song.wv": lambda path: by_libav(path, "wavpack"),
}


def dress(path: Path) -> None:
    """Give a file tags of every kind that its format knows, but no genre."""
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    tags = file.tags
    if isinstance(tags, mutagen.id3.ID3):
        tags.add(mutagen.id3.TPE1(text=["Celia Cruz", "La Sonora Matancera"]))
        tags.add(mutagen.id3.TIT2(encoding=3, text=["Químbara 🎺"]))
        tags.add(mutagen.id3.TXXX(encoding=3, desc="ñ", text=["own", "words"]))
        tags.add(mutagen.id3.TDRC(text=["1974-05"]))
        tags.add(mutagen.id3.APIC(mime="image/jpeg", type=3, desc="cover", data=PICTURE))
        tags.add(mutagen.id3.PRIV(owner="someone", data=b"\0\1\xff"))
    elif isinstance(tags, mutagen.asf.ASFTags):
        tags["Author"], tags["Title"] = ["Celia Cruz"], ["Químbara 🎺"]
        tags["WM/Picture"] = mutagen.asf.ASFByteArrayAttribute(PICTURE)
        tags["WM/Year"] = ["1974"]
    elif isinstance(tags, mutagen.apev2.APEv2):
        tags["Artist"], tags["Title"], tags["Own"] = "Celia Cruz", "Químbara 🎺", ["one", "two"]
        tags["Cover Art (Front)"] = mutagen.apev2.APEValue(PICTURE, mutagen.apev2.BINARY)
    elif path.suffix == ".m4a":
        file["\xa9ART"], file["\xa9nam"], file["trkn"], file["tmpo"] = ["Celia Cruz"], ["Químbara 🎺"], [(3, 9)], [180]
        file["covr"] = [mutagen.mp4.MP4Cover(PICTURE, mutagen.mp4.MP4Cover.FORMAT_JPEG)]
        file["----:com.apple.iTunes:own"] = [b"words"]
    else:
        file["artist"], file["title"] = ["Celia Cruz", "La Sonora Matancera"], ["Químbara 🎺"]
        file["own"] = ["words"]
        if isinstance(file, mutagen.flac.FLAC):
            picture = mutagen.flac.Picture()
            picture.data, picture.mime = PICTURE, "image/jpeg"
            file.add_picture(picture)
    file.save()


def raw_tags(path: Path) -> list[tuple[str, str]]:
    """Read all tags but the genre, not by the code under test."""
    tags = mutagen.File(path).tags
    pairs = tags if isinstance(tags, list) else tags.items()
    return sorted((key, repr(value)) for key, value in pairs if key.lower() not in GENRE_KEYS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def tagger() -> Iterator[Tagger]:
    """Write genres where there are none."""
    with Tagger(overwrite=False) as tagger:
        yield tagger


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a song with many tags in each format."""
    folder = tmp_path_factory.mktemp("originals")
    for name, write in WRITERS.items():
        write(folder / name)
        dress(folder / name)
    return folder


@pytest.fixture
def song(originals: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Copy a song: of the format that a test asks for, else a flac."""
    name = getattr(request, "param", "song.flac")
    path = tmp_path / name
    path.write_bytes((originals / name).read_bytes())
    return path


@pytest.mark.parametrize("song", WRITERS, indirect=True)
def test_audio_and_other_tags_are_unchanged_in_every_format(song: Path, tagger: Tagger) -> None:
    sound, tags, packets = decode(song, 44_100).samples, raw_tags(song), coded(song)
    assert len(tags) >= 3
    assert tagger.write(song, "salsa") == Tagging(Outcome.WRITTEN)
    assert TaggedFile(song).genres == ["Salsa"]
    assert np.array_equal(decode(song, 44_100).samples, sound)
    assert coded(song) == packets
    assert raw_tags(song) == tags
    assert artist_and_title(song) == ("Celia Cruz", "Químbara 🎺")
    assert names(song.parent) == [song.name]
    assert tagger.write(song, "salsa") == Tagging(Outcome.SAME)
    assert tagger.write(song, "cumbia").outcome is Outcome.KEPT
    assert TaggedFile(song).genres == ["Salsa"]


def coded(path: Path) -> list[bytes]:
    """Give the coded sound as the container holds it."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0)]


@pytest.mark.parametrize("name", ["song.mp3", "song.flac", "aac.m4a", "song.wav"])
def test_a_file_without_any_tags_gets_one(tmp_path: Path, tagger: Tagger, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    sound = decode(path, 44_100).samples
    assert tagger.write(path, "vallenato").outcome is Outcome.WRITTEN
    assert TaggedFile(path).genres == ["Vallenato"]
    assert np.array_equal(decode(path, 44_100).samples, sound)


def test_a_genre_is_replaced_only_with_overwrite(song: Path, tagger: Tagger) -> None:
    file = mutagen.File(song)
    file["genre"] = ["Rock", "Pop"]
    file.save()
    content = song.read_bytes()
    assert tagger.write(song, "salsa") == Tagging(Outcome.KEPT, "has the genre Rock, Pop in its tags")
    assert song.read_bytes() == content
    with Tagger(overwrite=True) as overwriting:
        assert overwriting.write(song, "salsa").outcome is Outcome.WRITTEN
    assert mutagen.File(song)["genre"] == ["Salsa"]


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


@pytest.mark.parametrize(("genre", "number"), [("salsa", 143), ("vallenato", 255)])
@pytest.mark.parametrize("song", ["song.mp3"], indirect=True)
def test_only_the_genre_of_an_id3v1_block_changes(song: Path, tagger: Tagger, genre: str, number: int) -> None:
    block = b"TAG" + b"An older title".ljust(124, b" ")
    song.write_bytes(song.read_bytes() + block + b"\xff")
    assert tagger.write(song, genre).outcome is Outcome.WRITTEN
    assert song.read_bytes()[-128:] == block[:127] + bytes([number])


def test_formats_without_tags_are_unchanged(tmp_path: Path, tagger: Tagger) -> None:
    path = tmp_path / "song.aac"
    by_libav(path, "aac")
    content = path.read_bytes()
    assert tagger.write(path, "salsa").outcome is Outcome.IMPOSSIBLE
    assert path.read_bytes() == content
    assert names(tmp_path) == ["song.aac"]


def test_permissions_are_kept_and_the_time_is_new(song: Path, tagger: Tagger) -> None:
    song.chmod(0o640)
    os.utime(song, (1_000_000_000, 1_000_000_000))
    assert tagger.write(song, "salsa").outcome is Outcome.WRITTEN
    assert stat.S_IMODE(song.stat().st_mode) == 0o640
    assert song.stat().st_mtime > 1_700_000_000


def test_a_link_stays_a_link(song: Path, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link.flac"
    link.symlink_to(song)
    assert tagger.write(link, "salsa").outcome is Outcome.WRITTEN
    assert link.is_symlink()
    assert TaggedFile(song).genres == ["Salsa"]


def test_read_only_files_and_hard_links_are_unchanged(song: Path, tagger: Tagger) -> None:
    content = song.read_bytes()
    song.chmod(0o444)
    assert tagger.write(song, "salsa") == Tagging(Outcome.FAILED, "was not tagged: it is read-only")
    song.chmod(0o644)
    os.link(song, song.with_name("second.flac"))
    assert "2 names (hard links)" in tagger.write(song, "salsa").sentence
    assert song.read_bytes() == content
    assert names(song.parent) == ["second.flac", "song.flac"]


def write(song: Path) -> Tagging:
    """Tag in this process, where functions can be replaced."""
    return [item for item in write_genre(song, "Salsa", False) if item is not None][-1]


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
        with file._path.open("r+b") as copy:
            copy.seek(-2_000, os.SEEK_END)
            copy.write(bytes(1_000))

    def spoil_tags(file: TaggedFile, genre: str) -> None:
        save(file, genre)
        tags = mutagen.File(file._path)
        tags["artist"] = ["Someone else"]
        tags.save()

    for spoil, said in ((spoil_sound, "its audio"), (spoil_tags, "its other tags")):
        monkeypatch.setattr(TaggedFile, "save", spoil)
        assert said in write(song).sentence
        assert song.read_bytes() == content
        assert names(song.parent) == [song.name]


def test_a_file_that_changes_meanwhile_is_not_replaced(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(*_: object) -> None:
        song.write_bytes(b"someone else's work")

    monkeypatch.setattr(os, "chown", touch)
    assert "changed meanwhile" in write(song).sentence
    assert song.read_bytes() == b"someone else's work"


def test_a_damaged_file_is_unchanged(tmp_path: Path, tagger: Tagger) -> None:
    path = tmp_path / "broken.flac"
    path.write_bytes(b"fLaC" + bytes(200))
    assert tagger.write(path, "salsa").outcome is Outcome.FAILED
    assert path.read_bytes() == b"fLaC" + bytes(200)


KILLED_AT = ["shutil.copyfile", "mutagen.flac.FLAC.save", "os.fsync", "pathlib.Path.replace"]


@pytest.mark.parametrize("function", KILLED_AT)
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
