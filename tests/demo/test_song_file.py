"""One song beyond the library, as a file: what `make demo` classifies at its end."""

from __future__ import annotations

from pathlib import Path

import soundfile

from tumbao.demo.song import compose_file


def test_a_song_is_written_into_a_folder_that_was_not_there(tmp_path: Path) -> None:
    path = compose_file(tmp_path / "new" / "folder" / "merengue.mp3", "merengue", index=12, seed=7)
    about = soundfile.info(path)
    assert (about.format, about.samplerate, about.channels) == ("MP3", 44_100, 2)
    assert 65 <= about.duration <= 110
    assert [child.name for child in path.parent.iterdir()] == [path.name]
