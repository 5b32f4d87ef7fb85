"""Download with yt-dlp: from a URL to a complete audio file, as its source provides it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tumbao import __version__
from tumbao.components.ingest.progress import Listener
from tumbao.schema.errors import UserError

FORMAT = "bestaudio/best[vcodec=?none]"
"""The best audio-only format; if the source does not declare a file's content, that file. Known videos are excluded."""

MAX_BYTES = 2_000_000_000
"""Size limit of a song; a radio stream would never end."""

_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())  # yt-dlp's messages are discarded without a configured log

_MEGABYTE = 1_000_000
_EPILOGUE = re.compile(r" \(caused by |; please report this issue on |[.;] +Use --|\. See +https?://")
"""Text that yt-dlp appends to the reason of an error."""

HEAD_BYTES = 192

_CONTAINERS = {
    rb"(RIFF|RF64|BW64)....WAVE": "wav",
    rb"FORM....AIF[FC]": "aiff aif aifc",
    rb"fLaC": "flac",
    rb"OggS": "ogg oga opus spx ogx ogv ogm",
    rb"ID3|APETAGEX|\0*\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd]": "mp3 mp2 mp1 mpa mpga aac flac",
    rb"\xff[\xf0\xf1\xf8\xf9]": "aac adts",
    rb"....(ftyp|styp|moov|moof|mdat|free|wide|skip)": "m4a m4b mp4 m4v mov 3gp 3g2 3ga f4a f4v mp4a m4r",
    rb"\x1a\x45\xdf\xa3": "webm weba mka mkv",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "wma asf wmv",
    rb"\x47.{187}\x47": "ts m2ts mp4",
    rb"caff": "caf",
    rb"wvpk": "wv",
    rb"MAC ": "ape",
    rb"\.snd": "au snd",
    rb"#!AMR": "amr",
}
"""First bytes of each audio container, and the extensions of its files, the usual one first."""


