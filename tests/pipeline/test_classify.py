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
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from rich.console import Console

from tests.pipeline.conftest import changed_model
from tumbao.pipeline.classify import ClassifyOptions, run_classify
from tumbao.serving.calibration import Calibration
from tumbao.serving.classify.batch import SYNTHETIC_WARNING
from tumbao.serving.classify.playlists import write_playlists
from tumbao.serving.model_info import ASSETS_FOLDER, DistanceRule, ModelInfo

RATE = 22_050
LEAVES = ("cumbia", "salsa", "salsa/dura", "salsa/romantica", "vallenato")
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


def classify(*paths: Path, model: Path, **options: Any) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = run_classify(ClassifyOptions(paths, model, **options), Console(file=err, width=200), out)
    return status, out.getvalue(), err.getvalue()


def json_of(*paths: Path, model: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in classify(*paths, model=model, as_json=True)[1].splitlines()]


def rows_of(*paths: Path, model: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(classify(*paths, model=model, as_csv=True)[1])))


@pytest.fixture(scope="module")
def leaves_model(pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let the tiny model take loud sound for salsa/romantica, soft sound for cumbia."""
    return changed_model(pushed, tmp_path_factory.mktemp("leaves") / "assets", genres=LEAVES)


@pytest.fixture
def songs(tmp_path: Path, tone: Tone) -> Path:
    (tmp_path / "two").mkdir()
    for name, sound in (("loud", 2 * tone(30)), ("soft", 0.02 * tone(30))):
        soundfile.write(tmp_path / "two" / f"{name}.flac", sound, RATE)
    return tmp_path / "two"


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
    assert "shorter than 30 s: repeated until then" in out
    assert f"{library / 'text.mp3'}\n  rejected: it is not in a format that can be decoded" in out
    assert err.splitlines()[1:-1] == [
        "found 5 = classified 3 + rejected 2",
        "2 files left out: 1 hidden file, 1 picture",
        "genres: bachata 1, cumbia 0, merengue 0, salsa 2, vallenato 0, none of these with confidence 0",
        "rejected: unsupported 2",
    ]
    assert err.endswith(" × real time\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_answers_and_bar_do_not_mix_on_one_terminal(library: Path, pushed: Path) -> None:
    terminal = Terminal()
    console = Console(file=terminal, force_terminal=True, width=200)
    assert run_classify(ClassifyOptions([library], pushed, as_json=True), console, terminal) == 1
    answers = [line.rpartition("\x1b[2K")[2] for line in terminal.getvalue().splitlines() if '"path"' in line]
    assert len([json.loads(line) for line in answers]) == 5


def test_one_song_needs_no_progress(library: Path, pushed: Path) -> None:
    assert classify(library / "a.wav", model=pushed)[2] == "found 1 = classified 1 + rejected 0\n"


def test_json_is_one_object_a_line_and_song(library: Path, pushed: Path) -> None:
    songs = json_of(library, model=pushed)
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


def test_an_answer_without_confidence_is_none_of_the_genres(library: Path, pushed: Path, tmp_path: Path) -> None:
    calibration = Calibration(temperature=1.0, threshold=0.7, songs=10, errors=0)
    doubtful = changed_model(pushed, tmp_path / "doubtful", calibration=calibration)
    path = library / "b [live]" / "ñ :smile:.flac"
    out = classify(path, model=doubtful)[1].splitlines()
    assert out[2] == "  none of these with confidence (nearest: salsa 0.65)  votes: salsa 2, bachata 1"
    (song,) = json_of(path, model=doubtful)
    assert (song["genre"], song["nearest"]) == (None, "salsa")
    assert song["probability"] == pytest.approx(0.65, abs=0.02)
    assert {(row["genre"], row["nearest"]) for row in rows_of(path, model=doubtful)} == {("", "salsa")}


def test_sound_unlike_the_training_songs_is_none_of_the_genres(library: Path, pushed: Path, tmp_path: Path) -> None:
    narrow = changed_model(pushed, tmp_path / "narrow", out_of_distribution=DistanceRule(4.0, 9))
    path = library / "b [live]" / "ñ :smile:.flac"
    out = classify(path, model=narrow)[1].splitlines()
    assert out[2].startswith("  none of these with confidence (nearest: salsa 0.65)")
    assert out[3] == "  2 of 3 fragments are out of distribution: unlike the songs that the model was trained on"
    (song,) = json_of(path, model=narrow)
    assert (song["genre"], song["nearest"]) == (None, "salsa")
    assert [fragment["familiar"] for fragment in song["fragments"]] == [False, True, False]
    assert [row["familiar"] for row in rows_of(path, model=narrow)] == ["False", "True", "False"]


def test_a_medley_is_told_by_its_sections(pushed: Path, tmp_path: Path, tone: Tone) -> None:
    medley = tmp_path / "medley.wav"
    soundfile.write(medley, np.concatenate([2 * tone(90), 0.02 * tone(210)]), RATE)
    assert "  changes its genre: 0:00–1:30 salsa, 1:30–5:00 bachata" in classify(medley, model=pushed)[1].splitlines()
    (song,) = json_of(medley, model=pushed)
    assert [(part["genre"], part["start_seconds"], part["end_seconds"]) for part in song["sections"]] == [
        ("salsa", 0, 90),
        ("bachata", 90, 300),
    ]
    assert [row["section_genre"] for row in rows_of(medley, model=pushed)] == ["salsa"] * 3 + ["bachata"] * 7


def test_csv_is_one_row_a_fragment(library: Path, pushed: Path) -> None:
    rows = rows_of(library, model=pushed)
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


def test_only_a_model_of_composed_songs_warns(library: Path, pushed: Path, tmp_path: Path) -> None:
    recorded = dataclasses.replace(ModelInfo.read(pushed / "1" / ASSETS_FOLDER).training_data, synthetic=False)
    real = changed_model(pushed, tmp_path / "real", training_data=recorded)
    status, out, _ = classify(library / "a.wav", model=real)
    assert (status, SYNTHETIC_WARNING in out) == (0, False)
    assert json_of(library / "a.wav", model=real)[0]["synthetic_training_data"] is False


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
    with pytest.raises(ValueError, match=r"--out in a folder that exists\. Received: .*nowhere"):
        ClassifyOptions(["a.wav"], "model", out=tmp_path / "nowhere" / "results.csv")
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


def test_sub_genres_are_named_with_their_genre(songs: Path, leaves_model: Path) -> None:
    found = json_of(songs, model=leaves_model)
    assert [(song["genre"], song["main_genre"]) for song in found] == [
        ("salsa/romantica", "salsa"),
        ("cumbia", "cumbia"),
    ]
    for song in found:
        leaves = song["probabilities"]
        assert tuple(leaves) == LEAVES
        sums = {"cumbia": leaves["cumbia"], "vallenato": leaves["vallenato"]}
        sums["salsa"] = leaves["salsa"] + leaves["salsa/dura"] + leaves["salsa/romantica"]
        assert song["main_probabilities"] == pytest.approx(sums)
        assert song["main_probability"] == pytest.approx(sums[song["main_genre"]])
        assert song["probability"] == leaves[song["genre"]]
    rows = rows_of(songs, model=leaves_model)
    for name in ("genre", "main_genre", "main_probability"):
        assert [row[name] for row in rows] == [str(song[name]) for song in found]
    lines = [line.split() for line in classify(songs, model=leaves_model)[1].splitlines()]
    assert ["salsa/romantica", "0.96,", "salsa", "0.99", "votes:", "salsa/romantica", "1"] in lines


def test_a_model_without_sub_genres_has_no_main_genre(songs: Path, pushed: Path) -> None:
    for values in (json_of(songs, model=pushed)[0], rows_of(songs, model=pushed)[0]):
        assert not [key for key in values if key.startswith("main")]


def test_tags_name_the_genre_at_once_or_later(songs: Path, leaves_model: Path, tmp_path: Path) -> None:
    shutil.copytree(songs, tmp_path / "later")
    classify(songs, model=leaves_model, as_json=True, write_tags=True)
    options = {"out": tmp_path / "results.csv", "playlists": tmp_path / "lists"}
    for write_tags in (False, True):
        classify(tmp_path / "later", model=leaves_model, write_tags=write_tags, **options)
    for folder in (songs, tmp_path / "later"):
        genres = {path.stem: mutagen.File(path)["genre"] for path in folder.iterdir()}
        assert genres == {"loud": ["Salsa"], "soft": ["Cumbia"]}
    lists = {path.stem: path.read_text().count("#EXTINF") for path in (tmp_path / "lists").iterdir()}
    assert lists == {"cumbia": 1, "salsa": 0, "salsa - dura": 0, "salsa - romantica": 1, "vallenato": 0}


def test_names_of_playlists_are_legal_and_lose_no_song(tmp_path: Path) -> None:
    genres = ['salsa/¿qué? "a"', 'salsa/¿qué_ "a"', "Old-Time / Historic", "a\\b|c"]
    assert not write_playlists(
        tmp_path, genres, [(f"/{number}.mp3", genre, 1.0) for number, genre in enumerate(genres)]
    )
    names = {path.name: path.read_text().count("#EXTINF") for path in tmp_path.iterdir()}
    assert names == {"salsa - ¿qué_ _a_.m3u8": 2, "Old-Time - Historic.m3u8": 1, "a_b_c.m3u8": 1}
