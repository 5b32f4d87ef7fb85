"""Songs come from a server on the loopback: whole, named safely, counted, and only once."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
import types
from datetime import datetime
from pathlib import Path

import pytest

from tests.datasets.fetch.conftest import Answer, Shelf, SongServer, rows, sound
from tumbao.datasets.fetch import manifest, run, source
from tumbao.datasets.fetch.manifest import MANIFEST_COLUMNS, Manifest
from tumbao.datasets.fetch.run import run_fetch

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed (extra fetch)")


def test_a_song_arrives_as_it_is_with_all_that_is_known_of_it(server: SongServer, shelf: Shelf) -> None:
    body = sound()
    url = server.add("/a%20song.wav", body)
    song = {
        "url": url,
        "genre": "salsa",
        "artist": "Ana",
        "licence": "CC BY 4.0",
        "split": "test",
        "note": 'a "b",\r\nc',
    }
    code, said, reports = shelf.fetch(song)
    (row,) = shelf.manifest
    assert code == 0
    assert said.startswith("found 1 = fetched 1 + already there 0 + failed 0;")
    assert (shelf.out / row["file_name"]).read_bytes() == body
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(row.pop("fetched_at")[:-1] + "+00:00")).days) < 1
    assert row == {
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
        "split": "test",
        "note": 'a "b",\r\nc',
    }
    assert shelf.files == ["manifest.csv", "salsa/Ana - a song.wav"]
    assert ("fetch", 0, 1) in reports and reports[-1] == ("fetch", 1, 1)


def test_it_says_who_it_is(server: SongServer, shelf: Shelf) -> None:
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    assert {request.agent.split("/")[0] for request in server.requests} == {"tumbao"}
    assert all("yt-dlp/" in request.agent and "Mozilla" not in request.agent for request in server.requests)


def test_a_second_run_asks_the_server_nothing(server: SongServer, shelf: Shelf) -> None:
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    asked, written = len(server.requests), (shelf.out / "manifest.csv").stat()
    code, said, _ = shelf.fetch()
    assert code == 0
    assert said.startswith("found 1 = fetched 0 + already there 1 + failed 0;")
    assert len(server.requests) == asked
    assert (shelf.out / "manifest.csv").stat() == written


def test_the_manifest_follows_the_list(server: SongServer, shelf: Shelf) -> None:
    url = server.add("/a.wav", sound())
    shelf.fetch({"url": url, "genre": "salsa"})
    shelf.fetch({"url": url, "genre": "salsa", "licence": "CC0", "mood": "happy"})
    (row,) = shelf.manifest
    assert (row["licence"], row["mood"], row["song"]) == ("CC0", "happy", "a")


@pytest.mark.parametrize("damage", [b"", b"RIFF", None], ids=["emptied", "cut", "gone"])
def test_a_damaged_file_is_fetched_again(server: SongServer, shelf: Shelf, damage: bytes | None) -> None:
    body = sound()
    shelf.fetch({"url": server.add("/a.wav", body), "genre": "salsa"})
    file = shelf.out / "salsa" / "a.wav"
    file.unlink() if damage is None else file.write_bytes(damage)
    assert shelf.fetch().said.startswith("found 1 = fetched 1 ")
    assert shelf.files == ["manifest.csv", "salsa/a.wav"]
    assert file.read_bytes() == body


def test_what_an_earlier_list_told_outlives_another_download(server: SongServer, shelf: Shelf) -> None:
    url = server.add("/a.wav", sound())
    shelf.fetch({"url": url, "genre": "salsa", "song": "Son", "licence": "CC0", "note": "kept"})
    (shelf.out / "salsa" / "Son.wav").unlink()
    assert shelf.fetch({"url": url, "genre": "salsa", "album": "Uno"}).said.startswith("found 1 = fetched 1 ")
    (row,) = shelf.manifest
    assert (row["song"], row["licence"], row["note"], row["album"]) == ("Son", "CC0", "kept", "Uno")
    assert shelf.files == ["manifest.csv", "salsa/Son.wav"]


def test_changed_bytes_of_the_same_number_are_noticed(server: SongServer, shelf: Shelf) -> None:
    body = sound()
    shelf.fetch({"url": server.add("/a.wav", body), "genre": "salsa"})
    (shelf.out / "salsa" / "a.wav").write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    assert shelf.fetch().said.startswith("found 1 = fetched 1 ")
    assert (shelf.out / "salsa" / "a.wav").read_bytes() == body


def test_a_broken_connection_goes_on_where_it_broke(server: SongServer, shelf: Shelf) -> None:
    body = sound()
    url = server.add("/a.wav", body)
    server.answers["/a.wav"] = [Answer(), Answer(break_after=10_000)]
    assert shelf.fetch({"url": url, "genre": "salsa"}).code == 0
    assert 0 < server.requests[-1].start <= 10_000
    assert (shelf.out / "salsa" / "a.wav").read_bytes() == body


def test_the_next_run_goes_on_where_the_last_gave_up(server: SongServer, shelf: Shelf) -> None:
    body = sound()
    url = server.add("/a.wav", body)
    server.answers["/a.wav"] = [Answer(), Answer(break_after=10_000)]
    first = shelf.fetch({"url": url, "genre": "salsa"}, retries=0)
    assert first.code == 1
    assert not (shelf.out / "manifest.csv").exists()
    assert shelf.fetch().code == 0
    assert 0 < server.requests[-1].start <= 10_000
    assert (shelf.out / "salsa" / "a.wav").read_bytes() == body
    assert shelf.failed == []
    assert shelf.files == ["manifest.csv", "salsa/a.wav"]


def test_a_busy_server_is_asked_again(server: SongServer, shelf: Shelf) -> None:
    url = server.add("/a.wav", sound())
    server.answers["/a.wav"] = [Answer(503), Answer(429)]
    assert shelf.fetch({"url": url, "genre": "salsa"}).code == 0


def test_every_row_is_in_the_manifest_or_among_the_failed(server: SongServer, shelf: Shelf) -> None:
    html = b"<!DOCTYPE html><html><head><title>no song</title></head><body>Nothing to hear.</body></html>"
    songs = [
        ({"url": server.add("/good.wav", sound()), "genre": "salsa", "note": "kept"}, ""),
        ({"url": server.url("/gone.wav"), "genre": "salsa", "note": "kept"}, "404"),
        ({"url": server.add("/page.html", html, "text/html"), "genre": "salsa"}, "Unsupported URL"),
        ({"url": server.add("/liar.mp3", html, "audio/mpeg"), "genre": "salsa"}, "not audio"),
        ({"url": server.add("/empty.wav", b""), "genre": "salsa"}, "data blocks"),
        ({"url": "http://127.0.0.1:9/refused.wav", "genre": "salsa"}, "refused"),
        ({"url": "file:///etc/passwd", "genre": "salsa"}, "http:// or https://"),
        ({"url": "ytsearch5:salsa", "genre": "salsa"}, "http:// or https://"),
        ({"url": "http://[::1/a.wav", "genre": "salsa"}, "not an address"),
        ({"url": "", "genre": "salsa"}, "url is empty"),
        ({"url": server.url("/good.wav?2"), "genre": ""}, "genre is empty"),
        ({"url": server.url("/good.wav"), "genre": "cumbia"}, "the manifest lists it as salsa"),
    ]
    code, said, _ = shelf.fetch(*[song for song, _ in songs], retries=0)
    assert code == 1
    assert f"found {len(songs)} = fetched 1 + already there 0 + failed {len(songs) - 1};" in said
    assert [row["source"] for row in shelf.manifest] == [songs[0][0]["url"]]
    assert [row["url"] for row in shelf.failed] == [song["url"] for song, _ in songs[1:]]
    assert [row["line"] for row in shelf.failed] == [str(line) for line in range(3, len(songs) + 2)]
    for row, (_, reason) in zip(shelf.failed, songs[1:], strict=True):
        assert reason in row["reason"], row
        assert row["reason"] in said
        assert "caused by" not in row["reason"] and "report this issue" not in row["reason"]
    assert shelf.failed[0]["note"] == "kept"
    assert shelf.files == ["failed.csv", "manifest.csv", "salsa/good.wav"]


def test_what_failed_is_a_list_to_fetch(server: SongServer, shelf: Shelf) -> None:
    shelf.fetch({"url": server.url("/late.wav"), "genre": "salsa", "note": "kept"})
    server.add("/late.wav", sound())
    with pytest.raises(ValueError, match="Copy it"):
        run_fetch(shelf.out / "failed.csv", shelf.out, None)  # type: ignore[arg-type]
    assert len(shelf.failed) == 1
    (shelf.out / "failed.csv").rename(shelf.urls)
    assert shelf.fetch().code == 0
    assert shelf.manifest[0]["note"] == "kept"
    assert not {"line", "reason"} & shelf.manifest[0].keys()


def test_equal_names_stand_side_by_side(server: SongServer, shelf: Shelf) -> None:
    bodies = [sound(seed) for seed in range(3)]
    songs = [
        {"url": server.add(f"/{number}/son.wav", body), "genre": "salsa", "song": "Son"}
        for number, body in enumerate(bodies)
    ]
    assert shelf.fetch(*songs).code == 0
    assert [row["file_name"] for row in shelf.manifest] == ["salsa/Son.wav", "salsa/Son (2).wav", "salsa/Son (3).wav"]
    assert [(shelf.out / row["file_name"]).read_bytes() for row in shelf.manifest] == bodies


def test_the_same_address_twice_is_one_song(server: SongServer, shelf: Shelf) -> None:
    song = {"url": server.add("/a.wav", sound()), "genre": "salsa"}
    assert shelf.fetch(song, song).said.startswith("found 2 = fetched 1 + already there 1 + failed 0;")
    assert len(shelf.manifest) == 1


def test_a_file_of_the_users_own_is_not_overwritten(server: SongServer, shelf: Shelf) -> None:
    own = shelf.out / "salsa" / "a.wav"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    assert own.read_bytes() == b"mine"
    assert shelf.manifest[0]["file_name"] == "salsa/a (2).wav"


def test_a_file_that_a_killed_run_left_without_its_row_is_taken_over(server: SongServer, shelf: Shelf) -> None:
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    (shelf.out / "manifest.csv").unlink()
    assert shelf.fetch().code == 0
    assert shelf.files == ["manifest.csv", "salsa/a.wav"]


HOSTILE = [
    "../../escape",
    "/etc/passwd",
    "a/b\\c",
    "..",
    ".hidden",
    "é" * 300,
    "\U0001f483" * 100,
    "line\nend",
    "C:",
    "%(id)s $HOME",
    "~",
]


def test_hostile_names_stay_in_their_folder(server: SongServer, shelf: Shelf) -> None:
    songs = [
        {"url": server.add(f"/{number}.wav", sound(number)), "genre": name, "song": name}
        for number, name in enumerate(HOSTILE)
    ]
    assert shelf.fetch(*songs).code == 0
    assert [row["song"] for row in shelf.manifest] == HOSTILE
    assert {path.name for path in shelf.out.parent.iterdir()} == {shelf.out.name, "urls.csv"}
    for row in shelf.manifest:
        path = shelf.out / row["file_name"]
        assert path.resolve().parent.parent == shelf.out.resolve()
        assert not any(part.startswith(".") for part in Path(row["file_name"]).parts)


@pytest.mark.parametrize(
    ("path", "content_type", "container", "ending"),
    [
        ("/a.ogg", "application/ogg", "OGG", "ogg"),
        ("/a.opus", "audio/ogg", "OGG", "opus"),
        ("/download?id=7", "application/octet-stream", "FLAC", "flac"),
        ("/wrong.jpg", "application/octet-stream", "WAV", "wav"),
        ("/wrong.mp3", "audio/mpeg", "FLAC", "flac"),
    ],
)
def test_the_ending_fits_the_content(
    server: SongServer, shelf: Shelf, path: str, content_type: str, container: str, ending: str
) -> None:
    body = sound(container=container)
    assert shelf.fetch({"url": server.add(path, body, content_type), "genre": "salsa", "song": "a"}).code == 0
    assert shelf.files == ["manifest.csv", f"salsa/a.{ending}"]
    assert (shelf.out / f"salsa/a.{ending}").read_bytes() == body


def _feed(*links: str) -> bytes:
    items = "".join(f'<item><title>t</title><enclosure url="{link}" type="audio/x-wav"/></item>' for link in links)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>f</title>{items}</channel></rss>'.encode()


def test_a_list_of_one_is_a_song_and_a_longer_one_is_refused(server: SongServer, shelf: Shelf) -> None:
    songs = [server.add(f"/{number}.wav", sound(number)) for number in range(2)]
    one = server.add("/one.xml", _feed(songs[0]), "text/xml")
    two = server.add("/two.xml", _feed(*songs), "text/xml")
    none = server.add("/none.xml", _feed(), "text/xml")
    shelf.fetch(*({"url": url, "genre": "salsa"} for url in (one, two, none)))
    assert [row["source"] for row in shelf.manifest] == [one]
    assert [row["reason"].partition(";")[0] for row in shelf.failed] == [
        "this is a list with more than one song",
        "this is a list with no song",
    ]
    assert "/1.wav" not in {request.path for request in server.requests}


def test_what_is_too_large_for_a_song_is_broken_off(
    server: SongServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1_000)
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    assert "larger than" in shelf.failed[0]["reason"]
    assert [path.name for path in shelf.out.iterdir()] == ["failed.csv"]


def test_a_folder_that_yt_dlp_would_take_for_another_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    shelf.out = tmp_path / "$HOME"
    with pytest.raises(ValueError, match="environment variable"):
        shelf.fetch({"url": "http://127.0.0.1:9/a.wav", "genre": "salsa"})
    assert not shelf.out.exists()


def test_a_file_that_cannot_be_stored_costs_one_song(server: SongServer, shelf: Shelf) -> None:
    shelf.out.mkdir()
    (shelf.out / "salsa").touch()
    urls = [server.add(f"/{place}.wav", sound(place)) for place in range(2)]
    assert shelf.fetch({"url": urls[0], "genre": "salsa"}, {"url": urls[1], "genre": "cumbia"}).code == 1
    assert [row["url"] for row in shelf.failed] == urls[:1]
    assert [row["source"] for row in shelf.manifest] == urls[1:]


def test_it_stops_when_failures_cannot_be_written_down(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(manifest, "write_whole", full)
    code, said, _ = shelf.fetch({"url": "", "genre": "salsa"}, {"url": "", "genre": "cumbia"})
    assert code == 1
    assert said.startswith("stopped, because the manifest or the list of failures cannot be written:")
    assert "found 2 = fetched 0 + already there 0 + failed 0 + not tried 2;" in said


def test_it_pauses_between_songs_and_for_nothing_else(
    server: SongServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(run, "time", types.SimpleNamespace(sleep=pauses.append))
    songs = [{"url": server.add(f"/{place}.wav", sound(place)), "genre": "salsa"} for place in range(3)]
    shelf.fetch(songs[0], {"url": "", "genre": "salsa"}, songs[1], songs[1], sleep_seconds=7)
    assert pauses == [7]
    shelf.fetch(*songs, sleep_seconds=7)
    assert pauses == [7]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [("file_name,genre\na.wav,salsa\n", "without song"), (",".join(MANIFEST_COLUMNS) + "\na.wav\n", "line 2")],
)
def test_a_manifest_of_another_kind_is_left_alone(shelf: Shelf, manifest: str, message: str) -> None:
    shelf.out.mkdir()
    (shelf.out / "manifest.csv").write_text(manifest)
    with pytest.raises(ValueError, match=message):
        shelf.fetch({"url": "http://127.0.0.1:9/a.wav", "genre": "salsa"})
    assert (shelf.out / "manifest.csv").read_text() == manifest


def test_two_processes_do_not_write_the_same_manifest(server: SongServer, shelf: Shelf) -> None:
    with Manifest(shelf.out), pytest.raises(ValueError, match="Another `tumbao fetch`"):
        shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    assert shelf.fetch().code == 0


def test_without_yt_dlp_it_says_how_to_get_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(ValueError, match=r'pip install "tumbao\[fetch\]"'):
        shelf.fetch({"url": "http://127.0.0.1:9/a.wav", "genre": "salsa"})
    assert not shelf.out.exists()


PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from tumbao.datasets.fetch.run import run_fetch
from tumbao.datasets.fetch.source import RateLimits
run_fetch(Path(sys.argv[1]), Path(sys.argv[2]), Console(), limits=RateLimits(sleep_seconds=0))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_an_interrupted_run_loses_nothing(server: SongServer, shelf: Shelf, number: signal.Signals) -> None:
    bodies = [sound(seed, seconds=6) for seed in range(3)]
    urls = [server.add(f"/{place}.wav", body) for place, body in enumerate(bodies)]
    shelf.write(*({"url": url, "genre": "salsa"} for url in urls))
    server.answers["/1.wav"] = [Answer(), Answer(break_after=100_000, stall=True)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, shelf.urls, shelf.out], stdout=subprocess.PIPE, env=environment, text=True
    )
    with process:
        assert server.stalled.wait(60)
        while not any(part.stat().st_size for part in shelf.out.glob(".unfinished/*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "found 3 = fetched 1 + already there 0 + failed 0 + not tried 2;" in said
    assert [row["source"] for row in shelf.manifest] == urls[:1]
    server.go_on.set()
    asked = len(server.requests)
    assert shelf.fetch().said.startswith("found 3 = fetched 2 + already there 1 + failed 0;")
    assert "/0.wav" not in {request.path for request in server.requests[asked:]}
    assert [(shelf.out / row["file_name"]).read_bytes() for row in shelf.manifest] == bodies
    assert shelf.files == ["manifest.csv", *(f"salsa/{place}.wav" for place in range(3))]
    assert any(request.start for request in server.requests[asked:])


def test_the_manifest_can_be_read_by_a_plain_reader(server: SongServer, shelf: Shelf) -> None:
    shelf.fetch({"url": server.add("/a.wav", sound()), "genre": "salsa"})
    with (shelf.out / "manifest.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header[:5] == ["file_name", "genre", "song", "artist", "album"]
    assert len(rows(shelf.out / "manifest.csv")) == 1
