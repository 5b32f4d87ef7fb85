from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tumbao.serving.server.uploads import TempStorage

KILLED = """if True:
    import os, sys
    from pathlib import Path
    from tumbao.serving.server.uploads import TempStorage
    scratch = TempStorage(Path(sys.argv[1]))
    with scratch.request() as folder:
        (Path(folder) / "0").write_bytes(b"song")
        os.kill(os.getpid(), 9)
"""


def test_a_folder_is_removed_after_its_request(tmp_path: Path) -> None:
    scratch = TempStorage(tmp_path)
    with pytest.raises(RuntimeError), scratch.request() as folder, scratch.request() as other:
        assert folder != other
        assert scratch.folder.stat().st_mode & 0o777 == 0o700
        (Path(folder) / "0").write_bytes(b"song")
        raise RuntimeError
    assert not Path(folder).exists()
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_killed_servers_are_removed(tmp_path: Path) -> None:
    alive = TempStorage(tmp_path)
    with alive.request() as folder:
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        (left,) = (path for path in tmp_path.iterdir() if path != alive.folder)
        assert [path.read_bytes() for path in left.glob("*/0")] == [b"song"]
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "tumbao-serve-link").symlink_to(elsewhere)
        (tmp_path / "tumbao-serve-file").touch()
        (tmp_path / "other").mkdir()
        second = TempStorage(tmp_path)
        names = {"elsewhere", "other", "tumbao-serve-file", "tumbao-serve-link"}
        assert {path.name for path in tmp_path.iterdir()} == names | {alive.folder.name, second.folder.name}
        assert Path(folder).is_dir()
    second.close()
    alive.close()
