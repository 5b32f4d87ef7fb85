"""Score of a song: tracks of notes, humanised timing, and the MIDI file.

Times and durations are in quarter notes from the start of the song; pitches and velocities are those of MIDI.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pretty_midi

TICKS_PER_BEAT = 480
LEVEL, PAN = 7, 10
"""MIDI controllers."""


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
    """One instrument.

    `program` is the General MIDI program counted from 0, and 0 for drums. `level` and `pan` (0 is left, 127 is right)
    are the values of MIDI controllers. `notes` may be in any order.
    """

    name: str
    program: int = 0
    level: int = 90
    pan: int = 64
    is_drum: bool = False
    notes: list[Note] = dataclasses.field(default_factory=list)

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


@dataclasses.dataclass(frozen=True)
class Feel:
    """Timing and dynamics of a band.

    `jitter_seconds` is the standard deviation of note starts, clipped at three times this; `velocity_spread` is that of
    the velocities, in MIDI steps. `swing` is the delay of every second subdivision as a fraction of it (0 is straight),
    `subdivision` its length in quarter notes.
    """

    jitter_seconds: float
    velocity_spread: float
    swing: float
    subdivision: float


@dataclasses.dataclass
class Score:
    """A song; `key_number` is 0 to 11 for major from C, 12 to 23 for minor from C; `facts` go to `library.json`."""

    quarter_bpm: float
    meter: tuple[int, int]
    key_number: int
    facts: dict[str, Any]
    tracks: list[Track] = dataclasses.field(default_factory=list)

    def track(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Add an empty track and return it."""
        self.tracks.append(Track(name, program, level, pan, is_drum))
        return self.tracks[-1]

    def humanise(self, feel: Feel, rng: np.random.Generator) -> None:
        """Move the notes off the grid and vary their velocities."""
        beats_per_second = self.quarter_bpm / 60
        for track in self.tracks:
            grid = np.array([note.start for note in track.notes]) / feel.subdivision
            swung = (np.round(grid) % 2 == 1) & (np.abs(grid - np.round(grid)) < 1e-3)
            lay_back = rng.normal(0, feel.jitter_seconds / 2)
            jitter = rng.normal(lay_back, feel.jitter_seconds, len(grid))
            jitter = np.clip(jitter, -3 * feel.jitter_seconds, 3 * feel.jitter_seconds) * beats_per_second
            starts = np.maximum(0, (grid + feel.swing * swung) * feel.subdivision + jitter)
            velocities = np.array([note.velocity for note in track.notes])
            velocities = np.clip(np.round(velocities + rng.normal(0, feel.velocity_spread, len(grid))), 12, 127)
            track.notes = [
                Note(float(start), note.duration, note.pitch, int(velocity))
                for note, start, velocity in zip(track.notes, starts, velocities, strict=True)
            ]

    def midi(self) -> bytes:
        """Write the song as a standard MIDI file; the same score returns the same bytes."""
        song = pretty_midi.PrettyMIDI(resolution=TICKS_PER_BEAT, initial_tempo=self.quarter_bpm)
        song.time_signature_changes.append(pretty_midi.TimeSignature(*self.meter, 0))
        song.key_signature_changes.append(pretty_midi.KeySignature(self.key_number, 0))
        seconds = 60 / self.quarter_bpm
        for track in self.tracks:
            player = pretty_midi.Instrument(track.program, track.is_drum, track.name)
            player.control_changes += [
                pretty_midi.ControlChange(LEVEL, track.level, 0.0),
                pretty_midi.ControlChange(PAN, track.pan, 0.0),
            ]
            player.notes += [
                pretty_midi.Note(
                    note.velocity, note.pitch, note.start * seconds, (note.start + note.duration) * seconds
                )
                for note in _without_overlaps(track.notes)
            ]
            song.instruments.append(player)
        file = io.BytesIO()
        song.write(file)
        return file.getvalue()


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
