"""A rendered song in the cache is complete or does not exist."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tumbao.components.ingest import song_cache
from tumbao.components.ingest.decoders import AudioSegment
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
def test_a_song_is_read_as_it_was_written(tmp_path: Path, place: str) -> None:
    cache = SongCache(place.format(tmp_path=tmp_path))
    path = cache.path(AudioSegment("x.mp3"), "ab12")
    assert song_cache.description(path) is None
    write(cache, path)
    write(cache, path)  # by another worker, the same
    assert song_cache.description(path) == METADATA
    assert list(song_cache.images(path)) == [(0, png(1)), (2, png(2))]


def test_the_path_depends_on_content_and_part() -> None:
    cache = SongCache("songs")
    parts = [AudioSegment("a"), AudioSegment("a", 1), AudioSegment("a", 0, 1), AudioSegment("a", 1, 2)]
    assert len({cache.path(part, sha256) for part in parts for sha256 in ("ab", "cd")}) == 8
    assert cache.path(AudioSegment("here"), "ab") == cache.path(AudioSegment("there"), "ab")


def test_an_unfinished_song_does_not_exist_and_is_swept(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(AudioSegment("x.mp3"), "ab12")
    with pytest.raises(KeyboardInterrupt), cache.writing(path) as song:
        add_image(song, 0, png(1))
        raise KeyboardInterrupt
    assert song_cache.description(path) is None
    with cache.writing(path) as song:  # an image is missing
        add_image(song, 0, png(1))
        add_description(song, METADATA)
    assert song_cache.description(path) is None
    write(cache, path)
    half = Path(f"{path}.0123.unfinished")
    half.write_bytes(b"PK")
    cache.sweep()
    SongCache(str(tmp_path / "none")).sweep()
    assert not (tmp_path / "none").exists()
    assert list(Path(path).parent.iterdir()) == [Path(path)]
    assert song_cache.description(path) == METADATA


def test_sweep_spares_files_of_other_writers_until_they_end(tmp_path: Path) -> None:
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


def test_a_truncated_song_does_not_exist_and_can_be_written_again(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(AudioSegment("x.mp3"), "ab12")
    write(cache, path)
    whole = Path(path).read_bytes()
    for length in range(0, len(whole) - 4, 5):
        for end in (b"", bytes(len(whole) - length)):  # cut, or its last blocks never written
            Path(path).write_bytes(whole[:length] + end)
            assert song_cache.description(path) is None
    write(cache, path)
    assert song_cache.description(path) == METADATA


def test_a_damaged_image_is_an_error_with_the_files_name(tmp_path: Path) -> None:
    cache = SongCache(str(tmp_path))
    path = cache.path(AudioSegment("x.mp3"), "ab12")
    write(cache, path)
    Path(path).write_bytes(Path(path).read_bytes().replace(b"IHDR", b"IHDS"))
    with pytest.raises(SongCacheError, match=r"cache is damaged: .*ab12_0\.0?_\.zip: .* Delete this file"):
        list(song_cache.images(path))
