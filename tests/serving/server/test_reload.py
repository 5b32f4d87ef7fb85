from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.serving.server.conftest import Serving, send
from tests.serving.server.test_limits import Gate, gate
from tumbao.serving.model_info import ASSETS_FOLDER, ModelInfo, identity
from tumbao.serving.server.middleware import Metrics
from tumbao.serving.server.models import Models

__all__ = ["gate"]  # a fixture


def push(folder: Path, version: int) -> str:
    """Push version 1 again with other genres; as by TFX's Pusher, saved_model.pb is written last."""
    assets = shutil.copytree(folder / "1" / ASSETS_FOLDER, folder / str(version) / ASSETS_FOLDER)
    info = ModelInfo.read(assets)
    dataclasses.replace(info, genres=tuple(f"{genre} {version}" for genre in info.genres)).write(assets)
    (folder / str(version) / "saved_model.pb").touch()
    return identity(assets)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "waited for 20 s"
        time.sleep(0.02)


def version(client: httpx.Client) -> str:
    return client.get("/v1/model").json()["version"]


def count(client: httpx.Client, line: str) -> float:
    found = [text for text in client.get("/metrics").text.splitlines() if text.startswith(line)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_no_request_fails_while_versions_change(serving: Serving, push_folder: Path, salsa: bytes) -> None:
    counts: Counter[tuple[int, str]] = Counter()
    ended = threading.Event()
    with serving(push_folder) as client:

        def ask() -> None:
            while not ended.is_set():
                response = send(client, salsa)
                counts[response.status_code, response.json()["files"][0]["genre"]] += 1

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in (2, 3):
                push(push_folder, number)
                until(lambda genre=f"salsa {number}": counts[200, genre] > 2)  # type: ignore[misc]
            shutil.rmtree(push_folder / "3")
            until(lambda: version(client) == "2")
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert set(counts) == {(200, "salsa"), (200, "salsa 2"), (200, "salsa 3")}
        assert client.get("/v1/labels").json()["labels"][0] == "bachata 2"
        assert count(client, 'tumbao_model_loads_total{outcome="loaded"}') == 4
        assert count(client, "tumbao_model_info{model=") == 1
        assert client.get("/metrics").text.count("tumbao_model_info{") == 1


def test_accepted_requests_are_completed_by_the_former_model(
    serving: Serving, push_folder: Path, salsa: bytes, gate: Gate
) -> None:
    before = identity(push_folder / "1" / ASSETS_FOLDER)
    responses: list[httpx.Response] = []
    with serving(push_folder) as client:
        thread = threading.Thread(target=lambda: responses.append(send(client, salsa)))
        thread.start()
        assert gate.reached.acquire(timeout=20)
        after = push(push_folder, 2)
        until(lambda: version(client) == "2")
        gate.open.set()
        thread.join()
        (late,) = send(client, salsa).json()["files"]
    (early,) = responses[0].json()["files"]
    assert (early["genre"], early["model"]) == ("salsa", before)
    assert (late["genre"], late["model"]) == ("salsa 2", after)


@pytest.mark.parametrize("change", [lambda file: file.unlink(), lambda file: file.write_bytes(b"TFL3")])
def test_a_faulty_version_is_not_loaded_until_it_is_repaired(
    push_folder: Path, change: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    models = Models(push_folder, metrics)
    models.refresh()
    first = models.current
    push(push_folder, 2)
    broken = push_folder / "2" / ASSETS_FOLDER
    whole = shutil.copytree(broken, push_folder / "whole")
    change(broken / "classifier-int8.tflite")
    for _ in range(4):
        models.refresh()
    assert first is not None
    assert models.current is first
    assert b'tumbao_model_loads_total{outcome="refused"} 1.0' in metrics.text()
    (record,) = caplog.records
    assert str(broken) in record.getMessage()
    assert "the current model is kept" in record.getMessage()
    shutil.copytree(whole, broken, dirs_exist_ok=True)
    for _ in range(2):
        models.refresh()
    assert models.current is not None
    assert models.current.version == "2"


def test_the_first_model_is_pushed_later(serving: Serving, pushed: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "pushed") as client:
        assert client.get("/readyz").status_code == 503
        shutil.copytree(pushed, tmp_path / "pushed")
        until(lambda: client.get("/readyz").status_code == 200)
        assert version(client) == "1"
