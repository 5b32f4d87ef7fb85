"""`tumbao curate` on a small library: the page, its tables and players, verdicts applied, and what is refused."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from tests.pages import assert_self_contained, text_of
from tests.small_spec import SMALL
from tumbao.analysis.curate.page import FRAGMENTS, PAGE, SUSPECTS
from tumbao.analysis.curate.verdicts import COLUMNS
from tumbao.components.ingest.library import LIBRARY_FILE, scan
from tumbao.components.ingest.rendered_library import render_library
from tumbao.pipeline import cli
from tumbao.pipeline.source import song_cache
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, excerpts
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.dataset import Fragments
from tumbao.trainer.model import dense_head
from tumbao.trainer.models import registry
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

GENRES = ("dull", "sharp")
SONGS = 8
ATTACK = "<script>alert(1)<!-- & \"'.wav"
pytestmark = pytest.mark.usefixtures("shared_render_workers")


def noise(seconds: float, genre: str, number: int) -> np.ndarray:
    """Make noise, in the dull genre without its high half."""
    white = np.random.default_rng(number).standard_normal(round(8_000 * seconds))
    return 0.1 * (np.convolve(white, np.ones(4) / 2, "same") if genre == "dull" else white)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs of two genres; one under the wrong genre, one under both, and one that is too short."""
    root = tmp_path_factory.mktemp("curate") / "music"
    for number, genre in enumerate(GENRES):
        (root / genre).mkdir(parents=True)
        for song in range(SONGS):
            soundfile.write(root / genre / f"{song}.wav", noise(8, genre, 10 * number + song), 8_000)
    soundfile.write(root / "sharp" / ATTACK, noise(8, "dull", 99), 8_000, format="WAV")
    shutil.copy(root / "dull" / "0.wav", root / "sharp" / "copy.wav")
    soundfile.write(root / "dull" / "short.wav", noise(1, "dull", 98), 8_000)
    (root / LIBRARY_FILE).write_text('{"synthetic": true}')
    return root


