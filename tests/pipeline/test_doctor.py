"""`tumbao doctor` finds problems of the machine, suggests remedies, and survives broken packages."""

import io
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import av
import pytest
import soundfile
from rich.console import Console

from tumbao.pipeline import doctor
from tumbao.pipeline.doctor import Check, checks, run_doctor
from tumbao.trainer import musicnn, weights


@pytest.fixture(autouse=True)
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a machine with cached weights, memory and disk, and return the cached file."""
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(doctor, "_TFX_PROGRAM", "")
    monkeypatch.setattr(doctor, "_MEMORY_LIMIT", tmp_path / "no-limit")
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PHYS_PAGES": 8 * doctor.GIB, "SC_PAGE_SIZE": 1}.__getitem__)
    set_free_disk(monkeypatch, 50)
    weights.cache_file().parent.mkdir()
    with weights.cache_file().open("wb") as file:
        file.truncate(doctor.TENSOR_BYTES + 1)
    musicnn.cache_file().touch()
    return weights.cache_file()


def set_free_disk(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(0, 0, gib * doctor.GIB))


def set_versions(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    installed = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: changed[name] if name in changed else installed(name))


def found(name: str) -> Check:
    return next(check for check in checks() if check.name == name)


def printed() -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=400)
    code = run_doctor(console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_a_healthy_machine_passes_all_checks() -> None:
    code, text = printed()
    assert (code, {check.state for check in checks()}) == (0, {"ok"})
    assert "All that is needed works." in text
    lane = {(3, 10): "1.16"}.get(sys.version_info[:2], "1.21")
    assert f"tfx {lane}.0" in text
    assert f"lane tfx-{lane}, all of its components" in text


def test_a_failed_check_gives_exit_code_1_and_a_remedy(healthy: Path) -> None:
    healthy.write_bytes(b"cut off")
    code, text = printed()
    assert code == 1
    assert "Not fine: VGG-16 weights." in text
    assert "remove that file" in text


def test_the_edge_runtime_alone_passes(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_versions(monkeypatch, tfx=None, tensorflow=None, keras=None)
    healthy.unlink()
    assert {check.state for check in checks()} == {"ok"}
    assert found("Pipeline").found.startswith("not installed")


@pytest.mark.parametrize(
    ("name", "versions", "text"),
    [
        ("Tumbao", {"soxr": None}, "soxr missing"),
        ("Tumbao", {"tumbao": None}, "not installed"),
        ("Pipeline", {"keras-tuner": "1.4.7"}, "keras-tuner 1.4.7 where ==1.4.8 is expected"),
        ("Tumbao", {"numpy": "3.0.0"}, "numpy 3.0.0 where <3,>=1.26 is expected"),
        ("Pipeline", {"tensorflow": "2.20.0"}, f"2.20.0 where =={metadata.version('tensorflow')} is expected"),
    ],
)
def test_missing_and_wrong_packages_are_named(
    name: str, versions: dict[str, str | None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_versions(monkeypatch, **versions)
    assert found(name).state == "fail"
    assert text in found(name).found


def test_components_that_tfx_could_not_import_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert doctor._tfx().state == "ok"
    for program, text in (("print('Transform Tuner')", ", without Transform, Tuner"), ("1 / 0", "division by zero")):
        monkeypatch.setattr(doctor, "_TFX_PROGRAM", program)
        assert doctor._tfx().state == "fail"
        assert text in doctor._tfx().found


def test_decoders_that_do_not_load_or_lack_a_codec_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "wav, flac, ogg, mp3", "m4a, webm, wma, video"
    with monkeypatch.context() as patch:
        for package in ("soundfile", "av"):
            patch.setitem(sys.modules, package, None)
        assert [found(name).state for name in names] == ["fail", "fail"]
    formats = {name: text for name, text in soundfile.available_formats().items() if name != "MP3"}
    monkeypatch.setattr(soundfile, "available_formats", lambda: formats)
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"wmav2"})
    checks = [found(name) for name in names]
    assert [(one.state, one.found.partition(" without ")[2]) for one in checks] == [("fail", "mp3"), ("warn", "wmav2")]


def test_weights_that_are_unavailable_fail_their_check(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy.unlink()
    musicnn.cache_file().unlink()
    monkeypatch.setattr(weights, "KERAS_URL", "http://127.0.0.1:9/notop.h5")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert found("VGG-16 weights").state == "fail"
    assert "--weights FILE" in found("VGG-16 weights").remedy
    assert found("musicnn weights").state == "warn"
    assert "only the models musicnn and cnn-lstm" in found("musicnn weights").found


@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_a_cache_that_cannot_be_written_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / name))
    check = found("Home")
    assert (check.state, check.remedy) == ("fail", "set TUMBAO_CACHE to a permanent folder")
    assert f"{tmp_path / 'file'} is not a folder that can be written to" in check.found


@pytest.mark.parametrize(
    ("gib", "limit", "states"),
    [(0.5, "max", ("fail", "ok")), (2, str(2 * doctor.GIB), ("warn", "warn")), (50, "max", ("ok", "ok"))],
)
def test_a_full_disk_and_the_memory_limit_of_a_container_are_found(
    gib: float, limit: str, states: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free_disk(monkeypatch, gib)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(doctor, "_MEMORY_LIMIT", tmp_path / "memory.max")
    disk = checks(tmp_path / "not" / "yet")[-1]
    assert (disk.state, found("Memory").state) == states
    assert str(tmp_path) in disk.found


def test_the_checks_import_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys; from tumbao.pipeline import doctor; doctor._TFX_PROGRAM = ''; doctor.checks(); "
        "sys.exit(', '.join({'tensorflow', 'keras', 'tfx', 'apache_beam'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
