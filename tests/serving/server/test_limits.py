from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.server.conftest import Serving, send, wav
from tumbao.serving.predict import song_values
from tumbao.serving.server import middleware
from tumbao.serving.server.uploads import FORM_BYTES, Limits

Tone = Callable[..., np.ndarray]
BOUNDARY = "b0undary"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'.encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(temporary: Path) -> list[Path]:
    return [path for path in temporary.glob("tumbao-serve-*/*/*") if path.is_file()]


def refused(response: httpx.Response, status: int, reason: str) -> str:
    error = response.json()["error"]
    assert (response.status_code, error["reason"]) == (status, reason)
    return error["message"]


@contextlib.contextmanager
def raw(client: httpx.Client, *headers: str, path: str = "/v1/classify") -> Iterator[socket.socket]:
    """Send the headers of a request over a socket; the test sends the body."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {FORM['Content-Type']}", *headers, "", ""]
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        yield connection


def status_line(connection: socket.socket) -> bytes:
    return connection.recv(12)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_the_size_of_all_files_is_limited(serving: Serving, pushed: Path, temporary: Path, salsa: bytes) -> None:
    with serving(pushed, megabytes=2 * len(salsa) / 1e6) as client:
        assert send(client, salsa, salsa).status_code == 200
        sentence = refused(send(client, salsa, salsa + b"!"), 413, "too large")
        assert sentence == f"The files of the request exceed {2 * len(salsa) / 1e6:g} MB in total."
        assert left(temporary) == []


@pytest.mark.parametrize("part", [PART, PART.replace(b'; filename="a.wav"', b"")], ids=["file", "field"])
def test_a_chunked_body_is_limited(serving: Serving, pushed: Path, temporary: Path, part: bytes) -> None:
    with serving(pushed, megabytes=1) as client, raw(client, "Transfer-Encoding: chunked") as connection:
        connection.sendall(chunk(part + bytes(900_000)))
        while part is PART and not left(temporary):
            time.sleep(0.01)
        connection.sendall(chunk(bytes(200_000)))  # and the end never comes
        assert status_line(connection) == b"HTTP/1.1 413"
        assert left(temporary) == []


@pytest.mark.parametrize("path", ["/v1/classify", "/healthz"])
def test_an_endless_body_is_cut_off(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(middleware, "DRAIN_SECONDS", 0.1)
    with raw(client, "Transfer-Encoding: chunked", path=path) as connection, pytest.raises(ConnectionError):
        for block in itertools.repeat(chunk(bytes(FORM_BYTES))):
            connection.sendall(block)


def test_a_large_content_length_is_rejected_at_once_and_a_sending_client_receives_the_error(
    client: httpx.Client,
) -> None:
    with raw(client, f"Content-Length: {Limits().bytes + FORM_BYTES + 1}") as connection:
        connection.sendall(PART + bytes(10_000_000))
        assert status_line(connection) == b"HTTP/1.1 413"


def test_number_of_files_and_length_of_audio_are_limited(serving: Serving, pushed: Path, tone: Tone) -> None:
    with serving(pushed, sound_minutes=1, files=2) as client:
        assert send(client, wav(tone(60)), wav(tone(5))).status_code == 200
        sentence = refused(send(client, *3 * [b"song"]), 413, "too many files")
        assert sentence == "The request contains more than 2 files."
        for seconds in (60.1, 95):
            sentence = refused(send(client, wav(tone(seconds))), 422, "too long")
            assert sentence == "is too long: at most 1 minutes of audio are accepted"
    with serving(pushed, sound_minutes=0.1) as client:
        assert send(client, wav(tone(6))).status_code == 200
        assert send(client, wav(tone(7))).status_code == 422


def test_the_time_of_a_request_is_limited(
    serving: Serving, pushed: Path, temporary: Path, salsa: bytes, hostile_decoders: None
) -> None:
    with serving(pushed, seconds=3, parallel=1) as client:
        assert send(client, salsa).status_code == 200  # the decoder's process is there now
        response = send(client, salsa, b"sleep", salsa)
        assert response.status_code == 200
        files = response.json()["files"]
        assert [one["status"] for one in files] == [200, 504, 504]
        assert files[1]["error"]["reason"] == "time limit"
        assert left(temporary) == []
    with serving(pushed, seconds=1) as client:
        assert refused(send(client, b"sleep"), 504, "time limit").endswith("the time limit of 1 s for a request")


class Gate:
    """Delays answers until it is `open`; `reached` counts the waiting ones."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Semaphore(0), threading.Event()

    def __call__(self, *arguments: Any) -> dict[str, Any]:
        self.reached.release()
        assert self.open.wait(20)
        return song_values(*arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    one = Gate()
    monkeypatch.setattr("tumbao.serving.server.classify_handler.song_values", one)
    return one


def test_the_number_of_requests_is_limited(serving: Serving, pushed: Path, salsa: bytes, gate: Gate) -> None:
    with serving(pushed, parallel=1, waiting=2) as client, ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(send, client, salsa) for _ in range(3)]
        assert gate.reached.acquire(timeout=20)
        while "tumbao_requests_accepted 3.0" not in (metrics := client.get("/metrics").text):
            time.sleep(0.01)
        assert "tumbao_requests_working 1.0" in metrics
        response = send(client, salsa)
        assert refused(response, 429, "busy").startswith("The server is busy with 3 requests. Try again in ")
        assert response.headers["Retry-After"] == "5"
        gate.open.set()
        assert [future.result().status_code for future in accepted] == [200] * 3
        assert send(client, salsa).status_code == 200


