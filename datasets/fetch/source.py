"""Download with yt-dlp: from a URL to a complete audio file, as its source provides it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tumbao import __version__
from tumbao.components.ingest.progress import Listener
from tumbao.datasets.fetch.content import HEAD_BYTES, audio_ending
from tumbao.datasets.fetch.names import clean_text
from tumbao.datasets.fetch.rate_limits import Manners
from tumbao.schema.errors import UserError

FORMAT = "bestaudio/best[vcodec=?none]"
"""The best audio-only format; if the source does not declare a file's content, that file. Known videos are excluded."""

SOCKET_TIMEOUT_SECONDS = 30
MAX_BYTES = 2_000_000_000
"""Size limit of a song; a radio stream would never end."""

_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())  # yt-dlp's messages are discarded without a configured log

_MEGABYTE = 1_000_000
_MISSING = 'Expected yt-dlp to be installed. Received: no such package. Run `pip install "tumbao[fetch]"`.'
_EPILOGUE = re.compile(r" \(caused by |; please report this issue on |[.;] +Use --|\. See +https?://", re.DOTALL)
"""Text that yt-dlp appends to the reason of an error."""


class FetchError(ValueError):
    """A song could not be fetched; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A complete file and the metadata of its source; missing metadata are empty.

    `ending` is the extension that fits the content, without the dot; `extractor` is that of yt-dlp.
    """

    path: Path
    ending: str
    extractor: str
    song: str
    artist: str
    album: str
    licence: str


def require_yt_dlp() -> None:
    """Check that yt-dlp is installed; raise ValueError with the command to install it if not."""
    try:
        import yt_dlp  # noqa: F401
    except ImportError as error:
        raise UserError(_MISSING) from error


def download(url: str, folder: Path, manners: Manners, report: Listener) -> Download:
    """Fetch one song to `folder`; an interrupted download continues where it stopped.

    Unfinished files are named after the hash of their URL. Raises FetchError if the URL yields no song.
    """
    import yt_dlp

    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    options = _options(folder, name, manners, report)
    try:
        with yt_dlp.YoutubeDL(options) as ydl:
            info = _patiently(lambda: _only_one(ydl, ydl.extract_info(url, download=False)), manners)
            if info.get("is_live") or info.get("live_status") in {"is_live", "is_upcoming"}:
                raise FetchError("this is a live stream, which has no end")
            info = ydl.process_ie_result(info, download=True)
    except FetchError:
        raise
    except yt_dlp.utils.YoutubeDLError as error:
        raise FetchError(_reason(str(error))) from error
    except Exception as error:  # an error in an extractor fails one song, not the run
        raise FetchError(f"yt-dlp failed: {type(error).__name__}: {_reason(str(error))}") from error
    return _examine(info)


def _options(folder: Path, name: str, manners: Manners, report: Listener) -> dict[str, Any]:
    from yt_dlp.version import __version__ as yt_dlp_version

    literal = str(folder.absolute()).replace("%", "%%")
    limit = manners.kilobytes_per_second
    return {
        "format": FORMAT,
        "outtmpl": {"default": f"{literal}/{name}.%(ext)s"},
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1:2",  # two entries are enough to detect a longer list
        "default_search": "error",
        "fixup": "never",
        "retries": manners.retries,
        "fragment_retries": manners.retries,
        "extractor_retries": manners.retries,
        "skip_unavailable_fragments": False,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), manners.wait_seconds),
        "sleep_interval_requests": manners.request_sleep_seconds,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "ratelimit": limit and limit * 1_000,
        "http_headers": {"User-Agent": f"tumbao/{__version__} yt-dlp/{yt_dlp_version}"},
        "progress_hooks": [_Meter(report)],
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "logger": _LOG,
    }


class _Meter:
    """Reports the megabytes of a download, and aborts downloads that are too large."""

    def __init__(self, report: Listener) -> None:
        self._report = report
        self._begun = False

    def __call__(self, status: dict[str, Any]) -> None:
        done = status.get("downloaded_bytes") or 0
        total = status.get("total_bytes") or int(status.get("total_bytes_estimate") or 0)
        if max(done, total) > MAX_BYTES:
            Path(status["tmpfilename"]).unlink(missing_ok=True)
            raise FetchError(f"it is larger than {MAX_BYTES // _MEGABYTE} MB, which no song is")
        if total and status["status"] == "downloading":
            if not self._begun:
                self._begun = True
                self._report("download, MB", 0, total // _MEGABYTE)
            self._report("download, MB", done // _MEGABYTE, total // _MEGABYTE)


def _only_one(ydl: Any, info: dict[str, Any] | None) -> dict[str, Any]:
    """Resolve a list of one entry to this entry; reject any other list."""
    if info is None:
        raise FetchError("yt-dlp found nothing there")
    if info.get("_type") != "playlist":
        return info
    entries = list(info.get("entries") or [])
    if len(entries) != 1:
        held = "more than one song" if entries else "no song"
        raise FetchError(f"this is a list with {held}; give the address of each song in a row of its own")
    (entry,) = entries
    if entry.get("_type") not in {"url", "url_transparent"}:
        return entry
    found = ydl.extract_info(entry["url"], download=False, ie_key=entry.get("ie_key"))
    if found and found.get("_type") == "playlist":
        raise FetchError("this is a list of lists; give the address of each song in a row of its own")
    return _only_one(ydl, found)


def _patiently(look: Callable[[], dict[str, Any]], manners: Manners) -> dict[str, Any]:
    """Retry while a server is busy or out of reach; yt-dlp itself does so for downloads only."""
    from yt_dlp.utils import DownloadError

    tries = 0
    while True:
        try:
            return look()
        except DownloadError as error:
            if tries == manners.retries or not _passing((error.exc_info or [None, None])[1]):
                raise
            time.sleep(manners.wait_seconds(tries))
            tries += 1


def _passing(error: BaseException | None) -> bool:
    from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, TransportError

    if isinstance(error, HTTPError):
        return error.status in {408, 425, 429} or error.status >= 500
    return isinstance(error, TransportError) and not isinstance(error, CertificateVerifyError)


def _examine(info: dict[str, Any]) -> Download:
    files = [Path(item["filepath"]) for item in info.get("requested_downloads") or [] if item.get("filepath")]
    if len(files) != 1 or not files[0].is_file():
        raise FetchError("yt-dlp gave no file")
    (path,) = files
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    ending = audio_ending(head, path.suffix.removeprefix("."))
    if ending is None:
        path.unlink()
        raise FetchError(f"this is no audio: the file begins with {head[:16]!r}")
    return Download(
        path=path,
        ending=ending,
        extractor=_text(info, "extractor_key", "extractor"),
        song=_text(info, "track", "title"),
        artist=_text(info, "artists", "artist", "creators"),
        album=_text(info, "album"),
        licence=_text(info, "license"),
    )


def _text(info: dict[str, Any], *keys: str) -> str:
    """Return the first of some fields that is not empty; a list is joined."""
    for key in keys:
        value = info.get(key) or ""
        if text := clean_text(value if isinstance(value, str) else ", ".join(map(str, value))):
            return text
    return ""


def _reason(message: str) -> str:
    return clean_text(_EPILOGUE.split(message.removeprefix("ERROR: "))[0]) or "yt-dlp gave no reason"
