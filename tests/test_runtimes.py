"""The wheel of an sdist in clean environments, outside of the checkout, on each Python that is here.

The last lines printed are the rows of docs/platforms.md. `TUMBAO_MODEL` names the pushed model whose time they show.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mutagen
import numpy as np
import pytest
import soundfile

from tests.sounds import write_libav

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
RATE = 22_050
GENRES = {"quiet.ogg": "bachata", "loud.wav": "salsa", "loud.mp3": "salsa", "loud.m4a": "salsa"}
Tone = Callable[..., np.ndarray]


def uv(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = shutil.which("uv") or str(ROOT / ".tools/uv/bin/uv")
    if not Path(command).is_file():
        pytest.skip("no uv here")
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False, env=environment())
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what leads into the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")} | more


def find_python(version: str) -> str:
    found = uv(
        "python", "find", "--no-project", "--no-python-downloads", "--system", version, check=False
    ).stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return found or next((str(one / "bin/python") for one in pyenv.glob(f"{version}.*")), "")


@dataclasses.dataclass
class Runtime:
    folder: Path
    row: dict[str, Any]

    def tumbao(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin/tumbao", *arguments], capture_output=True, text=True, cwd="/", env=environment()
        )

    def classify(self, *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
        done = self.tumbao("classify", *arguments, "--json")
        assert "Traceback" not in done.stderr
        return done.returncode, list(map(json.loads, done.stdout.splitlines()))


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("distributions")
    uv("build", "--quiet", "--out-dir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    yield rows
    if rows:
        lines = [list(rows[0]), ["---" for _ in rows[0]], *(row.values() for row in rows)]
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print("\n", *(f"| {' | '.join(map(str, cells))} |" for cells in lines), sep="\n")  # noqa: T201


@pytest.fixture(scope="module", params=["3.10", "3.11", "3.12", "3.13", "3.14"])
def runtime(
    request: pytest.FixtureRequest,
    distributions: tuple[Path, Path],
    table: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Runtime:
    python = find_python(request.param)
    if not python:
        pytest.skip(f"no Python {request.param} on PATH, in pyenv or in uv")
    folder = tmp_path_factory.mktemp("runtime") / "env"
    began = time.perf_counter()
    uv("venv", "--quiet", "--python", python, folder)
    uv(
        "pip",
        "install",
        "--quiet",
        "--python",
        folder,
        "--compile-bytecode",
        "--only-binary",
        ":all:",
        distributions[1],
    )
    seconds = time.perf_counter() - began
    packages = {
        one["name"]: one["version"] for one in json.loads(uv("pip", "list", "--python", folder, "--format=json").stdout)
    }
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    shown = ", ".join(f"{name} {packages[name]}" for name in ("ai-edge-litert", "av", "numpy"))
    version = uv("run", "--no-project", "--python", folder, "python", "-V").stdout.split()[1]
    row = {"Python": version, "versions": shown, "packages": len(packages), "MB": round(size / 1e6)}
    table.append(row | {"install, s": f"{seconds:.0f}"})
    return Runtime(folder, table[-1])


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, tone: Tone) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    loud = np.clip(2 * tone(31), -1, 1)
    for name in ("loud.wav", "loud.mp3"):
        soundfile.write(folder / name, loud, RATE)
    write_libav(folder / "loud.m4a", loud, RATE, "aac")
    soundfile.write(folder / "quiet.ogg", 0.02 * tone(31), RATE)
    (folder / "broken.m4a").write_bytes((folder / "loud.m4a").read_bytes()[:10_000])
    return folder


def test_the_distributions_hold_no_links_and_the_version_of_the_package(distributions: tuple[Path, Path]) -> None:
    import tumbao

    sdist, wheel = distributions
    with tarfile.open(sdist) as archive:
        assert [one.name for one in archive if not (one.isfile() or one.isdir())] == []
    with zipfile.ZipFile(wheel) as archive:
        assert [one.filename for one in archive.infolist() if one.external_attr >> 28 == 0o12] == []
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert f"\nVersion: {tumbao.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_every_format_is_classified_and_a_broken_file_is_rejected(runtime: Runtime, songs: Path, pushed: Path) -> None:
    uv("pip", "check", "--python", runtime.folder)
    code, answers = runtime.classify(songs, "--model", pushed)
    assert code == 1
    assert {Path(one["path"]).name: one["genre"] for one in answers if "error" not in one} == GENRES
    assert [(Path(one["path"]).name, one["error"]["reason"]) for one in answers if "error" in one] == [
        ("broken.m4a", "damaged")
    ]


def test_tags_are_written(runtime: Runtime, songs: Path, pushed: Path, tmp_path: Path) -> None:
    files = [Path(shutil.copy(songs / name, tmp_path)) for name in GENRES]
    done = runtime.tumbao("classify", *files, "--model", pushed, "--write-tags")
    assert done.returncode == 0, done.stderr
    assert [
        mutagen.File(file, easy=file.suffix != ".wav").tags.get("genre") for file in files if file.suffix != ".wav"
    ] == [[GENRES[file.name].capitalize()] for file in files if file.suffix != ".wav"]
    assert mutagen.File(tmp_path / "loud.wav").tags["TCON"].text == ["Salsa"]


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_results_are_continued(runtime: Runtime, songs: Path, pushed: Path, tmp_path: Path, extension: str) -> None:
    out = tmp_path / f"out.{extension}"
    first = runtime.tumbao("classify", songs / "loud.mp3", songs / "loud.m4a", "--model", pushed, "--out", out)
    assert first.returncode == 0, first.stderr
    written = out.read_bytes()
    second = runtime.tumbao("classify", songs, "--model", pushed, "--out", out)
    assert "2 of 5 are in" in second.stderr
    assert out.read_bytes().startswith(written)
    assert all(name in out.read_text() for name in (*GENRES, "broken.m4a"))


def test_songs_are_classified_in_python(runtime: Runtime, songs: Path, pushed: Path) -> None:
    program = (
        "import sys, tumbao\n"
        "with tumbao.Classifier(sys.argv[1]) as classifier:\n"
        "    print(*(getattr(one, 'genre', 'rejected') for one in classifier.classify_many([sys.argv[2]])))\n"
    )
    command: list[str | Path] = [runtime.folder / "bin/python", "-W", "error", "-c", program, pushed, songs]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment())
    assert done.stdout.split() == ["rejected", "salsa", "salsa", "salsa", "bachata"], done.stderr


def test_training_says_what_it_needs(runtime: Runtime) -> None:
    done = runtime.tumbao("run", "--data", "/")
    assert done.returncode == 1
    later = runtime.row["Python"].startswith("3.14.")
    assert ("Python 3.10 to 3.13" if later else "pipeline to be installed") in " ".join(done.stderr.split())


def test_a_song_of_three_minutes_is_classified_from_a_cold_start(
    runtime: Runtime, pushed: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 180 * RATE)
    soundfile.write(tmp_path / "song.mp3", noise, RATE)
    model, seconds = os.environ.get("TUMBAO_MODEL") or pushed, []
    for _ in range(3):
        began, before = time.perf_counter(), os.times()
        code, answers = runtime.classify(tmp_path / "song.mp3", "--model", model)
        after = os.times()
        cpu = after.children_user - before.children_user + after.children_system - before.children_system
        seconds.append((time.perf_counter() - began, cpu))
        assert (code, len(answers[0]["fragments"])) == (0, 6)
    wall, cpu = (min(values) for values in zip(*seconds, strict=True))
    runtime.row |= {"cold classify, s": f"{wall:.1f}", "of CPU": f"{cpu:.1f}"}


def test_songs_are_classified_over_http(
    runtime: Runtime, distributions: tuple[Path, Path], songs: Path, pushed: Path, tmp_path: Path
) -> None:
    uv("pip", "install", "--quiet", "--python", runtime.folder, f"tumbao[serve] @ {distributions[1].as_uri()}")
    uv("pip", "check", "--python", runtime.folder)
    with (tmp_path / "log").open("w+") as log, contextlib.ExitStack() as stack:
        command: list[str | Path] = [runtime.folder / "bin/tumbao", "serve", "--model", pushed, "--port", "0"]
        server = subprocess.Popen(command, stderr=log, cwd="/", env=environment(TMPDIR=str(tmp_path)))
        stack.enter_context(server)
        stack.callback(server.kill)
        while not (found := re.search(r"Listening at (\S+)/\n", (tmp_path / "log").read_text())):
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        while httpx.get(f"{found[1]}/readyz").status_code != 200:
            time.sleep(0.05)
        for name, genre in GENRES.items():
            answer = httpx.post(f"{found[1]}/v1/classify", files={"files": (songs / name).read_bytes()}, timeout=60)
            assert answer.json()["files"][0]["genre"] == genre
        assert httpx.get(f"{found[1]}/").status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]
