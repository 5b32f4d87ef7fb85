from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tumbao.datasets.demo.library import compose, compose_file, make_library
from tumbao.schema.genres import GENRES


def interrupt(done: int, total: int, name: str) -> None:
    raise KeyboardInterrupt


def check_audio(path: Path) -> None:
    audio = soundfile.info(path)
    assert (audio.format, audio.samplerate, audio.channels) == ("MP3", 44_100, 2)
    assert 65 <= audio.duration <= 110


def test_songs_are_reproducible_and_differ_by_genre_index_and_seed() -> None:
    songs = {compose(*song).midi() for song in (("salsa", 0, 7), ("salsa", 1, 7), ("salsa", 0, 8), ("bachata", 0, 7))}
    assert len(songs) == 4
    program = (
        "import hashlib; from tumbao.datasets.demo.library import compose; "
        "print(hashlib.sha256(compose('salsa', 0, 7).midi()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    digest = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    assert digest.decode().strip() in {hashlib.sha256(song).hexdigest() for song in songs}


def test_an_unknown_genre_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected one of bachata, .*Received: 'polka'"):
        compose("polka", 0, 7)


def test_a_song_is_written_to_a_new_folder(tmp_path: Path) -> None:
    path = compose_file(tmp_path / "new" / "folder" / "merengue.mp3", "merengue", index=12, seed=7)
    check_audio(path)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_an_interrupted_library_is_completed_by_the_next_call(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_library(tmp_path, 1, seed=3, workers=1, progress=interrupt)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    listed = json.loads((tmp_path / "library.json").read_text(encoding="utf-8"))
    files = [song["file"] for song in listed["songs"]]
    assert {files[0], "library.json"} <= set(written) <= {*files[:2], "library.json"}
    for present in files[1:4]:
        (tmp_path / present).write_bytes(b"present")

    reports: list[tuple[int, int, str]] = []
    songs = make_library(tmp_path, 1, seed=3, workers=1, progress=lambda *report: reports.append(report))
    assert reports == [(5, 5, files[4])]
    assert songs == [tmp_path / file for file in files]
    assert (tmp_path / files[2]).read_bytes() == b"present"
    check_audio(songs[0])
    check_audio(songs[4])
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


def test_a_folder_with_other_songs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "salsa").mkdir()
    (tmp_path / "salsa" / "mine.mp3").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"salsa/mine\.mp3"):
        make_library(tmp_path, 1)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.mp3"]
