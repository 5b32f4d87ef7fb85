"""Speed of the pushed files in LiteRT and OpenVINO.

OpenVINO runs classifier-int8.tflite with the same number of threads in a process and a temporary environment of its
own. All take turns. Ratios are of the fastest times, since other work on the machine only adds to a time. The last line
is the result as JSON.

    python benchmarks/edge.py [--model PUSHED_DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import AUDIO_FILE, CLASSIFIER_FILES, FRONTEND_FILE
from tumbao.serving.predict import find_assets

THREADS = 2
OPENVINO = "openvino==2026.4.1"
OPENVINO_PROGRAM = """
import sys, time
import numpy as np, openvino
file, threads = sys.argv[1], int(sys.argv[2])
options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
request = openvino.Core().compile_model(file, "CPU", options).create_infer_request()
image = np.random.default_rng(0).integers(0, 256, (1, 300, 300, 3), np.uint8)
for _ in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    request.infer([image])
    print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)
"""

Timed = Callable[[], tuple[float, float]]
"""Run one prediction; return its seconds and its CPU seconds."""


def litert(file: Path, name: str, value: np.ndarray) -> Timed:
    """Load a file in LiteRT."""
    runner = Interpreter(model_path=str(file), num_threads=THREADS).get_signature_runner(name)

    def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        runner(**{name: value})
        return time.perf_counter() - wall, time.process_time() - cpu

    return timed


def openvino(python: Path, file: Path) -> tuple[subprocess.Popen[str], Timed]:
    """Load a file in OpenVINO."""
    command = [str(python), "-c", OPENVINO_PROGRAM, str(file), str(THREADS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def timed() -> tuple[float, float]:
        assert process.stdin and process.stdout  # noqa: S101 - both are pipes
        process.stdin.write("\n")
        process.stdin.flush()
        wall, cpu = process.stdout.readline().split()
        return float(wall), float(cpu)

    return process, timed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tumbao-workspace/pushed", help="pushed model (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="predictions of each file (default 20)")
    options = parser.parse_args()
    assets, spec, rng = find_assets(options.model), MelSpec(), np.random.default_rng(0)
    waveform = rng.uniform(-0.5, 0.5, (1, spec.fragment_samples)).astype(np.float32)
    image = rng.integers(0, 256, (1, *spec.image_shape), np.uint8)
    timed = {name: litert(assets / name, "image", image) for name in CLASSIFIER_FILES.values()}
    timed |= {name: litert(assets / name, "waveform", waveform) for name in (FRONTEND_FILE, AUDIO_FILE)}
    int8, peer = CLASSIFIER_FILES["int8"], f"{CLASSIFIER_FILES['int8']} in OpenVINO"
    with tempfile.TemporaryDirectory() as temporary:
        python = Path(temporary) / "venv" / "bin" / "python"
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", OPENVINO, "numpy"], check=True)
        process, timed[peer] = openvino(python, assets / int8)
        with process:
            for predict in timed.values():
                predict()
            times = {name: np.empty((options.rounds, 2)) for name in timed}
            for turn in range(options.rounds):
                for name, predict in timed.items():
                    times[name][turn] = predict()
            process.stdin.close()  # type: ignore[union-attr] # a pipe

    console = Console()
    table = Table("a fragment of 30 s", "fastest ms", "median ms", "CPU ms")
    fastest = {name: values.min(axis=0) for name, values in times.items()}
    for name, values in times.items():
        wall, cpu = 1_000 * fastest[name]
        table.add_row(name, f"{wall:.0f}", f"{1_000 * np.median(values[:, 0]):.0f}", f"{cpu:.0f}")
    console.print(table)
    result = {
        "benchmark": "edge",
        "threads": THREADS,
        "cpus": len(os.sched_getaffinity(0)),
        "rounds": options.rounds,
        "frontend_vs_classifier": round(fastest[FRONTEND_FILE][0] / fastest[int8][0], 3),
        "int8_vs_openvino": round(fastest[int8][0] / fastest[peer][0], 3),
        "int8_vs_openvino_processor_time": round(fastest[int8][1] / fastest[peer][1], 3),
        "dynamic_vs_openvino_int8": round(fastest[CLASSIFIER_FILES["dynamic"]][0] / fastest[peer][0], 3),
        "python": sys.version.split()[0],
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
