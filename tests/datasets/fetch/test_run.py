"""Fetching from a server on the loopback."""

from __future__ import annotations

import collections
import contextlib
import csv
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tumbao.datasets.fetch import run, source
from tumbao.datasets.fetch.run import MANIFEST_COLUMNS, open_manifest, run_fetch
from tumbao.datasets.fetch.source import RateLimits

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed (extra fetch)")


class Request(NamedTuple):
    path: str
    start: int
    agent: str


class Answer(NamedTuple):
    """Answer to one request: a whole page, an error status, or a part after which the connection breaks or stalls."""

    status: int = 200
    break_after: int | None = None
    stall: bool = False


class SongServer(http.server.ThreadingHTTPServer):
    """Server of `pages` (path → content type and body) with byte ranges, which records requests and can fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.requests: list[Request] = []
        self.answers: dict[str, list[Answer]] = collections.defaultdict(list)
        """The next answers of a path, before whole pages; yt-dlp requests a page twice, the second time to download."""
        self.stalled, self.resume = threading.Event(), threading.Event()

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
            server.resume.wait(60)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client closed it
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SongServer]:
    """Serve on a free port of the loopback until the test ends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with SongServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.resume.set()
        server.shutdown()
        thread.join()


def noise(seed: int = 0, container: str = "WAV", seconds: float = 1.0) -> bytes:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 22_050))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 22_050, format=container)
    return buffer.getvalue()


def song(server: SongServer, number: int = 0, **cells: str) -> dict[str, str]:
    """Serve noise as /<number>.wav; return its row of URLS.csv."""
    return {"url": server.add(f"/{number}.wav", noise(number)), "genre": "salsa", **cells}


class Outcome(NamedTuple):
    code: int
    output: str
    reports: list[tuple[str, int, int]]


class Fetch:
    """URLS.csv and the folder that its songs are fetched to; the folder's name is a template of yt-dlp."""

    def __init__(self, folder: Path) -> None:
        self.urls = folder / "urls.csv"
        self.out = folder / "100% $5 %(id)s ñ"

    def rows(self, name: str) -> list[dict[str, str]]:
        if not (self.out / name).exists():
            return []
        with (self.out / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def manifest(self) -> list[dict[str, str]]:
        return self.rows("manifest.csv")

    @property
    def failed(self) -> list[dict[str, str]]:
        return self.rows("failed.csv")

    @property
    def files(self) -> list[str]:
        return sorted(path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())

    def write(self, *songs: dict[str, str]) -> None:
        with self.urls.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for song in songs for name in song)))
            writer.writeheader()
            writer.writerows(songs)

    def __call__(self, *songs: dict[str, str], retries: int = 2, sleep_seconds: float = 0) -> Outcome:
        if songs:
            self.write(*songs)
        output, reports = io.StringIO(), []
        code = run_fetch(
            self.urls,
            self.out,
            Console(file=output, force_terminal=False, width=80),
            RateLimits(sleep_seconds=sleep_seconds, retries=retries),
            lambda *report: reports.append(report),
        )
        return Outcome(code, output.getvalue(), reports)


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path)


def test_a_song_is_stored_unchanged_with_its_metadata(server: SongServer, fetch: Fetch) -> None:
    body = noise()
    url = server.add("/a%20song.wav", body)
    row = {"url": url, "genre": "salsa", "artist": "Ana", "licence": "CC BY 4.0", "note": 'a "b",\r\nc'}
    code, output, reports = fetch(row)
    (found,) = fetch.manifest
    assert code == 0
    assert output.startswith("found 1 = fetched 1 + already there 0 + failed 0;")
    age = datetime.now().astimezone() - datetime.fromisoformat(found.pop("fetched_at")[:-1] + "+00:00")
    assert abs(age.days) < 1
    assert found == {
        "file_name": "salsa/Ana - a song.wav",
        "genre": "salsa",
        "song": "a song",
        "artist": "Ana",
        "album": "",
        "source": url,
        "extractor": "Generic",
        "licence": "CC BY 4.0",
        "sha256": hashlib.sha256(body).hexdigest(),
        "bytes": str(len(body)),
        "note": 'a "b",\r\nc',
    }
    assert fetch.files == ["manifest.csv", "salsa/Ana - a song.wav"]
    assert (fetch.out / found["file_name"]).read_bytes() == body
    assert ("fetch", 0, 1) in reports and reports[-1] == ("fetch", 1, 1)
    assert {request.agent.split("/")[0] for request in server.requests} == {"tumbao"}
    assert all("yt-dlp/" in request.agent and "Mozilla" not in request.agent for request in server.requests)


