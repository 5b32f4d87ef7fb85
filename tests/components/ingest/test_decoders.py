"""Songs are scanned and read in worker processes, and errors become reasons."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.sounds import write_libav
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, read_song, read_unchanged, scan_song
from tumbao.components.ingest.fragments import Fragments, read
from tumbao.components.ingest.worker_pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as started:
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


def test_a_scan_gives_hash_length_and_artist(pool: WorkerPool, tmp_path: Path, small_spec: MelSpec) -> None:
    import mutagen.flac

    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 8_000 * 9), 8_000)
    tags = mutagen.flac.FLAC(path)
    tags["artist"] = ["Los Gaiteros"]
    tags.save()
    scanned = scan_song(pool, AudioSegment(str(path)), small_spec)
    assert (scanned.sha256, scanned.seconds, scanned.artist) == (digest(path), 9, "Los Gaiteros")
    assert scan_song(pool, AudioSegment(str(path), 2, 8.5), small_spec).seconds == 6.5
    assert scan_song(pool, AudioSegment(str(path), 2, 100), small_spec).seconds == 7


def test_a_length_that_the_header_does_not_declare_is_decoded(
    pool: WorkerPool, tmp_path: Path, small_spec: MelSpec, tone: Callable[..., np.ndarray]
) -> None:
    path = write_libav(tmp_path / "a.webm", tone(5, rate=48_000), 48_000, "libopus")
    content = path.read_bytes()
    marker = content.index(b"\x44\x89\x88")  # the duration, made unknown
    path.write_bytes(content[: marker + 3] + bytes(8) + content[marker + 11 :])
    assert scan_song(pool, AudioSegment(str(path)), small_spec).seconds == pytest.approx(5, abs=0.1)
    error = refusal(lambda: scan_song(pool, AudioSegment(str(path), 3.5), small_spec))
    assert (error.reason, error.path) == (Reason.TOO_SHORT, str(path))


def test_fragments_equal_those_read_in_this_process(pool: WorkerPool, song: Path, small_spec: MelSpec) -> None:
    here = list(Fragments(read(song, small_spec, 1, 11)))
    there = Fragments(read_song(pool, AudioSegment(str(song), 1, 11), small_spec, digest(song)))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert (one.index, one.padded, one.silent) == (other.index, other.padded, other.silent)
    assert there.ending.seconds == 10


def test_a_file_that_changed_since_the_scan_is_refused(pool: WorkerPool, song: Path, small_spec: MelSpec) -> None:
    before = digest(song)
    content = bytearray(song.read_bytes())
    content[-1] ^= 1
    song.write_bytes(content)
    error = refusal(lambda: list(read_song(pool, AudioSegment(str(song)), small_spec, before)))
    assert error.reason is Reason.CHANGED
    assert "has changed since the library was scanned: run again" in str(error)


@pytest.mark.parametrize("change", ["appended", "replaced", "deleted"])
def test_a_file_that_changes_while_it_is_read_is_refused(song: Path, small_spec: MelSpec, change: str) -> None:
    items = read_unchanged(AudioSegment(str(song)), small_spec, digest(song))
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
        (
            WorkerCrashError("died by signal SIGSEGV"),
            Reason.CRASHED,
            "ended 2 fresh decoder processes in succession: the last died by signal SIGSEGV",
        ),
        (
            WorkerTimeoutError("yielded nothing for 60 s"),
            Reason.TIMED_OUT,
            "hangs its decoder, which yielded nothing for 60 s",
        ),
        (MemoryError(), Reason.DAMAGED, "is damaged: to decode it takes more than 1 GB of memory"),
        (OSError(errno.EIO, "Input/output error"), Reason.IO_ERROR, "cannot be read: Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), Reason.IO_ERROR, "cannot be read: Stale file handle"),
        (OSError(errno.ENOENT, "No such file"), Reason.UNREADABLE, "cannot be read: No such file"),
        (OSError("no number"), Reason.IO_ERROR, "cannot be read: no number"),
    ],
)
def test_each_error_of_a_worker_has_its_reason(
    monkeypatch: pytest.MonkeyPatch, small_spec: MelSpec, error: Exception, reason: Reason, words: str
) -> None:
    def run(*_: object) -> Iterator[None]:
        raise error
        yield

    with WorkerPool() as pool:
        monkeypatch.setattr(pool, "run", run)
        found = refusal(lambda: scan_song(pool, AudioSegment("a.mp3"), small_spec))
    assert (found.path, found.reason, found.message) == ("a.mp3", reason, words)


def test_songs_in_a_bucket_are_copied(pool: WorkerPool, song: Path, small_spec: MelSpec) -> None:
    address = "ram://bucket/música/una canción.wav"
    tf.io.gfile.makedirs("ram://bucket/música")
    tf.io.gfile.copy(str(song), address, overwrite=True)
    scanned = scan_song(pool, AudioSegment(address), small_spec)
    assert (scanned.sha256, scanned.seconds) == (digest(song), 13)
    assert len(list(Fragments(read_song(pool, AudioSegment(address), small_spec, scanned.sha256)))) == 3
    error = refusal(lambda: scan_song(pool, AudioSegment("ram://bucket/none.wav"), small_spec))
    assert (error.reason, error.path) == (Reason.UNREADABLE, "ram://bucket/none.wav")
    tf.io.gfile.copy(__file__, "ram://bucket/text.wav", overwrite=True)
    error = refusal(lambda: scan_song(pool, AudioSegment("ram://bucket/text.wav"), small_spec))
    assert (error.reason, error.path) == (Reason.UNSUPPORTED, "ram://bucket/text.wav")


def test_a_file_that_is_replaced_between_two_workers_is_refused(
    pool: WorkerPool, tmp_path: Path, write_song: WriteSong, small_spec: MelSpec
) -> None:
    song = write_song(tmp_path / "song.wav", 400)
    items = read_song(pool, AudioSegment(str(song)), small_spec, None)
    next(items)
    write_song(tmp_path / "other.wav", 400).replace(song)
    for worker in pool._busy:
        worker.process.kill()
    assert refusal(lambda: list(items)).reason is Reason.CHANGED
