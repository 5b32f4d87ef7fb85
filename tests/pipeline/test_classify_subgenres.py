"""With sub-genres an answer names leaf and genre; tags name the genre; playlists have names that any disk can hold."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from rich.console import Console

from tumbao.pipeline.classify import ClassifyOptions, run_classify
from tumbao.serving.classify.playlists import write_playlists
from tumbao.serving.model_info import ASSETS_FOLDER, ModelInfo

RATE = 22_050
LEAVES = ("cumbia", "salsa", "salsa/dura", "salsa/romantica", "vallenato")
Tone = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def model(pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let the tiny model take loud sound for salsa/romantica, soft sound for cumbia."""
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path_factory.mktemp("leaves") / "assets")
    dataclasses.replace(ModelInfo.read(assets), genres=LEAVES).write(assets)
    return assets


@pytest.fixture
def songs(tmp_path: Path, tone: Tone) -> Path:
    (tmp_path / "songs").mkdir()
    for name, sound in (("loud", 2 * tone(30)), ("soft", 0.02 * tone(30))):
        soundfile.write(tmp_path / "songs" / f"{name}.flac", sound, RATE)
    return tmp_path / "songs"


def classify(songs: Path, model: Path, **asked: Any) -> str:
    out = io.StringIO()
    assert run_classify(ClassifyOptions([songs], model, **asked), Console(file=io.StringIO()), out) == 0
    return out.getvalue()


def test_json_names_leaf_and_genre_with_both_probabilities(songs: Path, model: Path) -> None:
    loud, soft = map(json.loads, classify(songs, model, as_json=True).splitlines())
    assert (loud["genre"], loud["main_genre"]) == ("salsa/romantica", "salsa")
    assert (soft["genre"], soft["main_genre"]) == ("cumbia", "cumbia")
    for song in (loud, soft):
        leaves = song["probabilities"]
        assert tuple(leaves) == LEAVES
        sums = {"cumbia": leaves["cumbia"], "vallenato": leaves["vallenato"]}
        sums["salsa"] = leaves["salsa"] + leaves["salsa/dura"] + leaves["salsa/romantica"]
        assert song["main_probabilities"] == pytest.approx(sums)
        assert song["main_probability"] == pytest.approx(sums[song["main_genre"]])
        assert song["probability"] == leaves[song["genre"]]


def test_csv_has_the_genre_beside_the_leaf(songs: Path, model: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(classify(songs, model, as_csv=True))))
    assert [(row["genre"], row["main_genre"]) for row in rows] == [("salsa/romantica", "salsa"), ("cumbia", "cumbia")]
    sums = [sum(float(row[f"p_{leaf}"]) for leaf in LEAVES if leaf.startswith(row["main_genre"])) for row in rows]
    assert [float(row["main_probability"]) for row in rows] == pytest.approx(sums)


def test_a_person_reads_both(songs: Path, model: Path) -> None:
    lines = [line.split() for line in classify(songs, model).splitlines()]
    assert ["salsa/romantica", "0.96,", "salsa", "0.99", "votes:", "salsa/romantica", "1"] in lines


def test_a_model_without_sub_genres_says_what_it_always_said(songs: Path, pushed: Path) -> None:
    song = json.loads(classify(songs, pushed, as_json=True).splitlines()[0])
    assert not [key for key in song if key.startswith("main")]
    assert "main" not in classify(songs, pushed, as_csv=True).splitlines()[0]


def test_tags_name_the_genre_at_once_or_later(songs: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(songs, tmp_path / "later")
    classify(songs, model, as_json=True, write_tags=True)
    out = tmp_path / "results.csv"
    for write_tags in (False, True):
        classify(tmp_path / "later", model, out=out, write_tags=write_tags, playlists=tmp_path / "lists")
    for folder in (songs, tmp_path / "later"):
        genres = {path.stem: mutagen.File(path)["genre"] for path in folder.iterdir()}
        assert genres == {"loud": ["Salsa"], "soft": ["Cumbia"]}
    lists = {path.name: path.read_text().count("#EXTINF") for path in (tmp_path / "lists").iterdir()}
    assert lists == {
        "cumbia.m3u8": 1,
        "salsa.m3u8": 0,
        "salsa - dura.m3u8": 0,
        "salsa - romantica.m3u8": 1,
        "vallenato.m3u8": 0,
    }


def test_names_of_playlists_are_legal_and_lose_no_song(tmp_path: Path) -> None:
    genres = ['salsa/¿qué? "a"', 'salsa/¿qué_ "a"', "Old-Time / Historic", "a\\b|c"]
    assert not write_playlists(
        tmp_path, genres, [(f"/{number}.mp3", genre, 1.0) for number, genre in enumerate(genres)]
    )
    names = {path.name: path.read_text().count("#EXTINF") for path in tmp_path.iterdir()}
    assert names == {"salsa - ¿qué_ _a_.m3u8": 2, "Old-Time - Historic.m3u8": 1, "a_b_c.m3u8": 1}
