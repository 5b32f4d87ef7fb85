from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tumbao.datasets.demo.library import make_library
from tumbao.schema.genres import GENRES


def interrupt(done: int, total: int, name: str) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_library_is_finished_by_the_next_call_and_then_left_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_library(tmp_path, 1, seed=3, workers=1, progress=interrupt)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    listed = json.loads((tmp_path / "library.json").read_text(encoding="utf-8"))
    files = [song["file"] for song in listed["songs"]]
    assert written == [files[0], "library.json"]
    for kept in files[1:4]:
        (tmp_path / kept).write_bytes(b"a song that is there")

    told: list[tuple[int, int, str]] = []
    songs = make_library(tmp_path, 1, seed=3, workers=1, progress=lambda *news: told.append(news))
    assert told == [(5, 5, files[4])]
    assert songs == [tmp_path / file for file in files]
    assert (tmp_path / files[2]).read_bytes() == b"a song that is there"
    for song in (songs[0], songs[4]):
        sound = soundfile.info(song)
        assert (sound.format, sound.samplerate, sound.channels) == ("MP3", 44_100, 2)
        assert 65 <= sound.duration <= 110

    assert make_library(tmp_path, 1, seed=3, progress=interrupt) == songs

    with pytest.raises(ValueError, match=r"songs of another library.*seed 4"):
        make_library(tmp_path, 1, seed=4)

    assert {key: listed[key] for key in ("synthetic", "generator", "seed", "songs_per_genre")} == {
        "synthetic": True,
        "generator": "tumbao demo-library",
        "seed": 3,
        "songs_per_genre": 1,
    }
    assert [song["genre"] for song in listed["songs"]] == list(GENRES)
    for song in listed["songs"]:
        assert song["file"].startswith(f"{song['genre']}/")
        assert {"title", "bpm", "meter", "key", "mode", "form", "instruments"} <= song.keys()
    assert "clave" in listed["songs"][GENRES.index("salsa")]
    assert "air" in listed["songs"][GENRES.index("vallenato")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"songs_per_genre": 0}, "at least 1 song.*Received: songs_per_genre=0"),
        ({"seed": -1}, "Received: seed=-1"),
        ({"workers": 0}, "Received: workers=0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_library(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_songs_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "salsa").mkdir()
    (tmp_path / "salsa" / "mine.mp3").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"salsa/mine\.mp3"):
        make_library(tmp_path, 1)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.mp3"]
