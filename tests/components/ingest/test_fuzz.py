"""Damaged files, the same in every run, are decoded or refused, without crash, hang or excessive memory."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import apache_beam as beam
import av
import numpy as np
import pytest
import soundfile
from apache_beam.testing.util import assert_that

from tests.components.ingest.ogg import with_checksums
from tests.processes import children
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, read_song, scan_song
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import scan_files
from tumbao.components.ingest.transform import IngestSongs
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

SEED = 20_240_517
MUTANTS = [78, pytest.param(500, marks=pytest.mark.long)]
PROCESSES = 2
RATE = 24_000  # known to all six formats, and not the rate that is decoded to
MEMORY_BYTES = 1_000_000_000

KINDS = ("wav", "flac", "ogg", "mp3", "m4a", "webm")


def original(kind: str, rng: np.random.Generator) -> bytes:
    """Write 4 to 6 s of stereo noise in one of the six formats."""
    samples = rng.uniform(-0.5, 0.5, (round(RATE * rng.uniform(4, 6)), 2)).astype(np.float32)
    file = io.BytesIO()
    if kind in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(file, samples, RATE, format=kind.upper())
        tag = b"ID3\4\0\0\0\0\0\100" + bytes(64) if kind == "mp3" else b""
        return with_checksums(file.getvalue()) if kind == "ogg" else tag + file.getvalue()
    container_format, codec = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus")}[kind]
    with av.open(file, "w", format=container_format, options={"fflags": "bitexact"}) as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        for start in range(0, len(samples), 480):
            block = np.ascontiguousarray(samples[start : start + 480].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def flip(content: bytes, rng: np.random.Generator, within: int) -> bytes:
    damaged = bytearray(content)
    for position in rng.integers(min(within, len(content)), size=rng.integers(1, 65)):
        damaged[position] ^= 1 << rng.integers(8)
    return bytes(damaged)


def wrong_numbers(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Write one to four extreme numbers into the header; test_audio_file.py tests single fields."""
    damaged = bytearray(content)
    first, last = (content.index(b"moov"), len(content) - 8) if kind == "m4a" else (0, 512)
    for _ in range(rng.integers(1, 5)):
        width = int(rng.choice([1, 2, 4, 8]))
        start = int(rng.integers(first, last))
        number = int(rng.choice([0, 1, 2, 255, 1 << 15, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1]))
        order: Literal["little", "big"] = "little" if kind in ("wav", "ogg") else "big"
        damaged[start : start + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, order)
    return with_checksums(bytes(damaged)) if kind == "ogg" else bytes(damaged)