def test_a_second_run_sends_no_request(server: SongServer, fetch: Fetch) -> None:
    fetch(song(server))
    requests, written = len(server.requests), (fetch.out / "manifest.csv").stat().st_mtime_ns
    code, output, _ = fetch()
    assert code == 0
    assert output.startswith("found 1 = fetched 0 + already there 1 + failed 0;")
    assert len(server.requests) == requests
    assert (fetch.out / "manifest.csv").stat().st_mtime_ns == written


def test_cells_of_all_lists_are_kept(server: SongServer, fetch: Fetch) -> None:
    fetch(song(server, song="Son", licence="CC0", note="n"))
    fetch(song(server, licence="CC BY", mood="happy"))
    (fetch.out / "salsa" / "Son.wav").unlink()
    assert fetch(song(server, album="Uno")).output.startswith("found 1 = fetched 1 ")
    (row,) = fetch.manifest
    names = ("song", "licence", "note", "mood", "album")
    assert [row[name] for name in names] == ["Son", "CC BY", "n", "happy", "Uno"]
    assert fetch.files == ["manifest.csv", "salsa/Son.wav"]


@pytest.mark.parametrize("damage", ["truncated", "same size", "missing"])
def test_a_damaged_file_is_fetched_again(server: SongServer, fetch: Fetch, damage: str) -> None:
    fetch(song(server))
    file, body = fetch.out / "salsa" / "0.wav", noise()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"truncated": b"RIFF", "same size": body[:-1] + bytes([body[-1] ^ 1])}[damage])
    assert fetch().output.startswith("found 1 = fetched 1 ")
    assert fetch.files == ["manifest.csv", "salsa/0.wav"]
    assert file.read_bytes() == body


@pytest.mark.parametrize("retries", [2, 0], ids=["the same run", "the next run"])
def test_broken_downloads_are_continued_and_busy_servers_asked_again(
    server: SongServer, fetch: Fetch, retries: int
) -> None:
    row = song(server)
    server.answers["/0.wav"] = [Answer(503), Answer(429)] if retries else []
    server.answers["/0.wav"] += [Answer(), Answer(break_after=10_000)]
    assert fetch(row, retries=retries).code == (0 if retries else 1)
    if not retries:
        assert not (fetch.out / "manifest.csv").exists()
        assert fetch().code == 0
    assert 0 < server.requests[-1].start <= 10_000
    assert (fetch.out / "salsa" / "0.wav").read_bytes() == noise()
    assert fetch.failed == []
    assert fetch.files == ["manifest.csv", "salsa/0.wav"]


def test_every_row_is_in_the_manifest_or_in_the_list_of_failures(server: SongServer, fetch: Fetch) -> None:
    html = b"<!DOCTYPE html><html><head><title>no song</title></head><body>No audio.</body></html>"
    rows = [
        (song(server, note="n"), ""),
        ({"url": server.url("/missing.wav"), "genre": "salsa", "note": "n"}, "404"),
        ({"url": server.add("/page.html", html, "text/html"), "genre": "salsa"}, "Unsupported URL"),
        ({"url": server.add("/page.mp3", html, "audio/mpeg"), "genre": "salsa"}, "not audio"),
        ({"url": server.add("/empty.wav", b""), "genre": "salsa"}, "data blocks"),
        ({"url": "http://127.0.0.1:9/refused.wav", "genre": "salsa"}, "refused"),
        ({"url": "file:///etc/passwd", "genre": "salsa"}, "http:// or https://"),
        ({"url": "", "genre": "salsa"}, "no url"),
        ({"url": server.url("/0.wav"), "genre": "cumbia"}, "the manifest lists it as salsa"),
    ]
    code, output, _ = fetch(*[row for row, _ in rows], retries=0)
    assert code == 1
    assert f"found {len(rows)} = fetched 1 + already there 0 + failed {len(rows) - 1};" in output
    assert [row["source"] for row in fetch.manifest] == [rows[0][0]["url"]]
    assert [row["url"] for row in fetch.failed] == [row["url"] for row, _ in rows[1:]]
    assert [row["line"] for row in fetch.failed] == [str(line) for line in range(3, len(rows) + 2)]
    for row, (_, reason) in zip(fetch.failed, rows[1:], strict=True):
        assert reason in row["reason"], row
        assert row["reason"] in output
        assert "caused by" not in row["reason"] and "report this issue" not in row["reason"]
    assert fetch.failed[0]["note"] == "n"
    assert fetch.files == ["failed.csv", "manifest.csv", "salsa/0.wav"]


