"""A library is classified to its end, however often that is interrupted, and its tags and playlists are right."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import mutagen.id3
import numpy as np
import pytest
import soundfile
from rich.console import Console

from tests.pipeline.conftest import changed_model
from tumbao.components.ingest.paths import RemotePath
from tumbao.pipeline.classify import INTERRUPTED, ClassifyOptions, run_classify
from tumbao.serving.calibration import Calibration
from tumbao.serving.classify.formats import ResultsFile
from tumbao.serving.predict import TFLiteModel

RATE = 22_050
Tone = Callable[..., np.ndarray]


@pytest.fixture
def library(tmp_path: Path, tone: Tone) -> Path:
    """Make a loud song (salsa), a soft one (bachata), and files that are broken in every way."""
    folder = tmp_path / "songs"
    folder.mkdir()
    loud = 2 * tone(30)
    soundfile.write(folder / "loud.flac", np.concatenate([loud, loud]), RATE)
    soundfile.write(folder / "soft, and\nlow.wav", 0.02 * tone(30), RATE)
    soundfile.write(folder / "#1 loud.mp3", loud, RATE)
    soundfile.write(folder / "silent.wav", np.zeros(4 * RATE), RATE)
    soundfile.write(folder / "short.wav", loud[:RATE], RATE)
    cut = folder / "cut.flac"
    soundfile.write(cut, np.random.default_rng(0).uniform(-0.9, 0.9, 40 * RATE), RATE)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (folder / "empty.mp3").touch()
    (folder / "text.mp3").write_text("no song")
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.wav")
    return folder


def classify(asked: ClassifyOptions) -> tuple[int, str]:
    err = io.StringIO()
    return run_classify(asked, Console(file=err, width=300), io.StringIO()), err.getvalue()


def by_name(results: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    named = {Path(line["path"]).name: line for line in lines}
    assert len(named) == len(lines)
    return named


def test_every_file_is_classified_or_named_with_its_reason(library: Path, pushed: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    status, said = classify(ClassifyOptions([library], pushed, out=out))
    assert status == 1
    assert {name: line.get("genre") or line["error"]["reason"] for name, line in by_name(out).items()} == {
        "#1 loud.mp3": "salsa",
        "cut.flac": "salsa",
        "empty.mp3": "empty",
        "gone.wav": "unreadable",
        "loud.flac": "salsa",
        "pipe.wav": "unreadable",
        "short.wav": "too short",
        "silent.wav": "silent",
        "soft, and\nlow.wav": "bachata",
        "text.mp3": "unsupported",
    }
    assert "found 10 = classified 4 + rejected 6\n" in said
    assert "genres: bachata 1, cumbia 0, merengue 0, salsa 3, vallenato 0, none of these with confidence 0\n" in said
    assert "rejected: unreadable 2, empty 1, too short 1, silent 1, unsupported 1\n" in said


def test_what_is_there_is_not_classified_again(
    library: Path, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone.wav", "pipe.wav"):  # what cannot be read today may be readable tomorrow
        (library / name).unlink()
    asked = ClassifyOptions([library], pushed, out=tmp_path / "results.csv")
    first = classify(asked)[1].splitlines()
    monkeypatch.delattr(TFLiteModel, "answer")
    status, said = classify(asked)
    assert status == 1
    assert said.splitlines() == [f"8 of 8 are in {asked.out} already", *first[-4:-1]]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)])
def test_interrupted_and_gone_on_with_gives_what_an_undisturbed_run_gives(
    library: Path, pushed: Path, tmp_path: Path, number: int, status: int
) -> None:
    undisturbed, out = tmp_path / "undisturbed.jsonl", tmp_path / "results.jsonl"
    classify(ClassifyOptions([library], pushed, out=undisturbed))
    program = f"""if True:
        import os, sys
        from tumbao.serving.classify import formats
        from tumbao.pipeline.cli import main
        append = formats.ResultsFile.append
        answers = []
        def die(self, answer):
            append(self, answer)
            answers.append(answer)
            if len(answers) == 5:
                self._file.write(b'{{"half a li')
                os.kill(os.getpid(), {int(number)})
        formats.ResultsFile.append = die
        sys.argv = ["tumbao", "classify", {str(library)!r}, "--model", {str(pushed)!r}, "--out", {str(out)!r}]
        main()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert len(out.read_bytes().split(b"\n")) >= 5
    if number == signal.SIGINT:
        said = "Interrupted: 4 of 10 are in"  # the fifth was written and not yet counted
        assert f"{said} {out}; the same command goes on." in done.stderr
        assert "Traceback" not in done.stderr
    classify(ClassifyOptions([library], pushed, out=out))
    assert out.read_text() == undisturbed.read_text()


