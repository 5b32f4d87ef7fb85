"""500 damaged files, the same in every run: each is decoded or refused; none costs a crash, a hang or the memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import av
import numpy as np
import soundfile

from tumbao.components.ingest.waveform import Reason

SEED = 20_240_517
MUTANTS = 500
PROCESSES = 2
RATE = 24_000  # known to all six formats, and not the rate that is decoded to
WATCHDOG_SECONDS = 10
MEMORY_BYTES = 1_000_000_000

# Reads names from its input and answers each with one line. What is no AudioError ends it. VmHWM, since ru_maxrss would
# begin with the parent's. The limit keeps a runaway from the machine and lies above what is asserted, to be noticed.
WORKER = f"""
import json, resource, sys
import numpy as np
from tumbao.components.ingest.fragments import cut
from tumbao.components.ingest.waveform import AudioError, decode, probe
from tumbao.schema.mel_spec import MelSpec

resource.setrlimit(resource.RLIMIT_AS, (3 * {MEMORY_BYTES}, 3 * {MEMORY_BYTES}))
spec = MelSpec()
for line in sys.stdin:
    path = json.loads(line)
    try:
        probe(path)
        samples = decode(path, spec.sample_rate_hz).samples
        fragments, _ = cut(samples, spec, path)
        sound = fragments.shape[1:] == (spec.fragment_samples,) and np.abs(fragments).max() <= 1
        outcome = "ingested" if sound else "wrong"
    except AudioError as error:
        outcome = error.reason.value if error.path == path else "wrong"
    with open("/proc/self/status") as status:
        peak = next(int(row.split()[1]) for row in status if row.startswith("VmHWM:"))
    print(json.dumps([outcome, 1024 * peak]), flush=True)
