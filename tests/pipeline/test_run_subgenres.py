"""Sub-genres are told apart where they are asked for, and nowhere else."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.pipeline import cli
from tumbao.pipeline.commands import run as run_commands
from tumbao.pipeline.config import Config
from tumbao.pipeline.resolve import _scan
from tumbao.schema.mel_spec import MelSpec


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs of salsa/dura, three of salsa and two of cumbia/villera, of 4 s."""
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(1)
    for folder, songs in (("salsa/dura", 4), ("salsa", 3), ("cumbia/villera", 2)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(songs):
            soundfile.write(root / folder / f"{number}.wav", rng.uniform(-0.5, 0.5, 4 * 8_000), 8_000)
    return root


@pytest.fixture
def asked(library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Config]:
    """What `tumbao run` makes of its arguments, with and without `--subgenres`."""
    found: list[Config] = []

    def only_ask(run: Config) -> int:
        found.append(run)
        return 0

    monkeypatch.setattr(run_commands, "_run", only_ask)
    for flags in ([], ["--subgenres"], ["--subgenres", "--min-songs", "3"]):
        arguments = ["run", "--data", str(library), "--workspace", str(tmp_path), "--genres", "salsa,cumbia", *flags]
        monkeypatch.setattr(sys, "argv", ["tumbao", *arguments])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    return dict(zip(("without", "default", "three"), found, strict=True))


def test_ten_songs_are_enough_unless_others_are_asked_for(asked: dict[str, Config]) -> None:
    found = {name: (run.data.subgenres, run.data.min_songs) for name, run in asked.items()}
    assert found == {"without": (False, 10), "default": (True, 10), "three": (True, 3)}


def test_the_run_has_leaves_or_the_genres_in_the_order_that_was_asked(asked: dict[str, Config], tmp_path: Path) -> None:
    cache = ScanCache(tmp_path / "scan_cache.sqlite", "abcdef0")
    found = {name: _scan(run, MelSpec(), cache) for name, run in asked.items()}
    assert {name: genres for name, (_, genres) in found.items()} == {
        "without": ("salsa", "cumbia"),
        "default": ("cumbia", "salsa"),
        "three": ("cumbia", "salsa", "salsa/dura"),
    }
    songs = {name: Counter(song.genre for song in catalog.songs) for name, (catalog, _) in found.items()}
    assert songs["without"] == songs["default"] == {"salsa": 7, "cumbia": 2}
    assert songs["three"] == {"cumbia": 2, "salsa": 3, "salsa/dura": 4}
    folded = {name: [one.leaf for one in catalog.merged] for name, (catalog, _) in found.items()}
    assert folded == {
        "without": [],
        "default": ["cumbia/villera", "salsa/dura"],
        "three": ["cumbia/villera"],
    }
