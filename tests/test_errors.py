"""Exit codes and messages of errors, full disks, and users without a home folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tumbao.components.ingest import download_cache
from tumbao.components.ingest.library import LibraryUnavailableError
from tumbao.components.ingest.song_cache import SongCacheError
from tumbao.components.ingest.worker_pool import WorkerStartError
from tumbao.pipeline import cli, doctor
from tumbao.schema.errors import UserError, describe, is_disk_full
from tumbao.trainer import weights

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Raise an error in `tumbao classify`: fails(error) -> (exit code, output)."""
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.mp3").touch()

    def call(error: Exception) -> tuple[int, str]:
        def fail(*_: object) -> int:
            raise error

        monkeypatch.setattr("tumbao.pipeline.classify.run_classify", fail)
        result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["classify", str(tmp_path / "a.mp3")])
        return result.exit_code, result.output

    return call


def test_wrong_use_ends_with_2_and_no_log(fails: Call, tmp_path: Path) -> None:
    assert fails(UserError("Expected this. Received: that")) == (2, "error: Expected this. Received: that\n")
    missing = str(tmp_path / "a.mp3")
    assert fails(FileNotFoundError(errno.ENOENT, "No such file", missing)) == (2, f"error: No such file: {missing!r}\n")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), OSError(errno.EIO, "odd", "/x"), TypeError()])
def test_unexpected_errors_end_with_1_and_a_log_with_the_traceback(
    fails: Call, tmp_path: Path, error: Exception
) -> None:
    code, out = fails(error)
    (log,) = (tmp_path / "cache" / "logs").iterdir()
    assert (code, out.count("\n")) == (1, 1)
    assert out.endswith(f"the traceback is in {log}\n")
    assert "Traceback" not in out
    text = log.read_text()
    assert "tumbao classify" in text
    assert "in fail" in text


@pytest.mark.parametrize("kind", [LibraryUnavailableError, SongCacheError, WorkerStartError])
@pytest.mark.parametrize("wrapped", [False, True])
def test_unavailable_resources_end_with_1_and_no_log(
    fails: Call, tmp_path: Path, kind: type[Exception], wrapped: bool
) -> None:
    error, beam = kind("no room for a process"), RuntimeError("[while running 'Render']")
    beam.__cause__ = error
    assert fails(beam if wrapped else error) == (1, f"error: {error}\n")
    assert "no room for a process" in str(error)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_with_1_and_its_folder(fails: Call, tmp_path: Path, number: int) -> None:
    said = f"error: No space left on the disk, or in the quota, of {tmp_path}. Free some, or choose another folder.\n"
    assert fails(OSError(number, os.strerror(number), str(tmp_path / "new" / "file"))) == (1, said)


def test_a_full_disk_is_found_in_the_causes_of_errors(tmp_path: Path) -> None:
    beam = RuntimeError("OSError: [Errno 28] No space left on device [while running 'Write[train]']")
    assert str(tmp_path) in describe(beam, [tmp_path])
    other = ValueError("no zip")
    other.__cause__ = OSError(errno.ENOSPC, "full")
    assert [is_disk_full(one) for one in (beam, other, OSError(errno.EACCES, "no"))] == [True, True, False]


@pytest.mark.parametrize("name", ["ws [2026]", "ws*", "w\ns"])
def test_a_workspace_with_pattern_characters_is_refused(tmp_path: Path, name: str) -> None:
    for command in ("run --data", "compare --data", "curate --out x", "watch --once --data"):
        arguments = [*command.split(), str(tmp_path), "--workspace", str(tmp_path / name)]
        result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, arguments)
        assert result.exit_code == 2
        assert "Expected a workspace whose absolute path" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove the home folder and the name of the user; return the folder for temporary files."""
    for name in ("HOME", "KERAS_HOME", "TUMBAO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    return tmp_path


def test_users_without_a_home_get_a_temporary_one(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = homeless / f"tumbao-{os.getuid()}"
    assert download_cache.cache_folder() == home / ".cache" / "tumbao"
    assert weights.keras_cache_file().parts[:2] == ("/", "tmp")
    download_cache.ensure_home()
    assert doctor._home().state == "warn"
    assert doctor._home().found.startswith("none ")
    assert os.environ["HOME"] == str(home)
    assert home.stat().st_mode & 0o777 == 0o700
    for named in ("/nowhere/at/all", "relative", ""):
        monkeypatch.setenv("HOME", named)
        assert download_cache.home_folder() in (None, Path("/"))


def test_a_temporary_home_of_another_user_is_refused(homeless: Path) -> None:
    (homeless / "elsewhere").mkdir()
    (homeless / f"tumbao-{os.getuid()}").symlink_to(homeless / "elsewhere")
    with pytest.raises(UserError, match="belongs to another user"):
        download_cache.ensure_home()
