"""A server of small songs on the loopback, with the troubles that servers have; and a fetch from it."""

from __future__ import annotations

import collections
import contextlib
import csv
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tumbao.datasets.fetch.run import run_fetch
from tumbao.datasets.fetch.source import RateLimits


class Request(NamedTuple):
    path: str
    start: int
    agent: str


class Answer(NamedTuple):
    """How one request is answered: with a whole page, an error, or a part after which the line breaks or goes dead."""

    status: int = 200
    break_after: int | None = None
    stall: bool = False


class SongServer(http.server.ThreadingHTTPServer):
    """Serves `pages` (path → content type and body), byte ranges too; counts and can disturb."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.requests: list[Request] = []
        self.answers: dict[str, list[Answer]] = collections.defaultdict(list)
        """The next answers of a path; whole pages after them. yt-dlp looks at a page before it downloads it."""
        self.stalled, self.go_on = threading.Event(), threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def add(self, path: str, body: bytes, content_type: str = "audio/x-wav") -> str:
        self.pages[path] = (content_type, body)
        return self.url(path)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SongServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        server.requests.append(Request(self.path, start, self.headers.get("User-Agent", "")))
        answer = server.answers[self.path].pop(0) if server.answers[self.path] else Answer()
        if self.path not in server.pages or answer.status != 200:
            self.send_error(404 if self.path not in server.pages else answer.status)
            return
        content_type, body = server.pages[self.path]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start : answer.break_after])
        if answer.stall:
            server.stalled.set()
            server.go_on.wait(60)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client has seen enough
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SongServer]:
    """Serve on a free port of the loopback until the test is over."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with SongServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def sound(seed: int = 0, container: str = "WAV", seconds: float = 1.0) -> bytes:
    """Noise in a container; another seed, another song."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 22_050))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 22_050, format=container)
    return buffer.getvalue()


class Outcome(NamedTuple):
    code: int
    said: str
    reports: list[tuple[str, int, int]]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Shelf:
    """A list of addresses and the folder that they are fetched to."""

    def __init__(self, folder: Path) -> None:
        self.urls = folder / "urls.csv"
        self.out = folder / "100% $5 %(id)s ñ"

    @property
    def manifest(self) -> list[dict[str, str]]:
        return rows(self.out / "manifest.csv")

    @property
    def failed(self) -> list[dict[str, str]]:
        path = self.out / "failed.csv"
        return rows(path) if path.exists() else []

    @property
    def files(self) -> list[str]:
        return sorted(path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())

    def write(self, *songs: dict[str, str]) -> None:
        with self.urls.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for song in songs for name in song)))
            writer.writeheader()
            writer.writerows(songs)

    def fetch(self, *songs: dict[str, str], retries: int = 2, sleep_seconds: float = 0) -> Outcome:
        if songs:
            self.write(*songs)
        said, reports = io.StringIO(), []
        code = run_fetch(
            self.urls,
            self.out,
            Console(file=said, force_terminal=False, width=80),
            lambda *report: reports.append(report),
            RateLimits(sleep_seconds=sleep_seconds, retries=retries),
        )
        return Outcome(code, said.getvalue(), reports)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Give an empty place to fetch to, in a folder whose name is a trap for templates."""
    return Shelf(tmp_path)
