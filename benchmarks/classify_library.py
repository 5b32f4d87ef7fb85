"""Speed of `tumbao classify` on a library of 3-minute mp3s, relative to real time.

Each run is a fresh process, so that startup, decoding, model and writing are included. The last line is the result as
JSON.

    python benchmarks/classify_library.py [--model PUSHED_DIR] [--songs 40]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from classify_cold_start import SONG_SECONDS, TUMBAO, run_python, write_song
from rich.console import Console
from rich.table import Table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tumbao-workspace/pushed", help="pushed model (default %(default)s)")
    parser.add_argument("--songs", type=int, default=40, help="songs in the library (default 40)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    options = parser.parse_args()
    steps: dict[str, list[float]] = {"classify": [], "continue with nothing left": [], "tag classified songs": []}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "songs"
        library.mkdir()
        for number in range(options.songs):
            write_song(library / f"{number}.mp3", number)
        for turn in range(options.runs):
            command = ("classify", str(library), "--model", options.model, "--out", f"{folder}/{turn}.jsonl")
            steps["classify"].append(run_python(TUMBAO, *command)[0])
            steps["continue with nothing left"].append(run_python(TUMBAO, *command)[0])
        steps["tag classified songs"].append(run_python(TUMBAO, *command, "--write-tags")[0])

    audio_seconds = options.songs * SONG_SECONDS
    console = Console()
    table = Table("fresh process", "median s", "fastest s", "slowest s", "× real time")
    for name, times in steps.items():
        median = statistics.median(times)
        seconds = (f"{value:.1f}" for value in (median, min(times), max(times)))
        table.add_row(name, *seconds, f"{audio_seconds / median:.0f}")
    console.print(table)
    result = {
        "benchmark": "classify_library",
        "songs": options.songs,
        "song_seconds": SONG_SECONDS,
        "runs": options.runs,
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "classify_x_realtime": round(audio_seconds / statistics.median(steps["classify"]), 1),
        "fastest_x_realtime": round(audio_seconds / min(steps["classify"]), 1),
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
