"""One song beyond the library, as a file: what `make demo` classifies at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tumbao.datasets.demo.render import waveform
from tumbao.datasets.demo.song import compose_file, song_midi


def test_a_song_is_written_into_a_folder_that_was_not_there(tmp_path: Path) -> None:
    path = compose_file(tmp_path / "new" / "folder" / "merengue.mp3", "merengue", index=12, seed=7)
    about = soundfile.info(path)
    assert (about.format, about.samplerate, about.channels) == ("MP3", 44_100, 2)
    assert 65 <= about.duration <= 110
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_a_song_sounds_the_same_whatever_was_rendered_before() -> None:
    songs = [song_midi("vallenato", index, seed=7) for index in (1, 3)]
    alone = waveform(songs[1])
    waveform(songs[0])
    np.testing.assert_array_equal(waveform(songs[1]), alone)