def test_the_list_of_failures_can_be_fetched(server: SongServer, fetch: Fetch) -> None:
    fetch({"url": server.url("/0.wav"), "genre": "salsa", "note": "n"})
    song(server)
    with pytest.raises(ValueError, match="Copy it"):
        run_fetch(fetch.out / "failed.csv", fetch.out, Console(), RateLimits())
    assert len(fetch.failed) == 1
    (fetch.out / "failed.csv").rename(fetch.urls)
    assert fetch().code == 0
    assert fetch.manifest[0]["note"] == "n"
    assert not {"line", "reason"} & fetch.manifest[0].keys()


def test_no_file_is_overwritten_and_equal_addresses_are_one_song(server: SongServer, fetch: Fetch) -> None:
    own = fetch.out / "salsa" / "Son.wav"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    songs = [song(server, number, song="Son") for number in range(2)]
    assert fetch(*songs, songs[0]).output.startswith("found 3 = fetched 2 + already there 1 + failed 0;")
    assert own.read_bytes() == b"mine"
    names = ["salsa/Son (2).wav", "salsa/Son (3).wav"]
    assert [row["file_name"] for row in fetch.manifest] == names
    assert [(fetch.out / name).read_bytes() for name in names] == [noise(0), noise(1)]
    (fetch.out / "manifest.csv").unlink()  # a run that was killed before it wrote the rows
    assert fetch().code == 0
    assert fetch.files == ["manifest.csv", *names, "salsa/Son.wav"]


def test_hostile_names_stay_in_their_folder(server: SongServer, fetch: Fetch) -> None:
    names = ["../../escape", "/etc/passwd", "a/b\\c", "..", ".hidden", "\U0001f483" * 100, "line\nend", "%(id)s $HOME"]
    assert fetch(*(song(server, number, genre=name, song=name) for number, name in enumerate(names))).code == 0
    assert [row["song"] for row in fetch.manifest] == names
    assert {path.name for path in fetch.out.parent.iterdir()} == {fetch.out.name, "urls.csv"}
    for row in fetch.manifest:
        path = fetch.out / row["file_name"]
        assert path.resolve().parent.parent == fetch.out.resolve()
        assert not any(part.startswith(".") for part in Path(row["file_name"]).parts)


@pytest.mark.parametrize(
    ("path", "content_type", "container", "extension"),
    [
        ("/a.opus", "audio/ogg", "OGG", "opus"),
        ("/download?id=7", "application/octet-stream", "FLAC", "flac"),
        ("/wrong.jpg", "application/octet-stream", "WAV", "wav"),
    ],
)
def test_the_extension_fits_the_content(
    server: SongServer, fetch: Fetch, path: str, content_type: str, container: str, extension: str
) -> None:
    body = noise(container=container)
    assert fetch({"url": server.add(path, body, content_type), "genre": "salsa", "song": "a"}).code == 0
    assert fetch.files == ["manifest.csv", f"salsa/a.{extension}"]
    assert (fetch.out / f"salsa/a.{extension}").read_bytes() == body


def test_a_list_of_one_entry_is_a_song_and_others_are_refused(server: SongServer, fetch: Fetch) -> None:
    def feed(name: str, *links: str) -> dict[str, str]:
        items = "".join(f'<item><title>t</title><enclosure url="{link}" type="audio/x-wav"/></item>' for link in links)
        text = f'<?xml version="1.0"?><rss version="2.0"><channel><title>f</title>{items}</channel></rss>'
        return {"url": server.add(f"/{name}.xml", text.encode(), "text/xml"), "genre": "salsa"}

    songs = [song(server, number)["url"] for number in range(2)]
    lists = feed("one", songs[0]), feed("two", *songs), feed("none")
    fetch(*lists)
    assert [row["source"] for row in fetch.manifest] == [lists[0]["url"]]
    assert [row["reason"].partition(";")[0] for row in fetch.failed] == [
        "this is a list with more than one song",
        "this is a list with no song",
    ]
    assert "/1.wav" not in {request.path for request in server.requests}


