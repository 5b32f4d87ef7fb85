"""Songs read by other processes: what is found, and what a file's faults are called."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.components.test_waveform import write_libav
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import Decoders, Part, read_unchanged
from tumbao.components.ingest.fragments import Fragments, read
from tumbao.components.ingest.isolation import DiedError, HungError
from tumbao.components.ingest.read_ahead import ReadAhead
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders() as started:
        yield started


@pytest.fixture
def song(tmp_path: Path, write_song: WriteSong) -> Path:
    return write_song(tmp_path / "song.wav", 13)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(items: Callable[[], object]) -> AudioError:
    with pytest.raises(AudioError) as caught:
        items()
    return caught.value


def test_a_look_tells_hash_length_and_artist(decoders: Decoders, tmp_path: Path, small_spec: MelSpec) -> None:
    import mutagen.flac

    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 8_000 * 9), 8_000)
    tags = mutagen.flac.FLAC(path)
    tags["artist"] = ["Los Gaiteros"]
    tags.save()
    looked = decoders.look(Part(str(path)), small_spec)
    assert (looked.sha256, looked.seconds, looked.artist) == (digest(path), 9, "Los Gaiteros")
    assert decoders.look(Part(str(path), 2, 8.5), small_spec).seconds == 6.5
    assert decoders.look(Part(str(path), 2, 100), small_spec).seconds == 7


def test_what_the_header_does_not_tell_is_decoded(
    decoders: Decoders, tmp_path: Path, small_spec: MelSpec, tone: Callable[..., np.ndarray]
) -> None:
    path = write_libav(tmp_path / "a.webm", tone(5, rate=48_000), 48_000, "libopus")
    content = path.read_bytes()
    marker = content.index(b"\x44\x89\x88")  # the duration, made unknown
    path.write_bytes(content[: marker + 3] + bytes(8) + content[marker + 11 :])
    assert decoders.look(Part(str(path)), small_spec).seconds == pytest.approx(5, abs=0.1)
    error = refusal(lambda: decoders.look(Part(str(path), 3.5), small_spec))
    assert (error.reason, error.path) == (Reason.TOO_SHORT, str(path))


def test_fragments_are_those_that_would_be_read_here(decoders: Decoders, song: Path, small_spec: MelSpec) -> None:
    here = list(Fragments(read(song, small_spec, 1, 11)))
    there = Fragments(decoders.read(Part(str(song), 1, 11), small_spec, digest(song)))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert (one.index, one.padded, one.silent) == (other.index, other.padded, other.silent)
    assert there.ending.seconds == 10


def test_another_content_than_was_looked_at_is_refused(decoders: Decoders, song: Path, small_spec: MelSpec) -> None:
    before = digest(song)
    content = bytearray(song.read_bytes())
    content[-1] ^= 1
    song.write_bytes(content)
    error = refusal(lambda: list(decoders.read(Part(str(song)), small_spec, before)))
    assert error.reason is Reason.CHANGED
    assert "has changed since the library was looked through: run again" in str(error)


@pytest.mark.parametrize("change", ["appended", "replaced", "deleted"])
def test_a_file_that_changes_while_it_is_read_is_refused(song: Path, small_spec: MelSpec, change: str) -> None:
    items = read_unchanged(Part(str(song)), small_spec, digest(song))
    next(item for item in items if item is not None)
    if change == "appended":
        with song.open("ab") as file:
            file.write(b"more")
    elif change == "replaced":
        other = song.with_name("other")
        other.write_bytes(song.read_bytes())
        other.replace(song)
    else:
        song.unlink()
    with pytest.raises((AudioError, FileNotFoundError)) as caught:
        list(items)
    if isinstance(caught.value, AudioError):
        assert caught.value.reason is Reason.CHANGED


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (DiedError("it died by signal SIGSEGV"), Reason.CRASHED, "crashes its decoder: it died by signal SIGSEGV"),
        (HungError("gave nothing for 60 s"), Reason.TIMED_OUT, "hangs its decoder, which gave nothing for 60 s"),
        (MemoryError(), Reason.DAMAGED, "is damaged: to decode it takes more than 1 GB of memory"),
        (OSError(5, "Input/output error"), Reason.UNREADABLE, "cannot be read: Input/output error"),
    ],
)
def test_what_befalls_a_decoder_is_the_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch, small_spec: MelSpec, error: Exception, reason: Reason, words: str
) -> None:
    def run(*_: object) -> Iterator[None]:
        raise error
        yield

    with Decoders() as decoders:
        monkeypatch.setattr(decoders._processes, "run", run)
        told = refusal(lambda: decoders.look(Part("a.mp3"), small_spec))
    assert (told.path, told.reason, told.sentence) == ("a.mp3", reason, words)


def test_songs_in_a_bucket_are_read_through_a_copy(decoders: Decoders, song: Path, small_spec: MelSpec) -> None:
    address = "ram://bucket/música/una canción.wav"
    tf.io.gfile.makedirs("ram://bucket/música")
    tf.io.gfile.copy(str(song), address, overwrite=True)
    looked = decoders.look(Part(address), small_spec)
    assert (looked.sha256, looked.seconds) == (digest(song), 13)
    assert len(list(Fragments(decoders.read(Part(address), small_spec, looked.sha256)))) == 3
    error = refusal(lambda: decoders.look(Part("ram://bucket/none.wav"), small_spec))
    assert (error.reason, error.path) == (Reason.UNREADABLE, "ram://bucket/none.wav")
    tf.io.gfile.copy(__file__, "ram://bucket/text.wav", overwrite=True)
    error = refusal(lambda: decoders.look(Part("ram://bucket/text.wav"), small_spec))
    assert (error.reason, error.path) == (Reason.UNSUPPORTED, "ram://bucket/text.wav")


def test_songs_are_read_ahead_in_order_and_errors_come_in_their_place(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    songs = [write_song(tmp_path / f"{number}.wav", 9 + 4 * number) for number in range(5)]
    songs.insert(2, write_song(tmp_path / "short.wav", 1))
    reading = ReadAhead()
    begun = [reading.read(Part(str(path)), small_spec, digest(path)) for path in songs]
    for path, one in zip(songs, begun, strict=True):
        if path.name == "short.wav":
            assert refusal(lambda one=one: list(one)).reason is Reason.TOO_SHORT  # type: ignore[misc]
        else:
            assert len(list(Fragments(one))) == int(path.stem) + 2
    reading.close()


def test_a_song_that_is_no_longer_wanted_stops_nobody(
    tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    long, short = write_song(tmp_path / "long.wav", 400), write_song(tmp_path / "short.wav", 9)
    reading = ReadAhead()
    begun = [reading.read(Part(str(long)), small_spec, digest(long)) for _ in range(2 * reading.decoders)]
    after = reading.read(Part(str(short)), small_spec, digest(short))
    next(iter(begun[0]))
    for one in begun:
        one.close()
    assert len(list(Fragments(after))) == 2
    reading.close()


def test_who_reads_ahead_leaves_nothing_behind(song: Path, small_spec: MelSpec) -> None:
    before = set(threading.enumerate())
    reading = ReadAhead()
    list(reading.read(Part(str(song)), small_spec, digest(song)))
    threads = set(threading.enumerate()) - before
    assert len(threads) == reading.decoders
    del reading
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
