"""Check a port: compare its results for `input.wav` with those of Tumbao.

Every pushed model contains a copy under `edge/`, beside the test vectors; it requires only Python and NumPy. Each
argument is optional; the exit status is 0 if all differences are within the tolerances of `expected.json`, else 1.

    python check.py --waveform mine.f32 --image mine.rgb --probabilities mine.json

waveform
    The first fragment, float32, little-endian, as written by `reference.py`. waveform.f32 contains its
    beginning, which is repeated.
image
    The output of frontend.tflite: height × width × 3 bytes.
probabilities
    JSON: name of a .tflite or .onnx file → its output, for example {"tumbao-audio.tflite": [0.1, 0.2, 0.3, 0.2, 0.2]}.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np


def differences(folder: Path, given: Mapping[str, str]) -> Iterator[tuple[str, float, float]]:
    """Compare a port's output with the test vectors.

    `folder` contains expected.json; `given` maps `waveform`, `image` or `probabilities` to the port's file. Yields what
    was compared, the difference and the tolerance. Raises `ValueError` if a file has an unexpected size, genre or name.
    """
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    tolerances = expected["tolerances"]
    if "waveform" in given:
        ours, mine = _pair(folder / "waveform.f32", given["waveform"], "<f4", expected["waveform"]["shape"])
        yield "waveform: largest difference", float(np.abs(ours - mine).max()), tolerances["waveform"]
    if "image" in given:
        ours, mine = _pair(folder / "image.rgb", given["image"], np.uint8, expected["image"]["shape"])
        apart = np.abs(ours.astype(int) - mine).reshape(-1, 3).max(axis=1)
        yield "image: largest difference of a colour", float(apart.max()), tolerances["image_colour"]
        yield "image: share of other pixels", float((apart > 0).mean()), tolerances["image_pixels"]
    if "probabilities" in given:
        answers = json.loads(Path(given["probabilities"]).read_text(encoding="utf-8"))
        for name, values in answers.items():
            ours = np.array(expected["probabilities"].get(name, ()))
            if ours.shape != np.shape(values):
                raise ValueError(
                    f"Expected probabilities of {', '.join(expected['probabilities'])}, one for each of "
                    f"{', '.join(expected['genres'])}. Received: {name!r}: {values}"
                )
            yield f"{name}: largest difference", float(np.abs(ours - values).max()), tolerances["probability"]


def _pair(ours: Path, mine: str, dtype: str | type, shape: list[int]) -> tuple[np.ndarray, np.ndarray]:
    values, size = np.fromfile(mine, dtype), math.prod(shape)
    if values.size != size:
        raise ValueError(f"{mine}: expected {size} values. Received: {values.size}")
    known = np.fromfile(ours, dtype)
    return np.resize(known, size), values  # a short song is repeated


def main() -> int:
    """Check the files named on the command line; return 0 if all are within the tolerances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("waveform", "image", "probabilities"):
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    status = 0 if given else 1
    for what, apart, allowed in differences(Path(__file__).parent, given):
        verdict = "ok" if apart <= allowed else "WRONG"
        sys.stdout.write(f"{verdict:5}  {what}: {apart:.3g}, at most {allowed:g}\n")
        status |= verdict != "ok"
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