def means(train: Fragments, val: Fragments, training: Training, genres: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    batches = list(train.batches(training.batch))
    features, labels = (np.concatenate([np.asarray(pair[part]) for pair in batches]) for part in (0, 1))
    centres = np.stack([features[column > 0].mean(axis=(0, 1)) for column in labels.T])

    class Head:
        variables = ()

        def __call__(self, features: np.ndarray, training: bool) -> np.ndarray:
            distances = ((features.mean(axis=1)[:, None] - centres) ** 2).sum(axis=2)
            votes = np.exp(-5 * distances)
            return votes / votes.sum(axis=1, keepdims=True)

    return Head(), {}


BACKBONE = Backbone("levels", SMALL, lambda weights, policy: levels(SMALL))
TINY = ModelSpec(name="tiny", after="", summary="", backbone=BACKBONE, head=dense_head, train=means)


def tumbao(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["curate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def curated(library: Path) -> tuple[Path, str, str]:
    """Curate the library, with one song on the page: the folder, what is said, and what is said besides."""
    before = listing(library)
    out = library.parent / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, "vgg16-gap", TINY)
        code, told, noise = tumbao(
            library, "--out", out, "--genres", ",".join(GENRES), "--folds", "3", "--top", "1",
            "--workspace", library.parent / "workspace",
        )  # fmt: skip
    assert (code, listing(library)) == (0, before), noise
    return out, told, noise


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def page(curated: tuple[Path, str, str]) -> str:
    return (curated[0] / PAGE).read_text("utf-8")


def test_the_song_under_the_wrong_genre_comes_first(curated: tuple[Path, str, str]) -> None:
    out, told, noise = curated
    first, *others = rows(out / SUSPECTS)
    assert tuple(first) == COLUMNS
    assert (first["song"], first["given"], first["suggested"]) == (f"sharp/{ATTACK}", "sharp", "dull")
    assert (first["disagreeing"], first["fragments"], first["verdict"]) == ("2", "2", "")
    assert "dull/0.wav" in {one["song"] for one in others}  # a copy of it stands under the other genre
    assert f"{2 * SONGS + 1} songs" in told
    assert "(synthetic library)" in told
    assert "dull/short.wav: too short" in noise


def test_the_page_holds_pictures_and_sound_and_needs_no_other_file(curated: tuple[Path, str, str], page: str) -> None:
    assert_self_contained(page, ATTACK, SUSPECTS, FRAGMENTS)
    assert "<script" not in page
    assert len(re.findall(r"<article", page)) == 1
    assert page.count("data:audio/mpeg") == page.count("data:image/jpeg") >= 2
    sounds = [base64.b64decode(one) for one in re.findall(r"data:audio/mpeg;base64,([^\"]*)", page)]
    seconds, rates = zip(
        *((sound.frames / sound.samplerate, sound.samplerate) for sound in map(heard, sounds)), strict=True
    )
    np.testing.assert_allclose(seconds, 4, atol=0.3)
    assert set(rates) == {8_000}


def heard(content: bytes) -> soundfile.SoundFile:
    return soundfile.SoundFile(io.BytesIO(content))


def test_the_page_and_its_tables_are_complete(curated: tuple[Path, str, str], page: str) -> None:
    words, all_songs = text_of(page, " "), len(rows(curated[0] / SUSPECTS))
    assert f"{all_songs - 1} less clear case" in words
    assert f"suspects.csv lists all {all_songs}" in words
    assert page.count("synthetic library") > 5
    assert "tumbao curate --apply suspects.csv LIBRARY --out corrected.csv" in words
    assert "one recording, two genres: dull/0.wav (dull) and, left out, sharp/copy.wav (sharp)" in curated[1]
    assert "dull/0.wav dull sharp/copy.wav sharp" in words
    fragments = rows(curated[0] / FRAGMENTS)
    assert {one["start"] for one in fragments if one["song"] == f"sharp/{ATTACK}"} == {"0", "4"}
    assert all(abs(sum(float(one[genre]) for genre in GENRES) - 1) < 0.001 for one in fragments)


def test_a_file_that_has_changed_since_is_shown_without_sound(curated: tuple[Path, str, str], library: Path) -> None:
    catalog = scan(library, GENRES, SMALL)
    drawn = render_library(catalog, GENRES, SMALL, song_cache(str(library.parent / "workspace"), SMALL))
    songs = [dataclasses.replace(song, sha256="0" * 64) if song.genre == "dull" else song for song in catalog.songs]
    first, last = (excerpts(drawn, songs, [row, row], SMALL)[row] for row in (1, len(drawn.songs) - 1))
    assert (first.start_seconds, first.mp3, last.error) == (4, b"", "")
    assert "has changed" in first.error
    assert last.mp3
    for one in (first, last):
        with Image.open(io.BytesIO(one.jpeg)) as picture:
            assert picture.size == PICTURE_SIZE


def test_verdicts_become_a_list_that_a_run_takes(curated: tuple[Path, str, str], library: Path, tmp_path: Path) -> None:
    table, says = tmp_path / "suspects.csv", {f"sharp/{ATTACK}": "dull", "dull/0.wav": "reject"}
    with table.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(one | {"verdict": says.get(one["song"], "")} for one in rows(curated[0] / SUSPECTS))
    before = listing(library)
    code, told, err = tumbao(
        library, "--apply", table, "--out", tmp_path / "corrected.csv", "--genres", ",".join(GENRES)
    )
    assert (code, listing(library)) == (0, before), err
    assert f"sharp/{ATTACK}: sharp → dull" in told
    assert "dull/0.wav: dull, rejected" in told
    assert f"found {2 * SONGS + 3} = listed {2 * SONGS + 2} + rejected 1; 1 with another genre" in told
    former, now = scan(library, GENRES, MelSpec()), scan(tmp_path / "corrected.csv", GENRES, MelSpec())
    genres = {song.song: (song.genre, song.sha256) for song in former.songs}
    _, digest = genres[f"sharp/{ATTACK}"]
    genres[f"sharp/{ATTACK}"] = "dull", digest
    genres["sharp/copy.wav"] = "sharp", genres.pop("dull/0.wav")[1]  # no longer the copy of another
    assert {song.song: (song.genre, song.sha256) for song in now.songs} == genres
    assert [one.song for one in now.rejected] == ["dull/short.wav"]
    assert now.synthetic


def test_what_cannot_be_is_refused_with_exit_code_2(library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "odd.csv").write_text("song,given,verdict\ndull/0.wav,dull,dul\n")
    both = ("--genres", ",".join(GENRES), "--workspace", tmp_path / "ws")
    for arguments, said in (
        ((library, "--out", tmp_path / "x", *both, "--model", "vgg17"), "Did you mean vgg16?"),
        ((library, "--out", tmp_path / "file", *both), "which is a file"),
        ((library, "--out", tmp_path / "x", *both, "--folds", "1"), "Invalid value for '--folds'"),
        ((library, "--out", tmp_path / "x", "--apply", tmp_path / "none.csv"), "does not exist"),
        ((library, "--out", tmp_path / "x.csv", "--apply", tmp_path / "odd.csv", *both), "Did you mean dull?"),
        ((library, *both), "Missing option '--out'"),
    ):
        code, _, err = tumbao(*arguments)
        assert code == 2
        assert said in err
    assert not (tmp_path / "x.csv").exists()
