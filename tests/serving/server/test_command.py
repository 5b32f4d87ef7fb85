from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.server.test_limits import PART, left, raw, status_line
from tumbao.pipeline import cli

CLI = "import sys; from tumbao.pipeline.cli import main; sys.argv[0] = 'tumbao'; main()"


class Server:
    def __init__(self, temporary: Path, *arguments: str) -> None:
        self.log = temporary / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CLI, "serve", "--port", "0", *arguments],
                stderr=log,
                env={"TMPDIR": str(temporary), "PATH": ""},
                cwd=Path(__file__).parents[3],
            )

    def client(self) -> httpx.Client:
        while not (found := re.search(r"Listening at (http://127\.0\.0\.1:\d+)/", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        while httpx.get(f"{found[1]}/readyz").status_code != 200:
            time.sleep(0.02)
        return httpx.Client(base_url=found[1], timeout=20)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def server(pushed: Path, tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path, "--model", str(pushed))
    yield one
    one.process.kill()
    one.process.wait()


def test_sigterm_completes_accepted_requests(server: Server, tmp_path: Path, salsa: bytes) -> None:
    body = PART + salsa + b"\r\n--b0undary--\r\n"
    with server.client() as client, raw(client, f"Content-Length: {len(body)}") as connection:
        connection.sendall(body[:-1_000])
        while not left(tmp_path):
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            while True:
                httpx.get(f"{client.base_url}/healthz")
        connection.sendall(body[-1_000:])
        assert status_line(connection) == b"HTTP/1.1 200"
    assert server.process.wait(20) == 0
    assert list(tmp_path.glob("tumbao-serve-*")) == []


def test_the_log_has_method_path_status_and_seconds(server: Server, tmp_path: Path, salsa: bytes) -> None:
    with server.client() as client:
        client.post("/v1/classify", files={"files": ("my secret.wav", salsa)}, headers={"User-Agent": "my secret"})
        client.get("/v1/labels?my=secret")
        client.get("/line%0Aforged")
    assert server.end(signal.SIGINT) == 130
    log = server.log.read_text()
    assert re.search(r"^\S+ \S+ INFO POST /v1/classify 200 \d+\.\d{3} s$", log, re.MULTILINE)
    assert re.search(r"^\S+ \S+ INFO GET /v1/labels 200 \d+\.\d{3} s$", log, re.MULTILINE)
    assert "GET /line%0Aforged 404" in log
    assert not re.search(r"secret|127\.0\.0\.1:(?!\d+/\n)|Traceback", log)
    assert list(tmp_path.glob("tumbao-serve-*")) == []


def test_an_address_in_use_and_invalid_limits_are_usage_errors(
    pushed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        for options, words in (["--port", taken], "in use"), (["--files", "0"], "Expected limits above 0"):
            monkeypatch.setattr(sys, "argv", ["tumbao", "serve", "--model", str(pushed), *options])
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert end.value.code == 2
            assert words in capfd.readouterr().err


def test_a_missing_extra_is_named(
    pushed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["tumbao", "serve", "--model", str(pushed)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert 'pip install "tumbao[serve]"' in capfd.readouterr().err
