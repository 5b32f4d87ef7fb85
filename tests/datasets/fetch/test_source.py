"""Options of yt-dlp, and what is made of its results: formats, live streams, errors, pauses, extensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tumbao.datasets.fetch.source import FORMAT, FetchError, RateLimits, _reason, audio_extension, download

yt_dlp = pytest.importorskip("yt_dlp", reason="yt-dlp is not installed (extra fetch)")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"sleep_seconds": -1}, "sleep_seconds"),
        ({"sleep_seconds": float("nan")}, "sleep_seconds"),
        ({"kilobytes_per_second": 0}, "kilobytes_per_second"),
    ],
)
def test_bad_limits_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RateLimits(**limits)


def test_limits_reach_yt_dlp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}

    def record(ydl: Any, *_: object, **__: object) -> None:
        options.update(ydl.params)

    monkeypatch.setattr(yt_dlp.YoutubeDL, "extract_info", record)
    with pytest.raises(FetchError, match="found no song"):
        download("http://127.0.0.1:9/a", tmp_path, RateLimits(8, 50, 3), lambda *_: None)
    assert (options["ratelimit"], options["retries"], options["sleep_interval_requests"]) == (50_000, 3, 0.75)
    wait = options["retry_sleep_functions"]["http"]
    assert [wait(n=n) for n in range(4)] == [8, 16, 32, 60]
    assert RateLimits(sleep_seconds=90).wait_seconds(3) == 90
    assert not options.get("postprocessors") and options["fixup"] == "never"


@pytest.mark.parametrize(
    ("head", "given", "extension"),
    [
        (b"RIFF\x10\0\0\0WAVEfmt ", "wav", "wav"),
        (b"OggS\0\x02", "jpg", "ogg"),
        (b"\0\0\0\x1cftypdash", "M4A", "m4a"),
        (b"\x1a\x45\xdf\xa3", "webm", "webm"),
        (b"ID3\x04", "mp3", "mp3"),
        (b"\xff\xfb\x90\x64", "unknown_video", "mp3"),
        (b"\xff\xf1\x50\x80", "bin", "aac"),
        (b"<!DOCTYPE html>", "mp3", None),
        (b"\x89PNG\r\n\x1a\n", "mp3", None),
        (b"%PDF-1.7", "mp3", None),
        (b'{"error": 404}', "mp3", None),
        (b"", "mp3", None),
        ("Gone".encode("utf-16"), "mp3", None),
        ((b"\x47" + bytes(187)) * 2, "mp4", "mp4"),
    ],
)
def test_the_content_decides_the_extension(head: bytes, given: str, extension: str | None) -> None:
    assert audio_extension(head, given) == extension


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "ERROR: [generic] Unable to download webpage: HTTP Error 404 (caused by <HTTPError 404: Not Found>)",
            "[generic] Unable to download webpage: HTTP Error 404",
        ),
        ("ERROR: [a] b: No key; please report this issue on  https://example.org , filling out", "[a] b: No key"),
        ("ERROR: [a] b: Private\nvideo", "[a] b: Private video"),
        ("", "yt-dlp gave no reason"),
    ],
)
def test_reasons_are_one_line_without_advice(message: str, reason: str) -> None:
    assert _reason(message) == reason


def _select(formats: list[dict[str, Any]]) -> list[str]:
    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True}) as ydl:
        found = ydl.build_format_selector(FORMAT)(
            {"formats": formats, "has_merged_format": True, "incomplete_formats": False}
        )
        return [item["format_id"] for item in found]


VIDEO = {"format_id": "video", "vcodec": "h264", "acodec": "aac", "ext": "mp4", "url": "http://a/v"}
SOUND = [
    {"format_id": "worse", "vcodec": "none", "acodec": "aac", "ext": "m4a", "url": "http://a/1"},
    {"format_id": "better", "vcodec": "none", "acodec": "opus", "ext": "webm", "url": "http://a/2"},
]


def test_the_best_audio_format_is_selected_and_no_video() -> None:
    assert _select([*SOUND, VIDEO]) == ["better"]
    assert _select([VIDEO]) == []
    assert _select([{"format_id": "unknown", "ext": "wav", "url": "http://a/w"}]) == ["unknown"]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"is_live": True}, "live stream"),
        ({"live_status": "is_upcoming"}, "live stream"),
        (KeyError("title"), "KeyError: 'title'"),
    ],
)
def test_live_streams_and_errors_of_extractors_fail_one_song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: Any, message: str
) -> None:
    extract = mock.Mock(**({"side_effect": info} if isinstance(info, Exception) else {"return_value": info}))
    monkeypatch.setattr(yt_dlp.YoutubeDL, "extract_info", extract)
    with pytest.raises(FetchError, match=message):
        download("http://127.0.0.1:9/a", tmp_path, RateLimits(sleep_seconds=0), lambda *_: None)
