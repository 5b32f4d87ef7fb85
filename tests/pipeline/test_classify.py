from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tumbao.pipeline.classify import ClassifyOptions, run_classify
from tumbao.serving.calibration import Calibration
from tumbao.serving.classify.batch import SYNTHETIC_WARNING
from tumbao.serving.model_info import ASSETS_FOLDER, ModelInfo
from tumbao.serving.out_of_distribution import DistributionRanges, StatisticRanges

RATE = 22_050
Tone = Callable[..., np.ndarray]


@pytest.fixture
def library(tmp_path: Path, tone: Tone) -> Path:
    """Make two songs, a short one, two files that are no songs, a sidecar and a hidden file."""
    folder = tmp_path / "songs"
    (folder / "b [live]").mkdir(parents=True)
    loud, soft = 2 * tone(30), 0.02 * tone(30)
    soundfile.write(folder / "b [live]" / "ñ :smile:.flac", np.concatenate([loud, soft, loud]), RATE, subtype="PCM_16")
    soundfile.write(folder / "a.wav", soft, RATE)
    soundfile.write(folder / "short.wav", loud[: 5 * RATE], RATE)
    (folder / "text.mp3").write_text("no song")
    (folder / "unknown").write_bytes(b"\0\1\2")
    (folder / "cover.JPG").touch()
    (folder / ".hidden.wav").touch()
    return folder


def classify(*paths: Path, model: Path, as_json: bool = False, as_csv: bool = False) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = run_classify(ClassifyOptions(paths, model, as_json, as_csv), Console(file=err, width=200), out)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def real_model(pushed: Path, tmp_path: Path) -> Path:
    """Pretend that the tiny model was trained on recordings."""
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "real")
    info = ModelInfo.read(assets)
    dataclasses.replace(info, training_data=dataclasses.replace(info.training_data, synthetic=False)).write(assets)
    return assets


@pytest.fixture
def doubtful_model(pushed: Path, tmp_path: Path) -> Path:
    """Let the tiny model be confident from 0.7 on, without tempering."""
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "doubtful")
    calibration = Calibration(temperature=1.0, threshold=0.7, songs=10, errors=0)
    dataclasses.replace(ModelInfo.read(assets), calibration=calibration).write(assets)
    return assets


@pytest.fixture
def medley(tmp_path: Path, tone: Tone) -> Path:
    """Make 90 s that the tiny model takes for salsa, then 3:30 of bachata."""
    soundfile.write(tmp_path / "medley.wav", np.concatenate([2 * tone(90), 0.02 * tone(210)]), RATE)
    return tmp_path / "medley.wav"


def test_a_person_reads_song_votes_and_fragments(library: Path, pushed: Path) -> None:
    status, out, err = classify(library, model=pushed)
    assert status == 1
    lines = out.splitlines()
    assert lines[0] == SYNTHETIC_WARNING
    song = lines[lines.index(str(library / "b [live]" / "ñ :smile:.flac")) :]
    assert song[1].split() == ["salsa", "0.65", "votes:", "salsa", "2,", "bachata", "1"]
    assert [line.split()[:3] for line in song[2:5]] == [
        ["0:00–0:30", "salsa", "0.96"],
        ["0:30–1:00", "bachata", "0.69"],
        ["1:00–1:30", "salsa", "0.96"],
    ]
    assert [line.count("█") for line in song[2:5]] == [19, 14, 19]
    assert "shorter than 30 s: padded with silence" in out
    assert f"{library / 'text.mp3'}\n  rejected: it is not in a format that can be decoded" in out
    assert err.splitlines()[1:-1] == [
        "found 5 = classified 3 + rejected 2",
        "2 files left out: 1 hidden file, 1 picture",
        "genres: bachata 2, cumbia 0, merengue 0, salsa 1, vallenato 0, none of these with confidence 0",
        "rejected: unsupported 2",
    ]
    assert err.endswith(" × real time\n")


