"""Speed, memory and steps of ingest, on a library of synthetic mp3 songs.

Three methods are compared on one CPU: the paper's in one process (ffmpeg cuts 30-second files, librosa loads them and
computes the mel spectrogram, matplotlib plots it, and the image is read back and resized), Tumbao's `IngestSongs` in
Beam with an empty cache, and the floor, which only decodes and resamples. The paper's method is measured with fragments
as mp3, ffmpeg's default, and as wav, which is faster. Ingest is also measured on two CPUs. Its seconds per song are the
difference between many and few songs, without the start, which is reported separately. All methods take turns, and
medians are compared. The last line is the result as JSON.

    python benchmarks/ingest.py

The paper's method needs ffmpeg: the program, or the package imageio-ffmpeg, which Tumbao itself does not need:

    uv pip install --target .tools/ffmpeg imageio-ffmpeg
    PYTHONPATH=.tools/ffmpeg python benchmarks/ingest.py
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import importlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

RATE_HZ = 44_100
SHORT_RATE_HZ = 22_050  # of the mono songs of the memory measurement, which are faster to encode
ENCODED_FRAMES = 8_192  # in one write: long writes can fail in libsndfile's mp3 encoder
READ_FRAMES = 65_536
FRAGMENT_SECONDS = 30
GENRES = ("bachata", "salsa")
SPLITS = ("train", "val", "test")
ENCODING = {"bitrate_mode": "CONSTANT", "compression_level": 0.2}
"""256 kbit/s at 44.1 kHz, near the mean of large music collections; the time of decoding depends on it."""

SCALE = 20
"""Ratio of the sizes of both libraries of the memory measurement."""

console = Console()
Worker = concurrent.futures.ProcessPoolExecutor
Row = dict[str, str]


SONGS, SONG_SECONDS, FEW, ROUNDS = 8, 180, 2, 3
"""Library of the measurement of speed; `FEW` songs are ingested to measure the start."""

SHORT_SONGS, SHORT_SECONDS = 3, 60
"""The smaller library of the memory measurement."""


def write_song(path: Path, seed: int, seconds: int, rate: int) -> None:
    """Compose and encode a song: chords that change every second, a beat, noise."""
    random = np.random.default_rng(seed)
    chords = 110 * 2 ** (random.integers(0, 36, (seconds + 1, 4)) / 12)  # Hz
    beats_per_second = random.uniform(1.5, 3)
    with soundfile.SoundFile(path, "w", rate, 1 + (rate == RATE_HZ), format="MP3", **ENCODING) as file:
        for begin in range(0, seconds * rate, ENCODED_FRAMES):
            at = np.arange(begin, min(begin + ENCODED_FRAMES, seconds * rate)) / rate
            chord = np.sin(2 * np.pi * np.outer(chords[int(at[0])], at)).sum(axis=0) / 10
            beat = random.uniform(-0.4, 0.4, len(at)) * np.exp(-20 * (at * beats_per_second % 1))
            noise = random.normal(0, 0.01, len(at))
            file.write(np.stack([chord + beat + noise, chord - beat / 2 + noise], axis=1)[:, : file.channels])


def write_library(folder: Path, songs: int, seconds: int, rate: int) -> list[Row]:
    """Write and scan a library; return the rows of its manifests."""
    from tumbao.components.ingest.library import scan, write_manifests
    from tumbao.schema.mel_spec import MelSpec

    library = folder / "library"
    for genre in GENRES:
        (library / genre).mkdir(parents=True)
    with Worker(mp_context=multiprocessing.get_context("spawn")) as pool:
        written = [
            pool.submit(write_song, library / GENRES[n % len(GENRES)] / f"{n:04}.mp3", n, seconds, rate)
            for n in range(songs)
        ]
        for n, song in enumerate(concurrent.futures.as_completed(written), 1):
            song.result()
            if n % 10 == 0 or n == songs:
                log(f"composed {n} of {songs} songs of {seconds} s")
    (library / "library.json").write_text('{"synthetic": true}')
    catalog = scan(library, GENRES, MelSpec())
    manifests = write_manifests(catalog, folder / "catalogs", genres=GENRES, split_by="song", seed=0, spec=MelSpec())
    rows = []
    for split in SPLITS:
        with (manifests / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows += [{**row, "split": split} for row in csv.DictReader(file)]
    if len(rows) != songs:
        raise RuntimeError(f"Expected {songs} songs in {manifests}. Received: {len(rows)}")
    return rows


def ffmpeg() -> str:
    """Return the path of ffmpeg."""
    if program := shutil.which("ffmpeg"):
        return program
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except ImportError:
        raise SystemExit(f"The paper's method needs ffmpeg, which is not on PATH.\n\n{__doc__}") from None


def recipe(song: str, program: str, cut_to: str) -> float:
    """Make the mel images of a song by the paper's method; return the seconds."""
    import librosa
    import librosa.display
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        cut = ("-f", "segment", "-segment_time", str(FRAGMENT_SECONDS), f"{folder}/%03d.{cut_to}")
        subprocess.run([program, "-loglevel", "error", "-i", song, *cut], check=True)
        fragments = sorted(Path(folder).glob(f"*.{cut_to}"))[: fragments_of(song)]
        for fragment in fragments:
            samples, rate = librosa.load(fragment)
            mel = librosa.feature.melspectrogram(y=samples, sr=rate)
            figure = pyplot.figure()
            librosa.display.specshow(librosa.power_to_db(mel, ref=np.max), sr=rate)
            figure.savefig(fragment.with_suffix(".png"))
            pyplot.close(figure)
            with Image.open(fragment.with_suffix(".png")) as picture:
                image = np.asarray(picture.convert("RGB").resize((300, 300)))
        seconds = time.perf_counter() - started
    if image.shape != (300, 300, 3):
        raise RuntimeError(f"Expected an image of 300 × 300. Received: shape={image.shape}")
    return seconds


