"""How many times faster than real time `tumbao classify` goes through a library of 3-minute mp3s.

Each run is a fresh process: startup, decoding, model and the file of answers all count. What the songs sound like does
not matter to the time it takes. The last line is the result as JSON.

    python benchmarks/classify_library.py [--model PUSHED_DIR] [--songs 40]
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


def write_song(path: Path, number: int) -> None:
    """Write an mp3 with chords, a beat and noise.

    Parameters
    ----------
    path : Path
        The file.
    number : int
        Each has another pitch and tempo.
    """
    seconds = np.arange(SONG_SECONDS * RATE_HZ) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * (1 + number / 50) * seconds) for hz in (220.0, 277.2, 329.6)) / 6
    noise = np.random.default_rng(number).uniform(-0.4, 0.4, len(seconds))
    beat = noise * np.exp(-20 * (seconds % (0.4 + number % 10 / 50)))
    soundfile.write(path, np.stack([chord + beat, chord - beat], axis=1), RATE_HZ)


def classify(library: Path, model: str, out: Path, *options: str) -> float:
    """Classify in a fresh process.

    Parameters
    ----------
    library : Path
        Folder of songs.
    model : str
        Where the model is pushed.
    out : Path
        File for the answers.
    *options : str
        More of the command line.

    Returns
    -------
    seconds : float
        From start to end, in seconds.
    """
    arguments = ["classify", str(library), "--model", model, "--out", str(out), *options]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CLASSIFY, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"tumbao {' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tumbao-workspace/pushed", help="pushed model (default %(default)s)")
    parser.add_argument("--songs", type=int, default=40, help="songs in the library (default 40)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    options = parser.parse_args()
    steps: dict[str, list[float]] = {"classify": [], "go on with nothing left": [], "tag what was classified": []}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "songs"
        library.mkdir()
        for number in range(options.songs):
            write_song(library / f"{number}.mp3", number)
        for turn in range(options.runs):
            out = Path(folder) / f"{turn}.jsonl"
            steps["classify"].append(classify(library, options.model, out))
            steps["go on with nothing left"].append(classify(library, options.model, out))
        steps["tag what was classified"].append(classify(library, options.model, out, "--write-tags"))

    sound = options.songs * SONG_SECONDS
    console = Console()
    table = Table("fresh process", "median s", "fastest s", "slowest s", "× real time")
    for name, times in steps.items():
        median = statistics.median(times)
        table.add_row(name, *(f"{value:.1f}" for value in (median, min(times), max(times))), f"{sound / median:.0f}")
    console.print(table)
    result = {
        "benchmark": "classify_library",
        "songs": options.songs,
        "song_seconds": SONG_SECONDS,
        "runs": options.runs,
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "classify_x_realtime": round(sound / statistics.median(steps["classify"]), 1),
        "fastest_x_realtime": round(sound / min(steps["classify"]), 1),
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