def test_progress_is_plain_lines_where_there_is_no_terminal(
    library: Path, pushed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tumbao.pipeline.progress_display.PLAIN_SECONDS", 0.0)
    lines = classify(library, model=pushed)[2].splitlines()
    assert [line.split(" (")[0] for line in lines[:5]] == [f"  classify: {done} of 5" for done in range(1, 6)]
    assert "s left)" in lines[0]
    assert "/s)" in lines[4]


class Terminal(io.StringIO):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_that_goes_away_on_a_terminal(library: Path, pushed: Path) -> None:
    err = io.StringIO()
    asked = ClassifyOptions([library], pushed)
    run_classify(asked, Console(file=err, force_terminal=True, width=200), io.StringIO())
    assert "0/5" in err.getvalue()
    assert "classify: " not in err.getvalue()
    assert "\x1b[2K" in err.getvalue().partition("found 5")[0].rpartition("/5")[2]


def test_answers_and_bar_do_not_mix_on_one_terminal(library: Path, pushed: Path) -> None:
    terminal = Terminal()
    console = Console(file=terminal, force_terminal=True, width=200)
    assert run_classify(ClassifyOptions([library], pushed, as_json=True), console, terminal) == 1
    answers = [line.rpartition("\x1b[2K")[2] for line in terminal.getvalue().splitlines() if '"path"' in line]
    assert len([json.loads(line) for line in answers]) == 5


def test_one_song_needs_no_progress(library: Path, pushed: Path) -> None:
    assert classify(library / "a.wav", model=pushed)[2] == "found 1 = classified 1 + rejected 0\n"


def test_json_is_one_object_a_line_and_song(library: Path, pushed: Path) -> None:
    status, out, _ = classify(library, model=pushed, as_json=True)
    assert status == 1
    songs = [json.loads(line) for line in out.splitlines()]
    assert [Path(song["path"]).name for song in songs] == [
        "a.wav",
        "ñ :smile:.flac",
        "short.wav",
        "text.mp3",
        "unknown",
    ]
    assert all(song["synthetic_training_data"] is True for song in songs)
    song = songs[1]
    assert (song["nearest"], len(song["sections"])) == ("salsa", 1)
    assert (song["genre"], song["majority"], song["truncated"], song["padded"]) == ("salsa", "salsa", False, False)
    assert song["probability"] == song["probabilities"]["salsa"] == max(song["probabilities"].values())
    assert song["votes"] == {"bachata": 1, "cumbia": 0, "merengue": 0, "salsa": 2, "vallenato": 0}
    assert [fragment["genre"] for fragment in song["fragments"]] == ["salsa", "bachata", "salsa"]
    assert [fragment["end_seconds"] for fragment in song["fragments"]] == [30, 60, 90]
    assert songs[3]["error"]["reason"] == songs[4]["error"]["reason"] == "unsupported"


def test_an_answer_without_confidence_is_none_of_the_genres(library: Path, doubtful_model: Path) -> None:
    path = library / "b [live]" / "ñ :smile:.flac"
    out = classify(path, model=doubtful_model)[1].splitlines()
    assert out[2] == "  none of these with confidence (nearest: salsa 0.65)  votes: salsa 2, bachata 1"
    song = json.loads(classify(path, model=doubtful_model, as_json=True)[1])
    assert (song["genre"], song["nearest"]) == (None, "salsa")
    assert song["probability"] == pytest.approx(0.65, abs=0.02)
    rows = list(csv.DictReader(io.StringIO(classify(path, model=doubtful_model, as_csv=True)[1])))
    assert {(row["genre"], row["nearest"]) for row in rows} == {("", "salsa")}


def test_sound_unlike_the_training_songs_is_none_of_the_genres(library: Path, pushed: Path, tmp_path: Path) -> None:
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "narrow")
    low, high = (0.0,) * 5, (100.0, 0.0, 0.0, 0.0, 0.0)
    known = DistributionRanges(low, high, 9, 0.0, (StatisticRanges(0, low, high),))
    dataclasses.replace(ModelInfo.read(assets), familiarity=known).write(assets)
    path = library / "b [live]" / "ñ :smile:.flac"
    out = classify(path, model=assets)[1].splitlines()
    assert out[2].startswith("  none of these with confidence (nearest: salsa 0.65)")
    assert out[3] == "  2 of 3 fragments are out of distribution: unlike the songs that the model was trained on"
    song = json.loads(classify(path, model=assets, as_json=True)[1])
    assert (song["genre"], song["nearest"]) == (None, "salsa")
    assert [fragment["familiar"] for fragment in song["fragments"]] == [False, True, False]
    rows = csv.DictReader(io.StringIO(classify(path, model=assets, as_csv=True)[1]))
    assert [row["familiar"] for row in rows] == ["False", "True", "False"]