def test_changed_files_are_noticed(library: Path, pushed: Path, tmp_path: Path, tone: Tone) -> None:
    out = tmp_path / "results.jsonl"
    asked = ClassifyOptions([library], pushed, out=out)
    classify(asked)
    before = by_name(out)
    soundfile.write(library / "loud.flac", 0.02 * tone(31), RATE)
    (library / "gone.wav").unlink()
    (library / "gone.wav").write_text("no song")
    assert f"7 of 10 are in {out} already" in classify(asked)[1]
    after = by_name(out)
    assert list(after) == list(before)
    assert after.pop("loud.flac")["genre"] == "bachata"
    assert after.pop("gone.wav")["error"]["reason"] == "unsupported"
    assert after == {name: line for name, line in before.items() if name not in ("loud.flac", "gone.wav")}


def test_songs_in_a_bucket_are_taken_over_until_they_change(pushed: Path, tmp_path: Path, tone: Tone) -> None:
    bucket = RemotePath(f"ram://{tmp_path.name}")
    for name, loudness in (("loud.wav", 2.0), ("soft.wav", 0.02)):
        content = io.BytesIO()
        soundfile.write(content, loudness * tone(30), RATE, format="wav")
        (bucket / name).write_bytes(content.getvalue())
    asked = ClassifyOptions([bucket], pushed, out=tmp_path / "results.jsonl")
    status, said = classify(asked)
    assert (status, "are in" in said) == (0, False)
    assert f"2 of 2 are in {asked.out} already" in classify(asked)[1]
    (bucket / "soft.wav").write_bytes((bucket / "loud.wav").read_bytes()[: 2 * 4 * RATE])
    assert f"1 of 2 are in {asked.out} already" in classify(asked)[1]


def test_another_model_answers_anew(library: Path, pushed: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    song = library / "loud.flac"
    classify(ClassifyOptions([song], pushed, out=out))
    first = by_name(out)["loud.flac"]
    other = changed_model(pushed, tmp_path / "other", created="2026-05-05T00:00:00Z")
    classify(ClassifyOptions([song], other, out=out))
    assert by_name(out)["loud.flac"] == first | {"model": by_name(out)["loud.flac"]["model"]}
    assert by_name(out)["loud.flac"]["model"] != first["model"]


def test_two_at_once_do_not_write_one_file(library: Path, pushed: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    with out.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="being written by another"):
            classify(ClassifyOptions([library], pushed, out=out))


def test_a_full_disk_is_said_and_what_is_there_stays(
    library: Path, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "results.jsonl"
    asked = ClassifyOptions([library / "loud.flac"], pushed, out=out)
    with monkeypatch.context() as patch:
        patch.setattr(ResultsFile, "append", full)
        status, said = classify(asked)
    assert status == 1
    assert f"error: No space left on the disk, or in the quota, of {tmp_path}. Free some" in " ".join(said.split())
    assert classify(asked)[0] == 0


def test_a_list_of_parts_gives_an_answer_for_each(pushed: Path, tmp_path: Path, tone: Tone) -> None:
    soundfile.write(tmp_path / "tape.flac", np.concatenate([2 * tone(30), 0.02 * tone(30)]), RATE)
    (tmp_path / "list.csv").write_text("file_name,start,end\ntape.flac,0,30\ntape.flac,30,60\n")
    out, playlists = tmp_path / "results.csv", tmp_path / "playlists"
    asked = ClassifyOptions([tmp_path / "list.csv"], pushed, out=out, write_tags=True, playlists=playlists)
    assert classify(asked)[0] == 1
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["part_start_seconds"], row["part_end_seconds"], row["genre"]) for row in rows] == [
        ("0.0", "30.0", "salsa"),
        ("30.0", "60.0", "bachata"),
    ]
    assert {row["tag"] for row in rows} == {"cannot be tagged"}
    assert (playlists / "salsa.m3u8").read_text() == "#EXTM3U\n"
    whole = out.read_text()
    classify(asked)
    assert out.read_text() == whole