class FetchError(ValueError):
    """A song could not be fetched; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class RateLimits:
    """Limits on the requests to other servers."""

    sleep_seconds: float = 5.0  # between songs; waits before a retry begin with it and double, up to a minute
    kilobytes_per_second: float | None = None
    retries: int = 5  # after a broken connection or a server error

    def __post_init__(self) -> None:
        if not 0 <= self.sleep_seconds < float("inf"):
            raise UserError(f"Expected sleep_seconds of 0 or more. Received: {self.sleep_seconds}.")
        if self.kilobytes_per_second is not None and not self.kilobytes_per_second > 0:
            raise UserError(f"Expected kilobytes_per_second above 0. Received: {self.kilobytes_per_second}.")

    def wait_seconds(self, n: int) -> float:
        """Return the wait before the next retry, after `n` retries; yt-dlp passes `n` by this name."""
        return max(self.sleep_seconds, min(self.sleep_seconds * 2**n, 60))


@dataclasses.dataclass(frozen=True)
class Download:
    """A complete file, an extension that fits its content, and the columns of the manifest that its source knows."""

    path: Path
    extension: str
    metadata: dict[str, str]


def download(url: str, folder: Path, limits: RateLimits, report: Listener) -> Download:
    """Fetch one song to `folder`; an interrupted download continues where it stopped."""
    import yt_dlp

    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    options = _options(folder, name, limits, report)
    try:
        with yt_dlp.YoutubeDL(options) as ydl:
            info = _retried(lambda: _find(ydl, url), limits)
            if info.get("is_live") or info.get("live_status") in {"is_live", "is_upcoming"}:
                raise FetchError("this is a live stream, which does not end")
            info = ydl.process_ie_result(info, download=True)
    except FetchError:
        raise
    except yt_dlp.utils.YoutubeDLError as error:
        raise FetchError(_reason(str(error))) from error
    except Exception as error:  # an error in an extractor fails one song, not the run
        raise FetchError(f"yt-dlp failed: {type(error).__name__}: {_reason(str(error))}") from error
    return _examine(info)


def _options(folder: Path, name: str, limits: RateLimits, report: Listener) -> dict[str, Any]:
    from yt_dlp.version import __version__ as yt_dlp_version

    literal = str(folder.absolute()).replace("%", "%%")
    limit = limits.kilobytes_per_second
    return {
        "format": FORMAT,
        "outtmpl": {"default": f"{literal}/{name}.%(ext)s"},
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1:2",  # two entries are enough to detect a longer list
        "default_search": "error",
        "fixup": "never",
        "retries": limits.retries,
        "fragment_retries": limits.retries,
        "extractor_retries": limits.retries,
        "skip_unavailable_fragments": False,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), limits.wait_seconds),
        "sleep_interval_requests": min(limits.sleep_seconds, 0.75),
        "socket_timeout": 30,
        "ratelimit": limit and limit * 1_000,
        "http_headers": {"User-Agent": f"tumbao/{__version__} yt-dlp/{yt_dlp_version}"},
        "progress_hooks": [lambda status: _watch(status, report)],
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "logger": _LOG,
    }


def _watch(status: dict[str, Any], report: Listener) -> None:
    """Report the megabytes of a download; abort one that is too large."""
    done = status.get("downloaded_bytes") or 0
    total = status.get("total_bytes") or int(status.get("total_bytes_estimate") or 0)
    if max(done, total) > MAX_BYTES:
        Path(status["tmpfilename"]).unlink(missing_ok=True)
        raise FetchError(f"the file is larger than {MAX_BYTES // _MEGABYTE} MB, too large for a song")
    if total and status["status"] == "downloading":
        report("download, MB", done // _MEGABYTE, total // _MEGABYTE)


def _find(ydl: Any, url: str) -> dict[str, Any]:
    """Find the song of an address; a list of one song is this song."""
    info = ydl.extract_info(url, download=False)
    if info and info.get("_type") == "playlist":
        entries = list(info.get("entries") or [])
        if len(entries) != 1:
            contents = "more than one song" if entries else "no song"
            raise FetchError(f"this is a list with {contents}; put the address of each song into its own row")
        (info,) = entries
        if info.get("_type") in {"url", "url_transparent"}:
            info = ydl.extract_info(info["url"], download=False, ie_key=info.get("ie_key"))
    if not info or info.get("_type") == "playlist":
        raise FetchError("yt-dlp found no song at this address")
    return info


def _retried(request: Callable[[], dict[str, Any]], limits: RateLimits) -> dict[str, Any]:
    """Retry while a server is busy or out of reach; yt-dlp itself does so for downloads only."""
    from yt_dlp.utils import DownloadError

    for tries in range(limits.retries):
        try:
            return request()
        except DownloadError as error:
            if not _is_temporary((error.exc_info or (None, None))[1]):
                raise
        time.sleep(limits.wait_seconds(tries))
    return request()


def _is_temporary(error: BaseException | None) -> bool:
    from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, TransportError

    if isinstance(error, HTTPError):
        return error.status in {408, 425, 429} or error.status >= 500
    return isinstance(error, TransportError) and not isinstance(error, CertificateVerifyError)


def _examine(info: dict[str, Any]) -> Download:
    files = [Path(item["filepath"]) for item in info.get("requested_downloads") or [] if item.get("filepath")]
    if len(files) != 1 or not files[0].is_file():
        raise FetchError("yt-dlp produced no file")
    (path,) = files
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    extension = audio_extension(head, path.suffix.removeprefix("."))
    if extension is None:
        path.unlink()
        raise FetchError(f"this is not audio: the file begins with {head[:16]!r}")
    fields = {
        "extractor": info.get("extractor_key"),
        "song": info.get("track") or info.get("title"),
        "artist": info.get("artist") or info.get("creator"),
        "album": info.get("album"),
        "licence": info.get("license"),
    }
    return Download(path, extension, {name: clean_text(str(value or "")) for name, value in fields.items()})


def audio_extension(head: bytes, given: str) -> str | None:
    """Return the extension that fits the first `HEAD_BYTES` of a file; None if it is not an audio container."""
    for pattern, names in _CONTAINERS.items():
        if re.match(pattern, head, re.DOTALL):
            return given.lower() if given.lower() in names.split() else names.split()[0]
    return None


def _reason(message: str) -> str:
    return clean_text(_EPILOGUE.split(message.removeprefix("ERROR: "))[0]) or "yt-dlp gave no reason"


def clean_text(text: str) -> str:
    """Convert a text to one line in Unicode's composed form (NFC) that every file can hold."""
    unwritable = {
        "Cc",
        "Cs",
        "Zl",
        "Zp",
    }  # controls, halves of surrogate pairs, line and paragraph separators
    visible = "".join(" " if unicodedata.category(char) in unwritable else char for char in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())
