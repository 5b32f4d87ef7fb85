"""Load test of `tumbao serve`: many clients at the same time, each of which sends one song after the other.

Server and clients share the CPUs of this machine. Memory is that of the server and its decoders; its growth is from the
second third of the time to the last. The last line is the result as JSON.

    python benchmarks/serve.py [--model PUSHED_DIR] [--clients 32] [--seconds 60]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from classify import TUMBAO, write_song
from rich.console import Console
from rich.table import Table


def song(seconds: float, number: int) -> bytes:
    """Encode a song as mp3."""
    file = io.BytesIO()
    write_song(file, number, seconds)
    return file.getvalue()


@contextlib.contextmanager
def server(model: str) -> Iterator[tuple[int, str]]:
    """Run `tumbao serve`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as output:
            command = [sys.executable, "-c", TUMBAO, "serve", "--model", model, "--port", "0"]
            process = subprocess.Popen(command, stderr=output, env={**os.environ, "TMPDIR": folder})
        try:
            while not (found := re.search(r"Listening at (http://\S+)/ ", log.read_text())):
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.05)
            while httpx.get(f"{found[1]}/readyz").status_code != 200:
                time.sleep(0.05)
            yield process.pid, found[1]
        finally:
            process.terminate()
            process.wait()


def memory_bytes(pid: int) -> int:
    """Add up the memory of a process and its children."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    total = 0
    for process in [pid, *children]:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            _, resident, shared, *_ = map(int, Path(f"/proc/{process}/statm").read_text().split())
            total += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return total


def send_songs(
    address: str, songs: list[bytes], first: int, end: float, seconds: list[float], statuses: Counter[str]
) -> None:
    """Send songs until `end`; append the seconds of each request and count the status codes."""
    with httpx.Client(base_url=address, timeout=150) as client:
        for number in range(first, sys.maxsize):
            began = time.monotonic()
            if began > end:
                return
            try:
                response = client.post("/v1/classify", files={"files": ("song.mp3", songs[number % len(songs)])})
                statuses[str(response.status_code)] += 1
            except httpx.HTTPError as error:
                statuses[type(error).__name__] += 1
            seconds.append(time.monotonic() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tumbao-workspace/pushed", help="pushed model (default %(default)s)")
    parser.add_argument("--clients", type=int, default=32, help="clients at the same time (default 32)")
    parser.add_argument("--seconds", type=float, default=60, help="duration (default 60)")
    parser.add_argument("--song-seconds", type=float, default=60, help="length of each song (default 60)")
    options = parser.parse_args()
    songs = [song(options.song_seconds, number) for number in range(4)]
    seconds: list[float] = []
    statuses: Counter[str] = Counter()
    load = os.getloadavg()[0]
    with server(options.model) as (pid, address):
        began = time.monotonic()
        end = began + options.seconds
        clients = [
            threading.Thread(target=send_songs, args=(address, songs, number, end, seconds, statuses))
            for number in range(options.clients)
        ]
        for client in clients:
            client.start()
        memory: list[int] = []
        while any(client.is_alive() for client in clients):
            memory.append(memory_bytes(pid))
            time.sleep(0.5)
        lasted = time.monotonic() - began
        steps = httpx.get(f"{address}/metrics").text
    third = max(1, len(memory) // 3)
    early, late = statistics.median(memory[third : 2 * third]), statistics.median(memory[-third:])
    result = {
        "benchmark": "serve",
        "clients": options.clients,
        "seconds": round(lasted, 1),
        "song_seconds": options.song_seconds,
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_before": round(load, 1),
        "requests": len(seconds),
        "p50_ms": round(1000 * statistics.median(seconds)),
        "p95_ms": round(1000 * statistics.quantiles(seconds, n=20)[-1]),
        "requests_per_second": round(len(seconds) / lasted, 2),
        "x_realtime": round(len(seconds) * options.song_seconds / lasted),
        "errors": len(seconds) - statuses["200"],
        "memory_mb": round(late / 1e6),
        "memory_growth": round(late / early - 1, 3),
    }
    console = Console()
    table = Table("step", "mean s")
    for step in ("upload", "wait", "classify"):
        total, count = (
            float(re.search(rf'^tumbao_step_seconds_{kind}{{step="{step}"}} (\S+)$', steps, re.MULTILINE)[1])  # type: ignore[index] # always there
            for kind in ("sum", "count")
        )
        table.add_row(step, f"{total / count:.3f}")
    table.add_row("request", f"{statistics.mean(seconds):.3f}")
    console.print(table)
    console.print("status: " + ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
