"""File type by the first bytes; no decoder runs on downloaded data."""

from __future__ import annotations

import re

HEAD_BYTES = 192

_CONTAINERS: tuple[tuple[re.Pattern[bytes], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), tuple(endings.split()))
    for pattern, endings in (
        (rb"(RIFF|RIFX|RF64|BW64)....WAVE", "wav"),
        (rb"FORM....AIF[FC]", "aiff aif aifc"),
        (rb"fLaC", "flac"),
        (rb"OggS", "ogg oga opus spx ogx ogv ogm"),
        (rb"ID3|APETAGEX|\0*\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd]", "mp3 mp2 mp1 mpa mpga aac flac"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "aac adts"),
        (rb"....(ftyp|styp|moov|moof|mdat|free|wide|skip)", "m4a m4b mp4 m4v mov 3gp 3g2 3ga f4a f4v mp4a m4r"),
        (rb"\x1a\x45\xdf\xa3", "webm weba mka mkv"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma asf wmv"),
        (rb"RIFF....AVI ", "avi divx"),
        (rb"FLV\x01", "flv f4v"),
        (rb"\x47.{187}\x47", "ts m2ts mp4"),
        (rb"\x00\x00\x01\xba", "mpg mpeg vob"),
        (rb"caff", "caf"),
        (rb"wvpk", "wv"),
        (rb"MAC ", "ape"),
        (rb"\.snd", "au snd"),
        (rb"#!AMR", "amr"),
    )
)
"""First bytes of each audio container, and the extensions of its files, the usual one first."""


def audio_ending(head: bytes, given: str) -> str | None:
    """Find the extension that fits the first `HEAD_BYTES` of a file; None if this is no audio container.

    `given` is the extension from the source, without the dot, and is kept if it fits.
    """
    for pattern, endings in _CONTAINERS:
        if pattern.match(head):
            return given.lower() if given.lower() in endings else endings[0]
    return None
