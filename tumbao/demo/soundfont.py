"""The sound font of the demo library, rewritten so that symusic's synthesizer plays it in tune and to its end.

symusic 0.5.9 takes the root key of a sample from the sample's header only, while the General MIDI font that
pretty_midi ships says it in the zones of its instruments; and it reads the times of envelopes 1,024 times too short,
so that a bongó is a click. `playable` gives every zone a sample header of its own, with the root key that makes the
zone sound in tune, and an envelope that stays open: `render` shapes decay and release.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pretty_midi

_ATTACK, _HOLD, _KEY_RANGE, _COARSE_TUNE, _SAMPLE_ID, _SCALE_TUNING, _ROOT_KEY = 34, 35, 43, 51, 53, 56, 58
_ENVELOPE_AND_TUNING = {33, 34, 35, 36, 37, 38, 51}
_TIMECENTS_READ_TOO_LOW = 12_000
_TWENTY_SECONDS = 5_186
_HEADER = struct.Struct("<20sIIIIIBbHH")
_HEADER_ROOT_KEY = 6
_TOP_KEY = 127

Zone = dict[int, int]


def source() -> Path:
    """Find the General MIDI sound font in the installed pretty_midi.

    Returns
    -------
    path : Path
        TimGM6mb.sf2.

    Raises
    ------
    FileNotFoundError
        If this version of pretty_midi carries no sound font.
    """
    path = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    if not path.is_file():
        raise FileNotFoundError(
            f"The sound font that pretty_midi ships is missing. Expected: {path}. "
            "Install the version of pretty_midi that requirements.lock names."
        )
    return path


def playable(font: bytes) -> bytes:
    """Write tuning and length of a sound font's zones where symusic's synthesizer reads them.

    Parameters
    ----------
    font : bytes
        A SoundFont 2 file.

    Returns
    -------
    font : bytes
        The same samples: a header per zone with the zone's root key, envelopes that stay open after their attack.
    """
    body = font[8:12]
    for _, content in _chunks(font[12:]):
        kind, inside = content[:4], content[4:]
        body += _riff(b"LIST", kind + (_rewrite(inside) if kind == b"pdta" else inside))
    return _riff(b"RIFF", body)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 0
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def _riff(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def _signed(amount: int) -> int:
    return amount - 65_536 if amount > 32_767 else amount


def _root_key(zone: Zone, header_key: int) -> int:
    """Root key at which a plain scale of semitones gives the pitch that the zone's generators ask for."""
    root = zone.get(_ROOT_KEY, header_key)
    high, low = divmod(zone.get(_KEY_RANGE, _TOP_KEY << 8), 256)
    middle = (low + high) // 2
    shift = zone.get(_SCALE_TUNING, 100) / 100 * (middle - root) + _signed(zone.get(_COARSE_TUNE, 0))
    return min(_TOP_KEY, max(0, round(middle - shift)))


def _envelope(zone: Zone) -> Zone:
    attack = _signed(zone.get(_ATTACK, 65_536 - _TIMECENTS_READ_TOO_LOW)) + _TIMECENTS_READ_TOO_LOW
    return {_ATTACK: attack % 65_536, _HOLD: _TWENTY_SECONDS + _TIMECENTS_READ_TOO_LOW}


def _rewrite(articulation: bytes) -> bytes:
    """Rewrite the articulation list (`pdta`): zones of the instruments and headers of the samples."""
    chunks = dict(_chunks(articulation))
    generators = list(struct.iter_unpack("<HH", chunks[b"igen"]))
    bags = list(struct.iter_unpack("<HH", chunks[b"ibag"]))
    starts = {bag for _, bag in struct.iter_unpack("<20sH", chunks[b"inst"])}
    *headers, last_header = _HEADER.iter_unpack(chunks[b"shdr"])
    new_generators: list[tuple[int, int]] = []
    new_bags: list[tuple[int, int]] = []
    new_headers: list[bytes] = []
    shared: Zone = {}
    for index, (bag, following) in enumerate(itertools.pairwise(bags)):
        own = dict(generators[bag[0] : following[0]])
        shared = {} if index in starts else shared
        zone = shared | own
        new_bags.append((len(new_generators), bag[1]))
        kept = {operator: amount for operator, amount in own.items() if operator not in _ENVELOPE_AND_TUNING}
        if _SAMPLE_ID in own:
            header = list(headers[kept.pop(_SAMPLE_ID)])
            header[_HEADER_ROOT_KEY] = _root_key(zone, header[_HEADER_ROOT_KEY])
            kept |= _envelope(zone) | {_SAMPLE_ID: len(new_headers)}
            new_headers.append(_HEADER.pack(*header))
        elif index in starts:
            shared = own
        new_generators += kept.items()
    new_bags.append((len(new_generators), bags[-1][1]))
    chunks[b"igen"] = b"".join(struct.pack("<HH", *pair) for pair in [*new_generators, (0, 0)])
    chunks[b"ibag"] = b"".join(struct.pack("<HH", *pair) for pair in new_bags)
    chunks[b"shdr"] = b"".join(new_headers) + _HEADER.pack(*last_header)
    return b"".join(_riff(name, chunk) for name, chunk in chunks.items())
