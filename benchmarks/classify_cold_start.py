"""Time of `tumbao classify` from a cold start to the answer for one 3-minute mp3.

Each run is a fresh process. In each round, another fresh Python only imports TensorFlow: the ratio of both times
depends less on the machine and its load than the seconds. The last line is the result as JSON.

    python benchmarks/classify_cold_start.py [--model PUSHED_DIR]
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    options = parser.parse_args()
    classify_seconds, baseline_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.mp3"
        write_song(song)
        for _ in range(options.runs):
            seconds, output = run_python(TUMBAO, "classify", str(song), "--model", options.model, "--json")
            classify_seconds.append(seconds)
            baseline_seconds.append(run_python(BASELINE)[0])
    fragments = len(json.loads(output)["fragments"])

    console = Console()
    table = Table("fresh process", "median s", "fastest s", "slowest s")
    for name, times in ((f"tumbao classify, {fragments} fragments", classify_seconds), (BASELINE, baseline_seconds)):
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(times), min(times), max(times))))
    console.print(table)
    result = {
        "benchmark": "classify_cold_start",
        "song_seconds": SONG_SECONDS,
        "fragments": fragments,
        "runs": options.runs,
        "cpus": len(os.sched_getaffinity(0)),
        "median_seconds": round(statistics.median(classify_seconds), 3),
        "peer": BASELINE,
        "peer_median_seconds": round(statistics.median(baseline_seconds), 3),
        "ratio": round(statistics.median(classify_seconds) / statistics.median(baseline_seconds), 3),
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