def test_files_of_a_disconnected_client_are_removed(
    serving: Serving, pushed: Path, temporary: Path, salsa: bytes, gate: Gate
) -> None:
    body = PART + salsa + f"\r\n--{BOUNDARY}--\r\n".encode()
    with serving(pushed, parallel=1) as client:
        for sent in (body[:-500], body):
            with raw(client, f"Content-Length: {len(body)}") as connection:
                connection.sendall(sent)
                while not left(temporary):
                    time.sleep(0.01)
            while left(temporary):
                time.sleep(0.01)
        gate.open.set()
        assert send(client, salsa).status_code == 200
        while 'path="/v1/classify",status="499"} 2.0' not in client.get("/metrics").text:
            time.sleep(0.01)


def test_requests_without_a_model(serving: Serving, tmp_path: Path, salsa: bytes) -> None:
    with serving(tmp_path) as client:
        response = send(client, salsa)
        refused(response, 503, "no model")
        assert response.headers["Retry-After"] == "5"
        for path in ("/readyz", "/v1/labels", "/v1/model", "/v1/model/files/model.json"):
            refused(client.get(path), 503, "no model")
        assert client.get("/healthz").json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is incomplete"),
        (PART + b"RIFF", "is incomplete"),
        (PART.replace(b'; filename="a.wav"', b"") + b"x" + END, 'contains no file; with curl: -F "files=@song.mp3"'),
        (b"no boundary anywhere", "is malformed"),
    ],
)
def test_invalid_forms(client: httpx.Client, body: bytes, words: str) -> None:
    response = client.post("/v1/classify", content=body, headers=FORM)
    assert words in refused(response, 400, "bad form")


NO_FILES = {
    "a field": b'Content-Disposition: form-data; name="comment"\r\n\r\nloud',
    "an input without a choice": b'Content-Disposition: form-data; name="files"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n",
    "no disposition": b"Content-Type: text/plain\r\n\r\nx",
}


@pytest.mark.parametrize("part", NO_FILES.values(), ids=NO_FILES)
def test_parts_without_a_file_are_ignored(client: httpx.Client, salsa: bytes, part: bytes) -> None:
    other = f"--{BOUNDARY}\r\n".encode() + part + b"\r\n"
    for body in (other + PART + salsa + END, PART + salsa + b"\r\n" + other + END[2:]):
        response = client.post("/v1/classify", content=body, headers=FORM)
        assert [(file["file"], file["status"]) for file in response.json()["files"]] == [("a.wav", 200)]
    response = client.post("/v1/classify", content=other + END[2:], headers=FORM)
    assert "contains no file" in refused(response, 400, "bad form")


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="files"; filename="canci\u00f3n.mp3"', "canci\u00f3n.mp3"),
        ('form-data; name="other"; filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
def test_file_names(client: httpx.Client, salsa: bytes, disposition: str, name: str) -> None:
    part = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    headers = {"Content-Type": FORM["Content-Type"].replace("multipart/form-data", "Multipart/Form-Data")}
    response = client.post("/v1/classify", content=part + salsa + END, headers=headers)
    assert [(file["file"], file["status"]) for file in response.json()["files"]] == [(name, 200)]


def test_other_content_types(client: httpx.Client, salsa: bytes) -> None:
    for headers in ({"Content-Type": "audio/wav"}, {}):
        refused(client.post("/v1/classify", content=salsa, headers=headers), 415, "no form")
    headers = {"Content-Type": "multipart/form-data"}
    assert "has no boundary" in refused(client.post("/v1/classify", content=b"", headers=headers), 400, "bad form")


def test_a_full_disk(
    serving: Serving, pushed: Path, temporary: Path, salsa: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))

    with serving(pushed) as client:
        with monkeypatch.context() as patch:
            patch.setattr("tumbao.serving.server.uploads._Form._write", full)
            assert str(temporary) not in refused(send(client, salsa), 507, "disk full")
        assert left(temporary) == []
        assert send(client, salsa).status_code == 200
