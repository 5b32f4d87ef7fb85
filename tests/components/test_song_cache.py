"""Rendered songs on disk: whole or not there."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from tumbao.components.ingest import song_cache
from tumbao.components.ingest.decoders import Part
from tumbao.components.ingest.song_cache import SongCache, SongCacheError, SongMetadata, add_description, add_image

METADATA = SongMetadata(
    seconds=9.5,
    declared_seconds=None,
    truncated=False,
    padded=False,
    silent=1,
    fragments=[0, 2],
    fingerprint="AQA=",
)


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (4, 3), level).save(buffer, "PNG")
    return buffer.getvalue()


def write(cache: SongCache, path: str) -> None:
    with cache.writing(path) as song:
        add_image(song, 0, png(1))
        add_image(song, 2, png(2))
        add_description(song, METADATA)


@pytest.mark.parametrize("place", ["{tmp_path}/a b", "ram://songs"])
def test_what_is_written_is_read(tmp_path: Path, place: str) -> None:
    cache = SongCache(place.format(tmp_path=tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    assert song_cache.description(path) is None
    write(cache, path)
    write(cache, path)  # by another worker, the same
    assert song_cache.description(path) == METADATA
    assert list(song_cache.images(path)) == [(0, png(1)), (2, png(2))]


def test_a_song_is_known_by_its_bytes_and_its_part() -> None:
    cache = SongCache("songs")
    parts = [Part("a"), Part("a", 1), Part("a", 0, 1), Part("a", 1, 2)]
    assert len({cache.path(part, sha256) for part in parts for sha256 in ("ab", "cd")}) == 8
    assert cache.path(Part("here"), "ab") == cache.path(Part("there"), "ab")


def test_what_is_not_finished_is_not_there_and_is_swept_up(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    with pytest.raises(KeyboardInterrupt), cache.writing(path) as song:
        add_image(song, 0, png(1))
        raise KeyboardInterrupt
    assert song_cache.description(path) is None
    write(cache, path)
    half = Path(f"{path}.0123.unfinished")
    half.write_bytes(b"PK")
    cache.sweep()
    assert list(Path(path).parent.iterdir()) == [Path(path)]
    assert song_cache.description(path) == METADATA


def test_what_is_being_written_is_not_swept_up_until_its_writer_is_gone(tmp_path: Path) -> None:
    cache, unfinished = SongCache(str(tmp_path)), tmp_path / "ab" / "ab12_0_.zip.0123.unfinished"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"PK")
    writer = (
        "import sys, time; from tumbao.components.ingest.song_cache import SongCache\n"
        "with SongCache(sys.argv[1]).in_use():\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", writer, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "writing\n"
        with cache.in_use():  # several may write
            cache.sweep()
        cache.sweep()
        assert unfinished.exists()
        other.kill()
    cache.sweep()
    assert not unfinished.exists()


def test_a_song_that_was_cut_is_not_there_and_is_written_again(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    write(cache, path)
    whole = Path(path).read_bytes()
    for length in range(len(whole) - 4):
        for end in (b"", bytes(len(whole) - length)):  # cut, or its last blocks never written
            Path(path).write_bytes(whole[:length] + end)
            assert song_cache.description(path) is None
    write(cache, path)
    assert song_cache.description(path) == METADATA


def test_a_song_without_one_of_its_images_is_not_whole(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    with cache.writing(path) as song:
        add_image(song, 0, png(1))
        add_description(song, METADATA)
    assert song_cache.description(path) is None


def test_an_image_that_has_changed_on_the_disk_is_named(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    write(cache, path)
    Path(path).write_bytes(Path(path).read_bytes().replace(b"IHDR", b"IHDS"))
    with pytest.raises(SongCacheError, match=r"cache is damaged: .*ab12_0\.0?_\.zip: .* Delete this file"):
        list(song_cache.images(path))


def test_a_cache_that_is_not_there_is_swept(tmp_path: Path) -> None:
    SongCache(str(tmp_path / "none")).sweep()
    assert not tf.io.gfile.exists(str(tmp_path / "none"))


def test_a_changed_bit_that_marks_a_song_as_encrypted_makes_it_missing(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    write(cache, path)
    content = bytearray(Path(path).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    Path(path).write_bytes(content)
    assert song_cache.description(path) is None


def test_viewers_can_open_the_images(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(Part("x.mp3"), "ab12")
    write(cache, path)
    for _, content in song_cache.images(path):
        assert Image.open(io.BytesIO(content)).size == (4, 3)