"""

# Where a header says something: (what stands before it, bytes in between, bytes of the number).
Field = tuple[bytes, int, int]
LENGTHS: dict[str, list[Field]] = {
    "wav": [(b"data", 0, 4), (b"RIFF", 0, 4)],
    "flac": [(b"fLaC", 17, 5)],
    "ogg": [(b"OggS", 2, 8)],
    "mp3": [(b"Xing", 4, 4), (b"Xing", 8, 4)],
    "m4a": [(b"mvhd", 16, 4), (b"mdhd", 16, 4), (b"mdhd", 12, 4), (b"stts", 8, 4), (b"stts", 12, 4)],
    "webm": [(b"\x44\x89\x88", 0, 8), (b"\x2a\xd7\xb1\x83", 0, 3)],
}
CHANNELS: dict[str, list[Field]] = {
    "wav": [(b"fmt ", 6, 2), (b"fmt ", 8, 4), (b"fmt ", 18, 2)],
    "flac": [(b"fLaC", 16, 1), (b"fLaC", 14, 3)],
    "ogg": [(b"\x01vorbis", 4, 1), (b"\x01vorbis", 5, 4)],
    "mp3": [(b"\xff\xf3", 1, 1), (b"\xff\xf3", 0, 1)],
    "m4a": [(b"mp4a", 16, 2), (b"mp4a", 24, 4)],
    "webm": [(b"\x9f\x81", 0, 1), (b"\xb5\x88", 0, 8), (b"OpusHead", 1, 1)],
}
SIZES: dict[str, list[Field]] = {
    "wav": [(b"WAVEfmt ", 0, 4), (b"fmt ", 16, 2)],
    "flac": [(b"fLaC", 1, 3), (b"fLaC", 4, 4)],
    "ogg": [(b"OggS", 22, 1), (b"\x03vorbis", 0, 4), (b"\x03vorbis", 4, 4)],
    "mp3": [(b"ID3", 3, 4), (b"Xing", 0, 4)],
    "m4a": [
        (b"stsz", 4, 4),
        (b"stsz", 8, 4),
        (b"stsc", 4, 4),
        (b"stco", 4, 4),
        (b"esds", 5, 4),
        (b"moov", -8, 4),
        (b"free", 0, 4),
    ],
    "webm": [
        (b"\x18\x53\x80\x67", 0, 8),
        (b"\x63\xa2", 0, 1),
        (b"\x1f\x43\xb6\x75", 0, 3),
        (b"\x16\x54\xae\x6b", 0, 2),
    ],
}


def original(kind: str, rng: np.random.Generator) -> bytes:
    """Write 4 to 6 s of stereo noise in one of the six formats."""
    samples = rng.uniform(-0.5, 0.5, (round(RATE * rng.uniform(4, 6)), 2)).astype(np.float32)
    file = io.BytesIO()
    if kind in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(file, samples, RATE, format=kind.upper())
        tag = b"ID3\4\0\0\0\0\0\100" + bytes(64) if kind == "mp3" else b""
        return sealed(file.getvalue()) if kind == "ogg" else tag + file.getvalue()
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


def sealed(ogg: bytes) -> bytes:
    """Give each page the serial number 1 and its checksum, without which it would not be looked at."""
    pages = []
    for body in ogg.split(b"OggS")[1:]:
        page = bytearray(b"OggS" + body)
        page[14:18], page[22:26] = (1).to_bytes(4, "little"), bytes(4)
        checksum = 0
        for byte in page:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ OGG_TABLE[checksum >> 24 ^ byte]
        page[22:26] = checksum.to_bytes(4, "little")
        pages.append(bytes(page))
    return b"".join(pages)


def ogg_table() -> list[int]:
    table = list(range(0, 256 << 24, 1 << 24))
    for _ in range(8):
        table = [(entry << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if entry >> 31 else 0) for entry in table]
    return table


OGG_TABLE = ogg_table()


def flip(content: bytes, rng: np.random.Generator, within: int) -> bytes:
    damaged = bytearray(content)
    for position in rng.integers(min(within, len(content)), size=rng.integers(1, 65)):
        damaged[position] ^= 1 << rng.integers(8)
    return bytes(damaged)


def lie(content: bytes, kind: str, fields: list[Field], rng: np.random.Generator) -> bytes:
    """Put a wrong number where the header has one, at one of the places that say so."""
    marker, offset, width = fields[rng.integers(len(fields))]
    numbers = [0, 1, 2, 7, 255, 1 << 15, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, int(rng.integers(1 << 62))]
    number = numbers[rng.integers(len(numbers))] & ((1 << 8 * width) - 1)
    places = content.split(marker)
    chosen = 1 + int(rng.integers(min(len(places) - 1, 40)))
    start = len(marker.join(places[:chosen])) + len(marker) + offset
    order: Literal["little", "big"] = "little" if kind in ("wav", "ogg") else "big"
    damaged = content[:start] + number.to_bytes(width, order) + content[start + width :]
    return sealed(damaged) if kind == "ogg" else damaged


def lies(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Lie four times, for what is only dangerous together: so many samples, each so large."""
    for _ in range(4):
        content = lie(content, kind, LENGTHS[kind] + CHANNELS[kind] + SIZES[kind], rng)
    return content


