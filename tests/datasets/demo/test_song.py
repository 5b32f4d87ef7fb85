from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tumbao.datasets.demo.song import compose, song_midi


def test_same_arguments_give_the_same_bytes_in_any_process() -> None:
    program = (
        "import hashlib; from tumbao.datasets.demo.song import song_midi; "
        "print(hashlib.sha256(song_midi('cumbia', 3, 11)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256(song_midi("cumbia", 3, 11)).hexdigest().encode()}


def test_seed_genre_and_number_each_make_another_song() -> None:
    songs = {song_midi("salsa", 0, 7), song_midi("salsa", 1, 7), song_midi("salsa", 0, 8), song_midi("bachata", 0, 7)}
    assert len(songs) == 4


def test_an_unknown_genre_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected one of bachata, .*Received: 'polka'"):
        compose("polka", 0, 7)


@pytest.mark.parametrize(("index", "seed"), [(-1, 7), (0, -7)])
def test_negative_numbers_are_refused(index: int, seed: int) -> None:
    with pytest.raises(ValueError, match="from 0"):
        compose("salsa", index, seed)