def test_a_download_that_is_too_large_is_aborted(
    server: SongServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1_000)
    fetch(song(server))
    assert "larger than" in fetch.failed[0]["reason"]
    assert [path.name for path in fetch.out.iterdir()] == ["failed.csv"]


def test_a_file_that_cannot_be_written_fails_one_song(server: SongServer, fetch: Fetch) -> None:
    fetch.out.mkdir()
    (fetch.out / "salsa").touch()
    rows = song(server), song(server, 1, genre="cumbia")
    assert fetch(*rows).code == 1
    assert [row["url"] for row in fetch.failed] == [rows[0]["url"]]
    assert [row["source"] for row in fetch.manifest] == [rows[1]["url"]]


def test_fetch_stops_when_the_list_of_failures_cannot_be_written(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(run, "write_whole", full)
    code, output, _ = fetch({"url": "", "genre": "salsa"}, {"url": "", "genre": "cumbia"})
    assert code == 1
    assert output.startswith("stopped, because the manifest or the list of failures cannot be written:")
    assert "found 2 = fetched 0 + already there 0 + failed 0 + not tried 2" in output


def test_fetch_pauses_between_downloads_only(server: SongServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(run, "time", types.SimpleNamespace(sleep=pauses.append))
    songs = [song(server, number) for number in range(3)]
    fetch(songs[0], {"url": "", "genre": "salsa"}, songs[1], songs[1], sleep_seconds=7)
    assert pauses == [7]
    fetch(*songs, sleep_seconds=7)
    assert pauses == [7]


@pytest.mark.parametrize(
    ("content", "message"),
    [("file_name,genre\na.wav,salsa\n", "without song"), (",".join(MANIFEST_COLUMNS) + "\na.wav\n", "line 2")],
)
def test_another_manifest_is_not_overwritten(fetch: Fetch, content: str, message: str) -> None:
    fetch.out.mkdir()
    (fetch.out / "manifest.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        fetch({"url": "http://127.0.0.1:9/a.wav", "genre": "salsa"})
    assert (fetch.out / "manifest.csv").read_text() == content


def test_unusable_folders_and_a_missing_yt_dlp_are_refused(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, own = {"url": "http://127.0.0.1:9/a.wav", "genre": "salsa"}, fetch.out
    for folder, message in ((tmp_path / "$HOME", "environment variable"), (own, r'pip install "tumbao\[fetch\]"')):
        fetch.out = folder
        with pytest.raises(ValueError, match=message):
            fetch(row)
        assert not folder.exists()
        monkeypatch.setitem(sys.modules, "yt_dlp", None)


def test_two_processes_cannot_fetch_to_one_folder(server: SongServer, fetch: Fetch) -> None:
    with open_manifest(fetch.out), pytest.raises(ValueError, match="Another `tumbao fetch`"):
        fetch(song(server))
    assert fetch().code == 0


PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from tumbao.datasets.fetch.run import run_fetch
from tumbao.datasets.fetch.source import RateLimits
run_fetch(Path(sys.argv[1]), Path(sys.argv[2]), Console(), RateLimits(sleep_seconds=0))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_continued(server: SongServer, fetch: Fetch, number: signal.Signals) -> None:
    bodies = [noise(seed, seconds=6) for seed in range(3)]
    urls = [server.add(f"/{seed}.wav", body) for seed, body in enumerate(bodies)]
    fetch.write(*({"url": url, "genre": "salsa"} for url in urls))
    server.answers["/1.wav"] = [Answer(), Answer(break_after=100_000, stall=True)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, fetch.urls, fetch.out], stdout=subprocess.PIPE, env=environment, text=True
    )
    with process:
        assert server.stalled.wait(60)
        while not any(part.stat().st_size for part in fetch.out.glob(".unfinished/*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "found 3 = fetched 1 + already there 0 + failed 0 + not tried 2;" in output
    assert [row["source"] for row in fetch.manifest] == urls[:1]
    server.resume.set()
    before = len(server.requests)
    assert fetch().output.startswith("found 3 = fetched 2 + already there 1 + failed 0;")
    assert "/0.wav" not in {request.path for request in server.requests[before:]}
    assert [(fetch.out / row["file_name"]).read_bytes() for row in fetch.manifest] == bodies
    assert fetch.files == ["manifest.csv", *(f"salsa/{seed}.wav" for seed in range(3))]
    assert any(request.start for request in server.requests[before:])
