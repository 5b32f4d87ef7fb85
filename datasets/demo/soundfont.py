"""The sound font of the demo library, rewritten so that symusic's synthesizer plays it in tune and in full length.

symusic 0.5.9 reads the root key of a sample only from the sample's header, while the General MIDI font that pretty_midi
ships has it in the zones of its instruments. It rounds loops to whole samples, which detunes loops of twenty samples by
a semitone. It reads the times of envelopes 1,024 times too short, so that a bongó is a click. `playable` adds a sample
header for every zone, with the root key that makes the zone sound in tune, a loop long enough to make the rounding
inaudible, and an envelope that stays open; `render` applies decay and release. It also corrects an error of the font:
the loops of high accordion reeds are half a sample too long.
"""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import numpy.typing as npt

_LOOP_START, _LOOP_END = 2, 3
_DELAY, _ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE = range(33, 39)
_KEY_RANGE, _FINE_TUNE, _SCALE_TUNING, _ROOT_KEY = 43, 52, 56, 58
_SAMPLE_ID, _LOOPED = 53, 54
_REWRITTEN = {_LOOP_START, _LOOP_END, _DELAY, _ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE}
"""Generators of SoundFont 2 that are replaced by a sample header, or by another envelope."""

_TIMECENTS_READ_TOO_LOW = 12_000
_TWENTY_SECONDS = 5_186
_LONG_LOOP_SAMPLES = 4_096
_GUARD_SAMPLES = 46
_ONE_WAVE_SAMPLES, _DETUNED_CENTS = 32, 25
_TOP_KEY = 127
_HEADER = struct.Struct("<20sIIIIIBbHH")

Zone = dict[int, int]
Samples = npt.NDArray[np.int16]


def playable(font: bytes) -> bytes:
    """Write tuning, loops and lengths of a SoundFont 2 file where symusic's synthesizer reads them.

    The sounds stay the same, with a header per zone with the zone's root key, and envelopes that stay open after their
    attack.
    """
    lists = {content[:4]: content[4:] for _, content in _chunks(font[12:])}
    sound = dict(_chunks(lists[b"sdta"]))
    articulation, samples = _rewrite(lists[b"pdta"], np.frombuffer(sound[b"smpl"], np.int16))
    lists |= {b"sdta": _riff(b"smpl", samples.tobytes()), b"pdta": articulation}
    return _riff(b"RIFF", b"sfbk" + b"".join(_riff(b"LIST", kind + body) for kind, body in lists.items()))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 0
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def _riff(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def _signed(zone: Zone, operator: int, default: int = 0) -> int:
    amount = zone.get(operator, default)
    return amount - 65_536 if amount > 32_767 else amount


def _root_key(zone: Zone, header_key: int) -> int:
    """Compute the root key at which a plain scale of semitones yields the pitch that the zone's generators specify."""
    root = zone.get(_ROOT_KEY, header_key)
    high, low = divmod(zone.get(_KEY_RANGE, _TOP_KEY << 8), 256)
    middle = (low + high) // 2
    shift = zone.get(_SCALE_TUNING, 100) / 100 * (middle - root)
    return min(_TOP_KEY, max(0, round(middle - shift)))


def _correction(zone: Zone, key: int, rate: int, period: int, correction: int) -> int:
    """Compute the pitch correction, in cents, with which a loop of one short wave sounds at the zone's root key."""
    if not zone.get(_LOOPED) or not 0 < period <= _ONE_WAVE_SAMPLES:
        return correction
    pitch = 69 + 12 * math.log2(rate / period / 440)
    cents = (100 * (pitch - key) + correction + _signed(zone, _FINE_TUNE) + 600) % 1_200 - 600
    return correction - round(cents) if _DETUNED_CENTS < abs(cents) < 100 else correction


def _envelope(zone: Zone) -> Zone:
    attack = _signed(zone, _ATTACK, -_TIMECENTS_READ_TOO_LOW) + _TIMECENTS_READ_TOO_LOW
    return {_ATTACK: attack % 65_536, _HOLD: _TWENTY_SECONDS + _TIMECENTS_READ_TOO_LOW}


class _UnrolledLoops:
    """The samples of a font, extended at the end by unrolled loops."""

    def __init__(self, samples: Samples) -> None:
        self.parts = [samples]
        self.length = len(samples)
        self.unrolled: dict[tuple[int, int, int], int] = {}

    def points(self, zone: Zone, start: int, end: int, loop_start: int, loop_end: int) -> tuple[int, int, int, int]:
        """Find start and end of a zone's sample and loop in the extended samples; unroll a short loop."""
        loop_start += _signed(zone, _LOOP_START)
        loop_end += _signed(zone, _LOOP_END)
        period = loop_end - loop_start
        if not zone.get(_LOOPED) or not 0 < period < _LONG_LOOP_SAMPLES:
            return start, end, loop_start, loop_end
        turns = -(-_LONG_LOOP_SAMPLES // period)
        if (start, loop_start, loop_end) not in self.unrolled:
            cycle = np.tile(self.parts[0][loop_start:loop_end], turns + 1 + -(-_GUARD_SAMPLES // period))
            self.unrolled[start, loop_start, loop_end] = self.length
            self.parts.append(np.concatenate([self.parts[0][start:loop_start], cycle]))
            self.length += len(self.parts[-1])
        moved = self.unrolled[start, loop_start, loop_end] - start
        first, last = loop_start + moved, loop_end + moved + turns * period
        return start + moved, last + _GUARD_SAMPLES, first, last


def _rewrite(articulation: bytes, samples: Samples) -> tuple[bytes, Samples]:
    """Rewrite the articulation list (`pdta`): zones of the instruments and headers of the samples."""
    chunks = dict(_chunks(articulation))
    generators = list(struct.iter_unpack("<HH", chunks[b"igen"]))
    bags = list(struct.iter_unpack("<HH", chunks[b"ibag"]))
    starts = {bag for _, bag in struct.iter_unpack("<20sH", chunks[b"inst"])}
    *headers, last_header = _HEADER.iter_unpack(chunks[b"shdr"])
    new_generators: list[tuple[int, int]] = []
    new_bags: list[tuple[int, int]] = []
    new_headers: list[bytes] = []
    unrolled, shared = _UnrolledLoops(samples), Zone()
    for index, (bag, following) in enumerate(itertools.pairwise(bags)):
        own = dict(generators[bag[0] : following[0]])
        shared = Zone() if index in starts else shared
        zone = shared | own
        new_bags.append((len(new_generators), bag[1]))
        rewritten = {operator: amount for operator, amount in own.items() if operator not in _REWRITTEN}
        if _SAMPLE_ID in own:
            name, *points, rate, key, correction, link, kind = headers[rewritten.pop(_SAMPLE_ID)]
            root = _root_key(zone, key)
            correction = _correction(zone, root, rate, points[3] - points[2], correction)
            header = (name, *unrolled.points(zone, *points), rate, root, correction, link, kind)
            rewritten |= _envelope(zone) | {_SAMPLE_ID: len(new_headers)}
            new_headers.append(_HEADER.pack(*header))
        elif index in starts:
            shared = own
        new_generators += rewritten.items()
    new_bags.append((len(new_generators), bags[-1][1]))
    chunks[b"igen"] = b"".join(struct.pack("<HH", *pair) for pair in [*new_generators, (0, 0)])
    chunks[b"ibag"] = b"".join(struct.pack("<HH", *pair) for pair in new_bags)
    chunks[b"shdr"] = b"".join(new_headers) + _HEADER.pack(*last_header)
    return b"".join(_riff(name, chunk) for name, chunk in chunks.items()), np.concatenate(unrolled.parts)
