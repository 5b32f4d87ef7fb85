"""`tumbao explain`, with a tiny model: one page that holds everything, whatever some songs are."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from tests.serving.chromium import open_tab
from tests.serving.explain import conftest as explained
from tumbao.pipeline.cli import app
from tumbao.pipeline.explain import ExplainOptions, run_explain
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.serving.browser import BrowserUnavailableError, find_chromium
from tumbao.serving.explain.activation_maximization import FRAGMENT_STEPS, NOISE_STEPS
from tumbao.serving.explain.page import PAGE
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

push, tiny_folder = explained.push, explained.tiny_folder
RATE, BANDS = 8_000, {"cumbia": 150, "salsa": 900, "vallenato": 3_000}
"""Where the sound of each genre of the tiny model lies, in Hz."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(3)
    seconds = np.arange(9 * RATE) / RATE
    for genre, hertz in BANDS.items():
        (root / genre).mkdir()
        for number in range(3):
            tone = np.sin(2 * np.pi * hertz * (1 + 0.1 * number) * seconds) * (seconds % 0.5 < 0.3)
            soundfile.write(root / genre / f"{genre}-{number}.wav", 0.4 * tone + 0.01 * rng.normal(size=72_000), RATE)
    return root


@pytest.fixture(scope="module")
def model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pushed = tmp_path_factory.mktemp("pushed")
    shutil.copytree(tiny_folder, pushed / "3")
    info = pushed / "3" / ASSETS_FOLDER / INFO_FILE
    info.write_text(info.read_text().replace('"synthetic": true', '"synthetic": false'))
    return pushed


def explain(model: Path, out: Path, **other: object) -> tuple[int, str]:
    settings = {"songs": (), "data": None, "layout": "auto", "genres": (), "seed": 7}
    noise = io.StringIO()
    options = ExplainOptions(model=model, workspace=out / "workspace", out=out, **{**settings, **other})  # type: ignore[arg-type]
    return run_explain(options, Console(file=noise, width=200), Console(file=noise, width=200)), noise.getvalue()


@pytest.fixture(scope="module")
def told(model: Path, library: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("page")
    broken = out / "<b>broken.mp3"
    broken.write_bytes(b"no sound")
    songs = (broken, library / "salsa" / "salsa-0.wav")
    code, said = explain(model, out, songs=songs, data=library)
    assert code == 1
    return out / PAGE, said


def test_the_page_has_every_part_and_is_complete(told: tuple[Path, str]) -> None:
    page = told[0].read_text(encoding="utf-8")
    headings = re.findall(r'<h2 id="([^"]+)">', page)
    assert headings == ["genres", "filters", "attribution", "neighbours", "map"]
    assert re.findall(r'<a href="#([^"]+)">', page)[: len(headings)] == headings
    assert "synthetic" not in page.partition("<main>")[0]
    assert page.count("Audio that maximizes cumbia") == 2
    begun = re.findall(r'<b>(\w+)</b>, starting from music: <span class="path">(?:\w+/)?(\w+)-\d\.wav, from 0:0', page)
    assert begun == [(genre, genre) for genre in BANDS]
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


def test_a_song_that_cannot_be_read_is_named_and_the_others_go_on(told: tuple[Path, str]) -> None:
    page, said = told[0].read_text(encoding="utf-8"), told[1]
    assert "1 song could not be explained" in page
    assert "&lt;b&gt;broken.mp3" in page.partition("<nav")[0]
    assert "<b>broken" not in page
    assert "not explained: <b>broken.mp3" in said
    assert re.search(r'<h3 id="attribution-1">.*salsa-0\.wav', page)


def test_a_browser_shows_the_page_without_complaint(told: tuple[Path, str], tmp_path: Path) -> None:
    try:
        program = find_chromium()
    except BrowserUnavailableError as error:
        pytest.skip(f"the page is not opened in a browser: {error}")
    with open_tab(program) as tab:
        tab.open(told[0].as_uri())
        pictures, players = "document.querySelectorAll('img[src]')", "document.querySelectorAll('audio[src]')"
        decoded = "one.loading = 'eager'; return one.decode();"
        tab.run(f"Promise.all([...{pictures}].map((one) => {{ {decoded} }}))")
        loaded = "one.onloadedmetadata = () => done(one.duration > 0.5); one.onerror = () => done(false);"
        loading = f"new Promise((done) => {{ {loaded} one.preload = 'metadata'; one.load(); }})"
        lasting = tab.run(f"Promise.all([...{players}].map((one) => {loading}))")
        assert len(lasting) >= 12
        assert all(lasting)
        assert tab.errors == []


def test_a_page_without_songs_has_the_chosen_genres(model: Path, tmp_path: Path) -> None:
    assert explain(model, tmp_path, genres=("salsa",))[0] == 0
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "Audio that maximizes vallenato" not in page
    assert "Audio that maximizes salsa" in page


def test_the_same_seed_gives_the_same_page_and_reports_each_step(
    told: tuple[Path, str], model: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[str, int, int]] = []
    monkeypatch.setattr(ProgressDisplay, "__call__", lambda _, *report: reports.append(report))
    songs = (told[0].parent / "<b>broken.mp3", library / "salsa" / "salsa-0.wav")
    assert explain(model, tmp_path, songs=songs, data=library)[0] == 1
    assert (tmp_path / PAGE).read_bytes() == told[0].read_bytes()
    steps = len(BANDS) * (NOISE_STEPS + FRAGMENT_STEPS)
    assert [report for report in reports if report[0] == "activation maximization"] == [
        ("activation maximization", n, steps) for n in range(steps + 1)
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--genres", "salsa,polka"], "expected one of cumbia, salsa, vallenato; received polka"),
        (["nowhere.mp3"], "No such file or folder: nowhere.mp3"),
        (["--model", "."], "No model in"),
        (["--out", __file__], "is a file"),
    ],
)
def test_wrong_use_is_refused(model: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    arguments = ["explain", "--model", str(model), "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