def test_a_medley_is_told_by_its_sections(medley: Path, pushed: Path) -> None:
    assert "  changes its genre: 0:00–1:30 salsa, 1:30–5:00 bachata" in classify(medley, model=pushed)[1].splitlines()
    song = json.loads(classify(medley, model=pushed, as_json=True)[1])
    assert [(part["genre"], part["start_seconds"], part["end_seconds"]) for part in song["sections"]] == [
        ("salsa", 0, 90),
        ("bachata", 90, 300),
    ]
    rows = csv.DictReader(io.StringIO(classify(medley, model=pushed, as_csv=True)[1]))
    assert [row["section_genre"] for row in rows] == ["salsa"] * 3 + ["bachata"] * 7


def test_csv_is_one_row_a_fragment(library: Path, pushed: Path) -> None:
    status, out, _ = classify(library, model=pushed, as_csv=True)
    assert status == 1
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [Path(row["path"]).name for row in rows] == [
        "a.wav",
        *["ñ :smile:.flac"] * 3,
        "short.wav",
        "text.mp3",
        "unknown",
    ]
    assert [row["fragment_genre"] for row in rows[1:4]] == ["salsa", "bachata", "salsa"]
    assert {row["genre"] for row in rows[1:4]} == {"salsa"}
    assert [row["start_seconds"] for row in rows[1:4]] == ["0.0", "30.0", "60.0"]
    assert sum(float(rows[1][f"p_{genre}"]) for genre in ("bachata", "cumbia", "merengue", "salsa", "vallenato")) == (
        pytest.approx(1)
    )
    assert {row["synthetic_training_data"] for row in rows} == {"True"}
    assert (rows[5]["genre"], rows[5]["fragment"], rows[5]["reason"]) == ("", "", "unsupported")


def test_only_a_model_of_composed_songs_warns(library: Path, real_model: Path) -> None:
    status, out, _ = classify(library / "a.wav", model=real_model)
    assert status == 0
    assert SYNTHETIC_WARNING not in out
    assert (
        json.loads(classify(library / "a.wav", model=real_model, as_json=True)[1])["synthetic_training_data"] is False
    )


def test_a_name_that_is_no_unicode_can_be_shown(tmp_path: Path, pushed: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp3"))
    path.write_text("no song")
    for options in ({}, {"as_json": True}, {"as_csv": True}):
        assert "/\u201bFF.mp3" in classify(path, model=pushed, **options)[1]


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of --json, --csv, --out\. Received: --json and --csv"):
        ClassifyOptions(["a.wav"], "model", as_json=True, as_csv=True)
    with pytest.raises(ValueError, match=r"--out to end in \.jsonl or \.csv\. Received: .*results\.txt"):
        ClassifyOptions(["a.wav"], "model", out=tmp_path / "results.txt")
    with pytest.raises(ValueError, match=r"--overwrite-genre beside --write-tags"):
        ClassifyOptions(["a.wav"], "model", overwrite_genre=True)


def test_decoders_and_interpreter_are_not_heard(tmp_path: Path, pushed: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "cut.mp3"
    soundfile.write(path, rng.uniform(-0.5, 0.5, 40 * RATE), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    program = (
        "import sys; from rich.console import Console\n"
        "from tumbao.pipeline.classify import ClassifyOptions, run_classify\n"
        f"run_classify(ClassifyOptions([{str(path)!r}], {str(pushed)!r}, True), Console(stderr=True), sys.stdout)\n"
        "sys.stderr.write('still here')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["truncated"] is True
    assert done.stderr == "found 1 = classified 1 + rejected 0\nstill here"
