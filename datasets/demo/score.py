"""Score of a song: tracks of notes, humanised timing, and the MIDI file.

Times and durations are in quarter notes from the start of the song; pitches and velocities are those of MIDI.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.signal
import symusic

TICKS_PER_BEAT = 480
LEVEL, PAN = 7, 10
"""MIDI controllers."""

_PLAYER_MEMORY, _TEMPO_MEMORY = 0.8, 0.9
"""Correlation of a player's deviations from one note to the next, and of the tempo every four quarter notes."""


@dataclasses.dataclass(frozen=True)
class Note:
    """One note; `pitch` is a MIDI pitch or a General MIDI drum, `velocity` is 1 to 127."""

    start: float
    duration: float
    pitch: int
    velocity: int


Hit = tuple[float, int, float]
"""One stroke of a drum pattern: start within a cycle (quarter notes), pitch, velocity."""


def strokes(starts: Iterable[float], pitches: Iterable[int], velocities: Iterable[float]) -> tuple[Hit, ...]:
    """Combine the columns of a drum pattern."""
    return tuple(zip(starts, pitches, velocities, strict=True))


@dataclasses.dataclass
class Track:
    """One instrument: General MIDI program from 0, values of controllers; `looseness` multiplies its delays."""

    name: str
    program: int = 0
    level: int = 90
    pan: int = 64
    is_drum: bool = False
    notes: list[Note] = dataclasses.field(default_factory=list)
    looseness: float = 1.0

    def add(self, start: float, duration: float, pitch: int, velocity: float) -> None:
        """Add a note; the velocity is clipped to 1 to 127."""
        self.notes.append(Note(start, duration, pitch, min(127, max(1, round(velocity)))))

    def chord(self, start: float, duration: float, pitches: Iterable[int], velocity: float, strum: float = 0.0) -> None:
        """Add notes that sound together, each `strum` quarter notes after the previous one."""
        for order, pitch in enumerate(pitches):
            self.add(start + order * strum, duration, pitch, velocity)

    def loop(self, start: float, end: float, cycle: float, hits: Iterable[Hit], gain: float = 1.0) -> None:
        """Repeat a drum pattern of `cycle` quarter notes; a hit at `end` is left out."""
        hits = list(hits)
        for turn in range(int(np.ceil((end - start) / cycle))):
            for offset, pitch, velocity in hits:
                if start + turn * cycle + offset < end - 1e-6:
                    self.add(start + turn * cycle + offset, 0.2, pitch, velocity * gain)


def _wander(rng: np.random.Generator, steps: int, memory: float) -> np.ndarray:
    """Draw a stationary autoregressive process of first order with variance 1, [steps]."""
    noise = rng.normal(size=steps)
    noise[1:] *= np.sqrt(1 - memory**2)
    return np.asarray(scipy.signal.lfilter([1.0], [1.0, -memory], noise))


@dataclasses.dataclass
class Score:
    """A song; `tonic` is 0 (C) to 11; `facts` go to `library.json`; `tempos` are changes of tempo: beat and tempo."""

    quarter_bpm: float
    meter: tuple[int, int]
    tonic: int
    is_minor: bool
    facts: dict[str, Any]
    tracks: list[Track] = dataclasses.field(default_factory=list)
    tempos: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def track(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Add an empty track and return it."""
        self.tracks.append(Track(name, program, level, pan, is_drum))
        return self.tracks[-1]

    def humanise(
        self,
        swing: float,
        subdivision: float,
        jitter_seconds: float,
        velocity_spread: float,
        drift: float,
        rng: np.random.Generator,
    ) -> None:
        """Move the notes off the grid, vary their velocities and let the tempo drift.

        `swing` is the delay of every second subdivision as a fraction of it (0 is straight), `subdivision` its length
        in quarter notes. `jitter_seconds`, `velocity_spread` and `drift` (a fraction of the tempo) are standard
        deviations, which last for some notes: who is late stays late for a while.
        """
        beats_per_second = self.quarter_bpm / 60
        for track in self.tracks:
            track.notes.sort(key=lambda note: (note.start, note.pitch))
            grid = np.array([note.start for note in track.notes]) / subdivision
            swung = (np.round(grid) % 2 == 1) & (np.abs(grid - np.round(grid)) < 1e-3)
            late = rng.normal(0, 0.5) + 0.8 * _wander(rng, len(grid), _PLAYER_MEMORY) + 0.6 * rng.normal(size=len(grid))
            jitter = np.clip(late, -3, 3) * jitter_seconds * track.looseness * beats_per_second
            starts = np.maximum(0, (grid + swing * swung) * subdivision + jitter)
            louder = 0.7 * _wander(rng, len(grid), _PLAYER_MEMORY) + 0.7 * rng.normal(size=len(grid))
            velocities = np.array([note.velocity for note in track.notes]) + velocity_spread * louder
            velocities = np.clip(np.round(velocities), 12, 127)
            track.notes = [
                Note(float(start), note.duration, note.pitch, int(velocity))
                for note, start, velocity in zip(track.notes, starts, velocities, strict=True)
            ]
        beats = np.arange(4.0, max((note.start for track in self.tracks for note in track.notes), default=0.0), 4.0)
        tempos = self.quarter_bpm * (1 + drift * np.clip(_wander(rng, len(beats), _TEMPO_MEMORY), -3, 3))
        self.tempos = list(zip(beats.tolist(), tempos.tolist(), strict=True))

    def midi(self) -> bytes:
        """Write the song as a standard MIDI file; the same score returns the same bytes."""
        song = symusic.Score(TICKS_PER_BEAT)
        song.tempos.extend(symusic.Tempo(_tick(beat), qpm) for beat, qpm in ((0.0, self.quarter_bpm), *self.tempos))
        song.time_signatures.append(symusic.TimeSignature(0, *self.meter))
        sharps = ((self.tonic + 3 * self.is_minor) * 7 + 5) % 12 - 5
        song.key_signatures.append(symusic.KeySignature(0, sharps, int(self.is_minor)))
        for track in self.tracks:
            player = symusic.Track(track.name, track.program, track.is_drum)
            player.controls.extend(
                [symusic.ControlChange(0, LEVEL, track.level), symusic.ControlChange(0, PAN, track.pan)]
            )
            player.notes.extend(
                symusic.Note(_tick(note.start), max(1, _tick(note.duration)), note.pitch, note.velocity)
                for note in _without_overlaps(track.notes)
            )
            song.tracks.append(player)
        return bytes(song.dumps_midi())


def _tick(beats: float) -> int:
    return round(beats * TICKS_PER_BEAT)


def _without_overlaps(notes: list[Note]) -> list[Note]:
    """Sort the notes and end each before the next of its pitch: a MIDI track cannot hold two at once."""
    until: dict[int, float] = {}
    ended = []
    for note in sorted(notes, key=lambda note: (-note.start, note.pitch, -note.velocity)):
        end = min(note.start + note.duration, until.get(note.pitch, np.inf))
        if end - note.start > 2 / TICKS_PER_BEAT:
            ended.append(dataclasses.replace(note, duration=end - note.start))
            until[note.pitch] = note.start
    return ended[::-1]
