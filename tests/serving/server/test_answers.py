from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from tests.serving.server.conftest import Serving, wav
from tumbao.pipeline.classify import ClassifyOptions, run_classify

Tone = Callable[..., np.ndarray]
HERE, THERE = {"file", "status"}, {"path", "part_start_seconds", "part_end_seconds", "file_modified_us"}


def send(client: httpx.Client, *contents: tuple[str, bytes]) -> httpx.Response:
    return client.post("/v1/classify", files=[("files", content) for content in contents])


def command(model: Path, paths: list[Path]) -> list[dict[str, Any]]:
    out = io.StringIO()
    run_classify(ClassifyOptions(paths, model, as_json=True), Console(file=io.StringIO()), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    assert names <= values.keys()
    return {name: value for name, value in values.items() if name not in names}


def test_server_and_command_return_the_same(client: httpx.Client, pushed: Path, tmp_path: Path, tone: Tone) -> None:
    contents = {
        "medley.wav": wav(np.concatenate([2 * tone(90), 0.02 * tone(90), np.zeros(30 * 22_050)])),
        "short.wav": wav(tone(5)),
        "too short.wav": wav(tone(1)),
        "cut.wav": wav(2 * tone(40))[:1_500_000],
        "empty.mp3": b"",
        "text.mp3": b"no song",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = send(client, *contents.items()).json()["files"]
    assert [one["file"] for one in files] == list(contents)
    assert [one["status"] for one in files] == [200, 200, 422, 200, 422, 422]
    assert [one["sections"][0]["genre"] for one in files[:1]] == ["salsa"]
    assert len(files[0]["sections"]) == 2
    expected = command(pushed, [tmp_path / name for name in contents])
    assert [without(one, HERE) for one in files] == [without(one, THERE) for one in expected]


def test_a_file_that_crashes_its_decoder_does_not_affect_others(
    serving: Serving, pushed: Path, salsa: bytes, hostile_decoders: None
) -> None:
    with serving(pushed) as client:
        files = send(client, ("one.wav", salsa), ("abort", b"abort"), ("two.wav", salsa)).json()["files"]
    assert [one["status"] for one in files] == [200, 422, 200]
    assert files[1]["error"]["reason"] == "crashed the decoder"
