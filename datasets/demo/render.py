"""MIDI → waveform → MP3: symusic synthesizes every distinct note once; the rest is mixed here.

The synthesizer of symusic 0.5.9 ignores velocities and controllers, and notes do not decay.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pretty_midi
import symusic

from tumbao.datasets.demo import soundfont
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
_MP3_BLOCK_FRAMES = 1_152 * 256

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
        for start in range(0, len(waveform), _MP3_BLOCK_FRAMES):
            block = np.ascontiguousarray(waveform[start : start + _MP3_BLOCK_FRAMES].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.rate, frame.pts = SAMPLE_RATE_HZ, start
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


@functools.cache
def _font() -> bytes:
    return soundfont.playable(Path(pretty_midi.__file__).with_name("TimGM6mb.sf2").read_bytes())


def _synthesizer() -> symusic.core.Synthesizer:
    """Return a new synthesizer, because earlier output of a used one remains audible."""
    with tempfile.NamedTemporaryFile(suffix=".sf2") as font:
        font.write(_font())
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
