"""How long `tumbao classify` takes from a cold start to the answer for one 3-minute mp3.

Each run is a fresh process, and so is its peer of the same round: a Python that only imports TensorFlow. The ratio of
both says more than the seconds, which are this machine's at this hour. The last line is the result as JSON.

    python benchmarks/classify_cold_start.py [--model PUSHED_DIR]
"""

from __future__ import annotations

import argparse
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
CLASSIFY = "from tumbao.pipeline.cli import main; main()"
PEER = "import tensorflow"


def write_song(path: Path) -> None:
    """Write an mp3 with chords, a beat and noise.

    Parameters
    ----------
    path : Path
        The file.
    """
    seconds = np.arange(SONG_SECONDS * RATE_HZ) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * seconds) for hz in (220.0, 277.2, 329.6)) / 6
    beat = np.random.default_rng(0).uniform(-0.4, 0.4, len(seconds)) * np.exp(-20 * (seconds % 0.5))
    soundfile.write(path, np.stack([chord + beat, chord - beat], axis=1), RATE_HZ)


def run(*arguments: str) -> tuple[float, str]:
    """Run a fresh Python.

    Parameters
    ----------
    *arguments : str
        Its arguments.

    Returns
    -------
    seconds : float
        From start to end, in seconds.
    output : str
        What it wrote to stdout.
    """
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
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
    answers, peers = [], []
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.mp3"
        write_song(song)
        for _ in range(options.runs):
            seconds, output = run("-c", CLASSIFY, "classify", str(song), "--model", options.model, "--json")
            answers.append(seconds)
            peers.append(run("-c", PEER)[0])
    fragments = len(json.loads(output)["fragments"])

    console = Console()
    table = Table("fresh process", "median s", "fastest s", "slowest s")
    for name, times in ((f"tumbao classify, {fragments} fragments", answers), (PEER, peers)):
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(times), min(times), max(times))))
    console.print(table)
    result = {
        "benchmark": "classify_cold_start",
        "song_seconds": SONG_SECONDS,
        "fragments": fragments,
        "runs": options.runs,
        "cpus": len(os.sched_getaffinity(0)),
        "median_seconds": round(statistics.median(answers), 3),
        "peer": PEER,
        "peer_median_seconds": round(statistics.median(peers), 3),
        "ratio": round(statistics.median(answers) / statistics.median(peers), 3),
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