def fragments_of(song: str) -> int:
    """Count the complete fragments of a song."""
    return int(soundfile.info(song).duration) // FRAGMENT_SECONDS


class Stream(soundfile.SoundFile):
    """A sound file that is only read to its end; otherwise soundfile seeks after each read, which is slow for mp3."""

    def seekable(self) -> bool:
        """Return False."""
        return False


def floor(songs: Sequence[str]) -> float:
    """Decode songs and resample them to 22,050 Hz mono; return the seconds."""
    import soxr

    started = time.perf_counter()
    for song in songs:
        with Stream(song) as file:
            stream = soxr.ResampleStream(file.samplerate, 22_050, num_channels=1, quality="HQ")
            while len(block := file.read(READ_FRAMES, dtype="float32", always_2d=True)):
                stream.resample_chunk((block[:, 0] + block[:, 1]) * np.float32(0.5))
            stream.resample_chunk(np.empty(0, np.float32), last=True)
    return time.perf_counter() - started


def ingest(rows: Sequence[Row]) -> float:
    """Run `IngestSongs` in Beam with an empty cache and write its records; return the seconds."""
    import apache_beam as beam

    from tumbao.components.ingest.transform import INGESTED, REJECTED, IngestSongs
    from tumbao.schema.mel_spec import MelSpec

    if "tfx" in sys.modules:
        raise RuntimeError("Expected a worker without TFX.")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            outputs = pipeline | beam.Create(rows) | IngestSongs(MelSpec(), list(GENRES), f"{folder}/songs")
            for split in SPLITS:
                target = beam.io.WriteToTFRecord(f"{folder}/{split}", file_name_suffix=".gz")
                _ = outputs[split] | f"Write[{split}]" >> target
            for name in (INGESTED, REJECTED):
                target = beam.io.WriteToText(f"{folder}/{name}", shard_name_template="")
                _ = outputs[name] | f"Write[{name}]" >> target
        seconds = time.perf_counter() - started
        lines = Path(folder, INGESTED).read_text().splitlines()
    ingested = sum(json.loads(line)["fragments"] for line in lines)
    expected = sum(int(float(row["seconds"])) // FRAGMENT_SECONDS for row in rows)
    if ingested != expected:
        raise RuntimeError(f"Expected {expected} records. Received: {ingested}")
    return seconds


def starting(rows: Sequence[Row]) -> float:
    """Warm up: import the modules of ingest and ingest once; return the seconds."""
    started = time.perf_counter()
    ingest(rows)
    return time.perf_counter() - started


def stages(song: str) -> dict[str, float]:
    """Measure the steps of ingest one by one; return milliseconds per fragment."""
    import tensorflow as tf

    from tumbao.components.ingest import mel, records, song_cache
    from tumbao.components.ingest.audio_file import open_audio
    from tumbao.components.ingest.decoders import AudioSegment
    from tumbao.components.ingest.fingerprint import fingerprint
    from tumbao.components.ingest.waveform import AudioStream
    from tumbao.schema.mel_spec import MelSpec

    spec = MelSpec()
    signature = [tf.TensorSpec([None, spec.fragment_samples], tf.float32)]
    render = tf.function(lambda fragments: mel.mel_levels(fragments, spec), input_signature=signature)
    render(tf.zeros([1, spec.fragment_samples]))
    palette = mel.palette(spec)
    count = fragments_of(song)
    times: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        times[step] = (time.perf_counter() - started) / count * 1000

    with timed("decode"), open_audio(Path(song)) as file:
        for _ in file.blocks():
            pass
    with timed("sound"):
        samples = np.concatenate(list(AudioStream(song, spec.sample_rate_hz)))
    times["resample"] = times.pop("sound") - times["decode"]
    fragments = samples[: count * spec.fragment_samples].reshape(count, 1, -1)
    with timed("mel"):
        levels = [render(fragment)[0].numpy() for fragment in fragments]
    with timed("fingerprint"):
        for image in levels:
            fingerprint(image, spec)
    with timed("PNG"):
        images = [records.to_png(image, palette) for image in levels]
    with tempfile.TemporaryDirectory() as folder, timed("write"):
        cache = song_cache.SongCache(folder)
        path = cache.path(AudioSegment(song), "0" * 64)
        with cache.writing(path) as entries:
            for index, png in enumerate(images):
                song_cache.add_image(entries, index, png)
        with tf.io.TFRecordWriter(f"{folder}/records", "GZIP") as writer:
            for index, png in song_cache.images(path):
                example = records.to_example(
                    png, label=0, genre="salsa", song=song, fragment=index, start_seconds=0, padded=False
                )
                writer.write(example.SerializeToString(deterministic=True))
    return times


def peak_mb(process: str) -> float:
    """Return the peak resident memory of a process, 0 if there is none.

    ru_maxrss is not used, because a child inherits it from its parent.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@dataclasses.dataclass(frozen=True)
class Memory:
    """Peak memory for one library: of the worker, of the largest renderer, and of the worker after one song."""

    worker_mb: float
    renderer_mb: float
    renderers: int
    idle_mb: float


def memory(rows: Sequence[Row]) -> Memory:
    """Ingest in this process, which must be new, and measure its memory."""
    starting(rows[:1])
    idle = peak_mb("self")
    children: dict[str, float] = {}
    most = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.2):
            tasks = Path("/proc/self/task").glob("*/children")
            here = {child for task in tasks for child in _text(task).split()}
            children.update((child, max(peak_mb(child), children.get(child, 0))) for child in here)
            most = max(most, len(here))

    watcher = threading.Thread(target=watch)
    watcher.start()
    ingest(rows)
    ended.set()
    watcher.join()
    return Memory(peak_mb("self"), max(children.values(), default=0.0), most, idle)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


@contextlib.contextmanager
def worker(cpus: set[int]) -> Iterator[Callable[..., Any]]:
    """Provide a function that calls others in a new process, which is limited to some CPUs with its children."""
    everywhere = os.sched_getaffinity(0)
    with Worker(1, multiprocessing.get_context("spawn")) as pool:

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            os.sched_setaffinity(0, cpus)  # inherited when the first call starts the process
            try:
                return pool.submit(function, *arguments).result()
            finally:
                os.sched_setaffinity(0, everywhere)

        yield call


def log(text: str) -> None:
    """Print a message with the time."""
    console.print(f"{time.perf_counter() - STARTED:5.0f} s  {text}", highlight=False)


STARTED = time.perf_counter()


def speed(folder: Path, program: str) -> dict[str, float]:
    """Measure the seconds per song of each method, and of the start."""
    rows = write_library(folder, SONGS, SONG_SECONDS, RATE_HZ)
    songs = [row["path"] for row in rows]
    cpus = sorted(os.sched_getaffinity(0))
    taken: dict[str, list[float]] = collections.defaultdict(list)
    with worker({cpus[0]}) as plain, worker({cpus[0]}) as one, worker(set(cpus[:2])) as two:
        taken["warm up"].append(one(starting, rows[:FEW]))
        two(starting, rows[:FEW])
        plain(recipe, songs[0], program, "wav")
        steps = [one(stages, song) for song in songs[: ROUNDS + 1]][1:]
        for n in range(ROUNDS):
            taken["floor"].append(plain(floor, songs) / SONGS)
            for cut_to in ("mp3", "wav"):
                taken[f"recipe {cut_to}"].append(plain(recipe, songs[n % SONGS], program, cut_to))
            for name, call in (("one", one), ("two", two)):
                taken[f"{name} few"].append(call(ingest, rows[:FEW]))
                taken[f"{name} all"].append(call(ingest, rows))
            log(f"round {n + 1} of {ROUNDS}: " + ", ".join(f"{k} {v[-1]:.3f} s" for k, v in taken.items()))
    with worker(set(cpus[:2])) as process:
        peaks = process(memory, rows)
        log(f"{SONGS} songs: {peaks}")
    result = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name in ("one", "two"):
        result[name] = (result[f"{name} all"] - result[f"{name} few"]) / (SONGS - FEW)
    result["start"] = result["one few"] - FEW * result["one"]
    result |= {f"step {step}": statistics.median(times[step] for times in steps) for step in steps[0]}
    return {**result, "peak": peaks.worker_mb}


def growth(folder: Path) -> tuple[Memory, Memory]:
    """Measure memory for two libraries."""
    rows = write_library(folder, SCALE * SHORT_SONGS, SHORT_SECONDS, SHORT_RATE_HZ)
    measured = []
    for part in (rows[:SHORT_SONGS], rows):
        with worker(os.sched_getaffinity(0)) as process:
            measured.append(process(memory, part))
        log(f"{len(part)} short songs: {measured[-1]}")
    small, large = measured
    return small, large


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    program = ffmpeg()
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}  # of the workers
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds = speed(Path(folder, "songs"), program)
        small, large = growth(Path(folder, "short"))
    fragments = SONG_SECONDS // FRAGMENT_SECONDS

    table = Table("a synthetic song of 3 minutes", "seconds", "relative to the floor")
    for name, key in (
        ("decoding and resampling only, one CPU", "floor"),
        ("the paper's method, cut to mp3, one CPU", "recipe mp3"),
        ("the paper's method, cut to wav, one CPU", "recipe wav"),
        ("Tumbao, one CPU", "one"),
        ("Tumbao, two CPUs", "two"),
    ):
        table.add_row(name, f"{seconds[key]:.3f}", f"{seconds[key] / seconds['floor']:.2f}")
    console.print(table)

    steps = {key.removeprefix("step "): value for key, value in seconds.items() if key.startswith("step ")}
    whole = seconds["one"] / fragments * 1000
    steps["Beam and the rest"] = whole - sum(steps.values())
    table = Table("a fragment of 30 s, one CPU", "ms", "share")
    for step, milliseconds in {**steps, "all": whole}.items():
        table.add_row(step, f"{milliseconds:.1f}", f"{milliseconds / whole:.0%}")
    console.print(table)

    table = Table("peak memory after", "worker MB", "rendering process MB")
    table.add_row("start, one song", f"{small.idle_mb:.0f}", "")
    for songs, peaks in ((SHORT_SONGS, small), (SCALE * SHORT_SONGS, large)):
        what = f"{songs} songs of {SHORT_SECONDS} s"
        table.add_row(what, f"{peaks.worker_mb:.0f}", f"{peaks.renderer_mb:.0f} × {peaks.renderers}")
    table.add_row(f"{SONGS} songs of {SONG_SECONDS} s", f"{seconds['peak']:.0f}", "")
    console.print(table)

    result: dict[str, Any] = {
        "benchmark": "ingest",
        "vs_paper_recipe": round(seconds["recipe mp3"] / seconds["one"], 2),
        "vs_paper_recipe_cut_to_wav": round(seconds["recipe wav"] / seconds["one"], 2),
        "two_cores": round(seconds["one"] / seconds["two"], 2),
        "vs_decode_floor": round(seconds["one"] / seconds["floor"], 2),
        "peak_mb": round(max(large.worker_mb, large.renderer_mb, seconds["peak"])),
        "memory_growth": round(large.worker_mb / small.worker_mb - 1, 3),
        "seconds_of_audio_per_second": round(SONG_SECONDS / seconds["one"]),
        "records_per_second": round(fragments / seconds["one"], 1),
        "two_cores_records_per_second": round(fragments / seconds["two"], 1),
        "renderer_peak_mb": round(large.renderer_mb),
        "floor_seconds": round(seconds["floor"], 3),
        "song_seconds": SONG_SECONDS,
        "start_seconds": round(seconds["start"], 2),
        "warm_up_seconds": round(seconds["warm up"], 2),
        "fragment_ms": {step: round(milliseconds, 1) for step, milliseconds in steps.items()},
        "synthetic": True,
        "rounds": ROUNDS,
        "load_before": round(load, 1),
    }
    console.print(json.dumps(result, ensure_ascii=False), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
