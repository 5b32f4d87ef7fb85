"""MIDI → waveform → MP3: symusic synthesizes every distinct note once; the rest is mixed here.

The synthesizer of symusic 0.5.9 ignores velocities and controllers, and notes do not decay. It reads the root key of a
sample only from the sample's header, while the General MIDI font that pretty_midi ships has it in the zones of its
instruments. It rounds loops to whole samples, which detunes loops of twenty samples by a semitone. It reads the times
of envelopes 1,024 times too short, so that a bongó is a click. `_playable` rewrites the font accordingly.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import struct
import tempfile
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pretty_midi
import symusic

from tumbao.datasets.demo.score import LEVEL, PAN

SAMPLE_RATE_HZ = 44_100
Waveform = npt.NDArray[np.float32]

_DURATION_STEP_SECONDS = 0.05
_RELEASE_SECONDS = 0.12
_DRUM_SECONDS = 0.9
_ROOM_SECONDS = 1.6
_FADE_SECONDS = 0.4
_COMB_SECONDS = ((0.0297, 0.0371, 0.0411, 0.0437), (0.0307, 0.0361, 0.0419, 0.0451))
_DECAY_SECONDS = {range(8): 1.2, range(8, 16): 1.0, range(24, 32): 0.55, range(32, 40): 0.7}
"""Time in which a plucked or struck instrument loses 8.7 dB, by General MIDI program; the others sustain."""

_MP3_BITS_PER_SECOND = 128_000
_MP3_OPTIONS = {"compression_level": "9", "joint_stereo": "0"}

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

_Sound = tuple[bool, int, int, int]
"""Whether it is a drum, program, pitch, duration in steps."""


def waveform(midi: bytes) -> Waveform:
    """Render a MIDI file of `Score.midi` as stereo, float32 [frames, 2] at 44,100 Hz, between -1 and 1.

    The tail of the reverberation is faded out. The same MIDI file returns the same waveform.
    """
    song = symusic.Score.from_midi(midi).to("second")
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(midi).digest(), np.uint32))
    return _master(_add_reverberation(_mix(song), rng), rng).T


def write_mp3(path: Path, waveform: Waveform) -> None:
    """Write a stereo MP3 at 44,100 Hz and 128 kbit/s; an existing file is replaced only when the new one is complete.

    `waveform` is float32 [frames, 2], between -1 and 1. LAME's fastest search takes less than half the time of
    libsndfile's encoder, which has no such setting.
    """
    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", rate=SAMPLE_RATE_HZ, layout="stereo", options=_MP3_OPTIONS)
        stream.bit_rate = _MP3_BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform.T), format="fltp", layout="stereo")
        frame.rate, frame.pts = SAMPLE_RATE_HZ, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    part.replace(path)


def _mix(song: symusic.core.ScoreSecond) -> Waveform:
    """Mix all notes in stereo, float32 [2, frames], with time for the tail of the reverberation."""
    sounds = _sounds(song)
    frames = round((song.end() + _ROOM_SECONDS) * SAMPLE_RATE_HZ)
    mix = np.zeros((2, frames), np.float32)
    for track in song.tracks:
        controls = {control.number: control.value for control in track.controls}
        angle = controls.get(PAN, 64) / 127 * np.pi / 2
        voice = np.zeros(frames, np.float32)
        for note in track.notes:
            sound = sounds[_sound(track, note)]
            start = round(note.time * SAMPLE_RATE_HZ)
            part = voice[start : start + len(sound)]
            part += np.float32((note.velocity / 127) ** 1.7) * sound[: len(part)]
        level = (controls.get(LEVEL, 100) / 127) ** 1.5
        mix[0] += np.float32(level * np.cos(angle)) * voice
        mix[1] += np.float32(level * np.sin(angle)) * voice
    return mix


def _synthesizer() -> symusic.core.Synthesizer:
    """Return a new synthesizer, because earlier output of a used one remains audible."""
    with tempfile.NamedTemporaryFile(suffix=".sf2") as font:
        font.write(_playable(Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")))
        font.flush()
        return symusic.Synthesizer(font.name, SAMPLE_RATE_HZ)


def _sound(track: symusic.core.TrackSecond, note: symusic.core.NoteSecond) -> _Sound:
    if track.is_drum:
        return True, 0, note.pitch, round(_DRUM_SECONDS / _DURATION_STEP_SECONDS)
    return False, track.program, note.pitch, max(2, round(note.duration / _DURATION_STEP_SECONDS))


def _sounds(song: symusic.core.ScoreSecond) -> dict[_Sound, Waveform]:
    """Synthesize every distinct note, each with a peak of 1."""
    wanted = sorted({_sound(track, note) for track in song.tracks for note in track.notes})
    notes: dict[_Sound, tuple[float, float]] = {}
    players: dict[tuple[bool, int], symusic.core.TrackSecond] = {}
    start = 0.0
    for sound in wanted:
        drum, program, pitch, steps = sound
        length = steps * _DURATION_STEP_SECONDS + _RELEASE_SECONDS
        players.setdefault((drum, program), symusic.Track("", program, drum, ttype="second")).notes.append(
            symusic.Note(start, length, pitch, 127, ttype="second")
        )
        notes[sound] = start, length
        start += length + _DURATION_STEP_SECONDS
    score = symusic.Score(480, ttype="second")
    score.tracks.extend(players.values())
    rendered = np.asarray(_synthesizer().render(score, stereo=False), np.float32).reshape(-1)
    sounds = {}
    for sound, (start, length) in notes.items():
        first = round(start * SAMPLE_RATE_HZ)
        shaped = rendered[first : first + round(length * SAMPLE_RATE_HZ)].copy()
        shaped *= _envelope(sound, len(shaped))
        sounds[sound] = shaped / max(float(np.abs(shaped).max()), 1e-6)
    return sounds


def _envelope(sound: _Sound, frames: int) -> Waveform:
    """Compute the gain over time: decay of plucked strings, and release of every note."""
    drum, program, _, _ = sound
    gain = np.ones(frames, np.float32)
    decay = next((seconds for programs, seconds in _DECAY_SECONDS.items() if program in programs and not drum), None)
    if decay is not None:
        gain = np.exp(-np.arange(frames, dtype=np.float32) / np.float32(decay * SAMPLE_RATE_HZ))
    release = min(frames, round(_RELEASE_SECONDS * SAMPLE_RATE_HZ))
    gain[-release:] *= np.linspace(1, 0, release, dtype=np.float32) ** 2
    return gain


def _add_reverberation(mix: Waveform, rng: np.random.Generator) -> Waveform:
    """Add reverberation: four comb filters per channel, with random size, feedback and level."""
    size, wet = rng.uniform(0.8, 1.25), rng.uniform(0.05, 0.16)
    feedback = np.float32(rng.uniform(0.62, 0.8))
    room = mix.copy()
    for side, combs in enumerate(_COMB_SECONDS):
        for seconds in combs:
            delay = round(seconds * size * SAMPLE_RATE_HZ)
            blocks = -(-mix.shape[1] // delay)
            echo = np.zeros((blocks + 1, delay), np.float32)
            echo[1:].reshape(-1)[: mix.shape[1]] = mix[side]
            for block in range(1, blocks + 1):
                echo[block] += feedback * echo[block - 1]
            room[side] += np.float32(wet) * echo[:-1].reshape(-1)[: mix.shape[1]]
    return room


def _master(mix: Waveform, rng: np.random.Generator) -> Waveform:
    """Bring a song to its loudness (-20 to -15 dBFS in every genre), limit the peaks softly and fade the tail."""
    loudness = 10 ** (rng.uniform(-20, -15) / 20)
    mix *= np.float32(loudness / max(float(np.sqrt(np.mean(mix**2))), 1e-9))
    loud = np.abs(mix) > 0.6
    mix[loud] = np.sign(mix[loud]) * (0.6 + 0.37 * np.tanh((np.abs(mix[loud]) - 0.6) / 0.37))
    fade = round(_FADE_SECONDS * SAMPLE_RATE_HZ)
    mix[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return mix


@functools.cache
def _playable(font: Path) -> bytes:
    """Write tuning, loops and lengths of a SoundFont 2 file where symusic's synthesizer reads them.

    Every zone gets a sample header, with the root key that makes it sound in tune, a loop long enough to make the
    rounding inaudible, and an envelope that stays open; `_envelope` applies decay and release. The loops of high
    accordion reeds, which the font has half a sample too long, are corrected.
    """
    lists = {content[:4]: content[4:] for _, content in _chunks(font.read_bytes()[12:])}
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
            attack = _signed(zone, _ATTACK, -_TIMECENTS_READ_TOO_LOW) + _TIMECENTS_READ_TOO_LOW
            rewritten |= {_ATTACK: attack % 65_536, _HOLD: _TWENTY_SECONDS + _TIMECENTS_READ_TOO_LOW}
            rewritten[_SAMPLE_ID] = len(new_headers)
            new_headers.append(_HEADER.pack(*header))
        elif index in starts:
            shared = own
        new_generators += rewritten.items()
    new_bags.append((len(new_generators), bags[-1][1]))
    chunks[b"igen"] = b"".join(struct.pack("<HH", *pair) for pair in [*new_generators, (0, 0)])
    chunks[b"ibag"] = b"".join(struct.pack("<HH", *pair) for pair in new_bags)
    chunks[b"shdr"] = b"".join(new_headers) + _HEADER.pack(*last_header)
    return b"".join(_riff(name, chunk) for name, chunk in chunks.items()), np.concatenate(unrolled.parts)