def zeros(content: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return bytes(rng.choice([0, 1, 44, 100_000]))
    first, last = sorted(rng.integers(len(content), size=2))
    return content[:first] + bytes(last - first) + content[last:]


def text(content: bytes, rng: np.random.Generator) -> bytes:
    words = "La música «tropical», 🎺\r\n".encode() * int(rng.integers(1, 2_000))
    start = rng.integers(len(content))
    return [words, words + content, content[:start] + words + content[start:]][rng.integers(3)]


def mutants(folder: Path, seed: int, count: int) -> Iterator[Path]:
    """Write damaged files, named after their number, their damage and their (sometimes wrong) extension."""
    rng = np.random.default_rng(seed)
    contents = {kind: original(kind, rng) for kind in LENGTHS}
    kinds = list(contents)
    damages = {
        "flip": lambda content, kind: flip(content, rng, len(content)),
        "flip_header": lambda content, kind: flip(content, rng, 1_024),
        "truncate": lambda content, kind: content[: int(rng.integers(len(content)))],
        "truncate_header": lambda content, kind: content[: int(rng.integers(1_024))],
        "length": lambda content, kind: lie(content, kind, LENGTHS[kind], rng),
        "channels": lambda content, kind: lie(content, kind, CHANNELS[kind], rng),
        "size": lambda content, kind: lie(content, kind, SIZES[kind], rng),
        "lies": lambda content, kind: lies(content, kind, rng),
        "extension": lambda content, kind: content,
        "zeros": lambda content, kind: zeros(content, rng),
        "text": lambda content, kind: text(content, rng),
    }
    for number in range(count):
        kind = kinds[number % len(kinds)]
        damage = list(damages)[number // len(kinds) % len(damages)]
        extension = kinds[(number + 1) % len(kinds)] if damage == "extension" else kind
        path = folder / f"{number:03}-{kind}-{damage}.{extension}"
        path.write_bytes(damages[damage](contents[kind], kind))
        yield path


@contextlib.contextmanager
def worker(program: str) -> Iterator[tuple[IO[str], IO[str]]]:
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


def outcomes(
    paths: list[Path], program: str = WORKER, watchdog_seconds: float = WATCHDOG_SECONDS
) -> list[tuple[str, str, int]]:
    """Decode one file after the other: name, outcome, peak bytes of the process so far."""
    told: list[tuple[str, str, int]] = []
    while len(told) < len(paths):
        with worker(program) as (questions, answers):
            for path in paths[len(told) :]:
                questions.write(json.dumps(str(path)) + "\n")
                questions.flush()
                in_time, _, _ = select.select([answers], [], [], watchdog_seconds)
                answer = answers.readline() if in_time else ""
                if not answer:  # the next worker goes on behind this file
                    told.append((path.name, "died" if in_time else "hung", 0))
                    break
                told.append((path.name, *json.loads(answer)))
    return told


def test_500_damaged_files_are_each_ingested_or_rejected(tmp_path: Path) -> None:
    paths = list(mutants(tmp_path, SEED, MUTANTS))
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(outcomes, [paths[number::PROCESSES] for number in range(PROCESSES)])
        told = [line for part in parts for line in part]
    names = {outcome: {name for name, other, _ in told if other == outcome} for _, outcome, _ in told}
    ingested = names.pop("ingested")
    rejected = {name for reason in Reason for name in names.pop(reason.value, set())}
    assert names == {}  # died, hung, wrong
    assert sorted(name for name, _, _ in told) == sorted(path.name for path in paths)
    assert len(ingested) + len(rejected) == len(paths) == MUTANTS
    for kind in LENGTHS:
        for group in (ingested, rejected):
            assert any(f"-{kind}-" in name for name in group)
    assert max(peak for _, _, peak in told) < MEMORY_BYTES
    for path in paths:  # kept where one of them needs to be looked at
        path.unlink()


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for one, other in zip(mutants(tmp_path, 7, 60), mutants(tmp_path / "again", 7, 60), strict=True):
        assert (one.name, one.read_bytes()) == (other.name, other.read_bytes())


def test_a_worker_that_dies_or_hangs_costs_its_file_and_is_noticed(tmp_path: Path) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "fatal.wav", tmp_path / "c.wav"]
    for damage, outcome in (("os._exit(1)", "died"), ("time.sleep(60)", "hung")):
        program = (
            "import os, sys, time\n"
            "for line in sys.stdin:\n"
            f"    if 'fatal' in line: {damage}\n"
            "    print('[\"ingested\", 1]', flush=True)"
        )
        assert [line[1] for line in outcomes(paths, program, 2)] == ["ingested", outcome, "ingested"]