def genre_tags(library: Path) -> dict[str, str]:
    """Read the genres by mutagen's own keys."""
    wav = mutagen.File(library / "soft, and\nlow.wav").tags or {}
    mp3 = mutagen.File(library / "#1 loud.mp3").tags or {}
    return {
        "flac": "".join(mutagen.File(library / "loud.flac").get("genre", [])),
        "wav": "".join(wav["TCON"].text) if "TCON" in wav else "",
        "mp3": "".join(mp3["TCON"].text) if "TCON" in mp3 else "",
    }


def test_tags_are_written_only_when_asked_for(library: Path, pushed: Path, tmp_path: Path) -> None:
    contents = {path: path.read_bytes() for path in library.iterdir() if path.is_file()}
    asked = ClassifyOptions([library], pushed, out=tmp_path / "results.jsonl", playlists=tmp_path / "playlists")
    classify(asked)
    assert {path: path.read_bytes() for path in library.iterdir() if path.is_file()} == contents
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TCON(text=["Son"]))
    tags.save(library / "#1 loud.mp3")
    said = classify(dataclasses.replace(asked, write_tags=True))[1]
    assert "tags: written 3, kept 1\n" in said
    assert genre_tags(library) == {"flac": "Salsa", "wav": "Bachata", "mp3": "Son"}
    classify(dataclasses.replace(asked, write_tags=True, overwrite_genre=True))
    assert genre_tags(library) == {"flac": "Salsa", "wav": "Bachata", "mp3": "Salsa"}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_was_classified_before_is_tagged_without_decoding_it_again(
    library: Path, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for name in ("gone.wav", "pipe.wav"):
        (library / name).unlink()
    asked = ClassifyOptions([library], pushed, out=tmp_path / f"results{suffix}")
    classify(asked)
    monkeypatch.delattr(TFLiteModel, "answer")
    tagging = dataclasses.replace(asked, write_tags=True)
    assert "tags: written 4\n" in classify(tagging)[1]
    assert genre_tags(library) == {"flac": "Salsa", "wav": "Bachata", "mp3": "Salsa"}
    assert "8 of 8 are in" in classify(tagging)[1]
    assert "8 of 8 are in" in classify(asked)[1]


def test_songs_without_confidence_get_no_tag_and_no_playlist(library: Path, pushed: Path, tmp_path: Path) -> None:
    calibration = Calibration(temperature=1.0, threshold=0.9, songs=10, errors=0)
    careful = changed_model(pushed, tmp_path / "careful", calibration=calibration)
    playlists, out = tmp_path / "playlists", tmp_path / "results.jsonl"
    said = classify(ClassifyOptions([library], careful, out=out, write_tags=True, playlists=playlists))[1]
    assert "bachata 0" in said
    assert "with confidence 2\n" in said
    assert by_name(out)["soft, and\nlow.wav"]["genre"] is None
    assert genre_tags(library) == {"flac": "Salsa", "wav": "", "mp3": "Salsa"}
    assert (playlists / "bachata.m3u8").read_text() == "#EXTM3U\n"


def test_playlists_name_songs_by_relative_paths_and_tags(library: Path, pushed: Path, tmp_path: Path) -> None:
    (library / "cut.flac").unlink()
    file = mutagen.File(library / "loud.flac")
    file["artist"], file["title"] = ["Joe Arroyo"], ["Rebelión ñ"]
    file.save()
    soundfile.write(library / "soft.wav", soundfile.read(library / "soft, and\nlow.wav")[0], RATE)
    folder = tmp_path / "new" / "playlists"
    said = classify(ClassifyOptions([library], pushed, playlists=folder))[1]
    assert f"3 songs in the playlists of {folder}" in said  # an end of line in a name cannot be spelled
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{genre}.m3u8" for genre in ("bachata", "cumbia", "merengue", "salsa", "vallenato")
    ]
    assert (folder / "salsa.m3u8").read_text(encoding="utf-8").splitlines() == [
        "#EXTM3U",
        "#EXTINF:30,#1 loud",
        "../../songs/#1 loud.mp3",
        "#EXTINF:60,Joe Arroyo - Rebelión ñ",
        "../../songs/loud.flac",
    ]
    assert (folder / "bachata.m3u8").read_text().splitlines()[1:] == ["#EXTINF:30,soft", "../../songs/soft.wav"]
