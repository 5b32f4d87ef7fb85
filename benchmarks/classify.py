"""Time of `tumbao classify`: from a cold start to the answer for one 3-minute mp3, and for a library of them.

Each run is a fresh process, so that startup, decoding, model and writing are included. Another fresh Python only
imports TensorFlow: the ratio of both times depends less on the machine and its load than the seconds. The last line is
the result as JSON.

    python benchmarks/classify.py [--model PUSHED_DIR] [--songs 40]
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

SONG_SECONDS = 180
RATE_HZ = 44_100
TUMBAO = "from tumbao.pipeline.cli import main; main()"
BASELINE = "import tensorflow"


def write_song(file: Path | io.BytesIO, number: int = 0, song_seconds: float = SONG_SECONDS) -> None:
    """Write an mp3 with chords, a beat and noise; each number has another pitch and tempo."""
    seconds = np.arange(round(song_seconds * RATE_HZ)) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * (1 + number / 50) * seconds) for hz in (220.0, 277.2, 329.6)) / 6
    noise = np.random.default_rng(number).uniform(-0.4, 0.4, len(seconds))
    beat = noise * np.exp(-20 * (seconds % (0.4 + number % 10 / 50)))
    soundfile.write(file, np.stack([chord + beat, chord - beat], axis=1), RATE_HZ, format="MP3")


def run_python(program: str, *arguments: str) -> tuple[float, str]:
    """Run a program in a fresh Python; return its seconds and its standard output."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    return seconds, done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tumbao-workspace/pushed", help="pushed model (default %(default)s)")
    parser.add_argument("--songs", type=int, default=40, help="songs in the library (default 40)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    options = parser.parse_args()
    times: dict[str, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "songs"
        library.mkdir()
        for number in range(options.songs):
            write_song(library / f"{number}.mp3", number)
        for turn in range(options.runs):
            command = ("classify", "--model", options.model)
            times["one song"].append(run_python(TUMBAO, *command, str(library / "0.mp3"), "--json")[0])
            times[BASELINE].append(run_python(BASELINE)[0])
            command = (*command, str(library), "--out", f"{folder}/{turn}.jsonl")
            times["library"].append(run_python(TUMBAO, *command)[0])
            times["continue with nothing left"].append(run_python(TUMBAO, *command)[0])
        times["tag classified songs"].append(run_python(TUMBAO, *command, "--write-tags")[0])

    console = Console()
    table = Table("fresh process", "median s", "fastest s", "slowest s")
    for name, seconds in times.items():
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds))))
    console.print(table)
    audio_seconds = options.songs * SONG_SECONDS
    result = {
        "benchmark": "classify",
        "songs": options.songs,
        "song_seconds": SONG_SECONDS,
        "runs": options.runs,
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "cold_start_seconds": round(statistics.median(times["one song"]), 3),
        "vs_import_tensorflow": round(statistics.median(times["one song"]) / statistics.median(times[BASELINE]), 3),
        "x_realtime": round(audio_seconds / statistics.median(times["library"]), 1),
        "fastest_x_realtime": round(audio_seconds / min(times["library"]), 1),
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