def zeros(content: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return bytes(rng.choice([0, 1, 44, 100_000]))
    first, last = sorted(rng.integers(len(content), size=2))
    return content[:first] + bytes(last - first) + content[last:]


def text(content: bytes, rng: np.random.Generator) -> bytes:
    words = "La música «tropical», 🎺\r\n".encode() * int(rng.integers(1, 2_000))
    start = rng.integers(len(content))
    return [words, words + content, content[:start] + words + content[start:]][rng.integers(3)]


def inserted(content: bytes, rng: np.random.Generator) -> bytes:
    start = rng.integers(len(content))
    return content[:start] + rng.bytes(int(rng.integers(1, 50_000))) + content[start:]


def mutants(folder: Path, seed: int, count: int) -> Iterator[Path]:
    """Write damaged files, named after their number, their damage and their (sometimes wrong) extension."""
    rng = np.random.default_rng(seed)
    contents = {kind: original(kind, rng) for kind in KINDS}
    damages = {
        "flip": lambda content, kind: flip(content, rng, len(content)),
        "flip_header": lambda content, kind: flip(content, rng, 1_024),
        "truncate": lambda content, kind: content[: int(rng.integers(len(content)))],
        "truncate_header": lambda content, kind: content[: int(rng.integers(1_024))],
        "numbers": lambda content, kind: wrong_numbers(content, kind, rng),
        "more_numbers": lambda content, kind: wrong_numbers(content, kind, rng),
        "extension": lambda content, kind: content,
        "zeros": lambda content, kind: zeros(content, rng),
        "text": lambda content, kind: text(content, rng),
        "joined": lambda content, kind: content + contents[KINDS[rng.integers(len(KINDS))]],
        "inserted": lambda content, kind: inserted(content, rng),
    }
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        damage = list(damages)[number // len(KINDS) % len(damages)]
        extension = KINDS[(number + 1) % len(KINDS)] if damage == "extension" else kind
        path = folder / f"{number:03}-{kind}-{damage}.{extension}"
        path.write_bytes(damages[damage](contents[kind], kind))
        yield path


@pytest.fixture(scope="module", params=MUTANTS)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of damaged files in one genre."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "salsa").mkdir()
    for _ in mutants(root / "salsa", SEED, request.param):
        pass
    yield root
    shutil.rmtree(root)


def peak_bytes(processes: set[int]) -> list[int]:
    peaks = []
    for process in processes:
        with contextlib.suppress(OSError):  # gone in between
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
            if "VmHWM" in fields:
                peaks.append(1_024 * int(fields["VmHWM"].split()[0]))
    return peaks


def test_damaged_files_cause_no_crash_hang_or_excessive_memory(library: Path) -> None:
    spec = MelSpec()
    decoded: set[str] = set()
    refused: dict[Reason, set[str]] = collections.defaultdict(set)

    def scan_and_read(path: Path) -> None:
        part = AudioSegment(str(path))
        try:
            scanned = scan_song(pool, part, spec)
            fragments = Fragments(read_song(pool, part, spec, scanned.sha256))
            for fragment in fragments:
                assert fragment.samples.shape == (spec.fragment_samples,)
                assert np.abs(fragment.samples).max() <= 1
            declared = fragments.ending.header.declared_seconds
            assert fragments.ending.seconds < 60
            assert declared is None or 0 < declared < 8 * path.stat().st_size
            decoded.add(path.name)
        except AudioError as error:
            assert error.path == str(path)
            refused[error.reason].add(path.name)

    paths = sorted((library / "salsa").iterdir())
    others = children()  # of earlier tests in this process
    with WorkerPool(timeout_seconds=10) as pool:
        with concurrent.futures.ThreadPoolExecutor(PROCESSES) as threads:
            list(threads.map(scan_and_read, paths))
        peaks = peak_bytes(children() - others)
    assert len(peaks) >= PROCESSES
    assert max(peaks) < MEMORY_BYTES
    assert not refused.keys() & {Reason.CRASHED, Reason.TIMED_OUT}
    refused_names = set().union(*refused.values())
    assert len(decoded) + len(refused_names) == len(paths)
    for kind in KINDS:
        for group in (decoded, refused_names):
            assert any(f"-{kind}-" in name for name in group)


def test_damaged_files_are_each_ingested_or_rejected(library: Path, small_spec: MelSpec, tmp_path: Path) -> None:
    catalog = scan_files(library, read_library(library, "auto", ["salsa"]), ["salsa"], small_spec)
    rows = [
        {"entry": str(song.entry), "song": song.song, "path": song.path, "genre": song.genre, "sha256": song.sha256}
        | {"start": "0.0", "end": "", "first": "0", "fragments": "", "split": "train"}
        for song in catalog.songs
    ]

    def settled(lines: list[str]) -> None:
        entries = [json.loads(line)["entry"] for line in lines] + [item.entry for item in catalog.rejected]
        assert sorted(entries) == list(range(catalog.found))
        assert all("NaN" not in line and "Infinity" not in line for line in lines)
        assert sum("genre" in json.loads(line) for line in lines) > catalog.found / 4

    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        outputs = pipeline | beam.Create(rows, reshuffle=False) | IngestSongs(small_spec, ["salsa"], str(tmp_path))
        lines = (outputs["ingested"], outputs["rejected"]) | beam.Flatten()
        assert_that(lines, settled)
