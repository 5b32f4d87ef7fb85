"""A song as notes: tracks of notes in beats, the looseness of players, and the MIDI file that both become.

Conventions: times and durations are in quarter notes from the start of the song; pitches and velocities are MIDI's.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pretty_midi

TICKS_PER_BEAT = 480
_LEVEL, _PAN = 7, 10


@dataclasses.dataclass(frozen=True)
class Note:
    """One note.

    Parameters
    ----------
    start : float
        Quarter notes from the start of the song.
    duration : float
        Quarter notes, above 0.
    pitch : int
        MIDI pitch, or the General MIDI drum.
    velocity : int
        1 to 127.
    """

    start: float
    duration: float
    pitch: int
    velocity: int


Hit = tuple[float, int, float]
"""Start within a cycle (quarter notes), pitch, velocity."""


@dataclasses.dataclass
class Track:
    """One instrument.

    Parameters
    ----------
    name : str
        What the instrument is called in the band.
    program : int
        General MIDI program counted from 0; 0 for drums.
    level : int
        0 to 127, MIDI controller 7.
    pan : int
        0 (left) to 127 (right), MIDI controller 10.
    is_drum : bool
        Whether pitches are General MIDI drums.
    notes : list of Note
        In any order.
    """

    name: str
    program: int = 0
    level: int = 90
    pan: int = 64
    is_drum: bool = False
    notes: list[Note] = dataclasses.field(default_factory=list)

    def add(self, start: float, duration: float, pitch: int, velocity: float) -> None:
        """Add a note.

        Parameters
        ----------
        start : float
            Quarter notes from the start of the song.
        duration : float
            Quarter notes.
        pitch : int
            MIDI pitch or drum.
        velocity : float
            Clipped to 1 to 127.
        """
        self.notes.append(Note(start, duration, pitch, min(127, max(1, round(velocity)))))

    def chord(self, start: float, duration: float, pitches: Iterable[int], velocity: float, strum: float = 0.0) -> None:
        """Add notes that sound together.

        Parameters
        ----------
        start : float
            Quarter notes from the start of the song.
        duration : float
            Quarter notes.
        pitches : iterable of int
            MIDI pitches, in the order of the strum.
        velocity : float
            Of all notes.
        strum : float
            Quarter notes from one note to the next.
        """
        for order, pitch in enumerate(pitches):
            self.add(start + order * strum, duration, pitch, velocity)

    def loop(self, start: float, end: float, cycle: float, hits: Iterable[Hit], gain: float = 1.0) -> None:
        """Repeat a drum pattern.

        Parameters
        ----------
        start : float
            Where the first cycle starts, in quarter notes.
        end : float
            Where the pattern stops, in quarter notes; a hit at `end` is left out.
        cycle : float
            Length of the pattern, in quarter notes.
        hits : iterable of Hit
            The pattern.
        gain : float
            Factor on the velocities.
        """
        hits = list(hits)
        for turn in range(int(np.ceil((end - start) / cycle))):
            for offset, pitch, velocity in hits:
                if start + turn * cycle + offset < end - 1e-6:
                    self.add(start + turn * cycle + offset, 0.2, pitch, velocity * gain)


@dataclasses.dataclass(frozen=True)
class Feel:
    """How loosely a band plays.

    Parameters
    ----------
    jitter_seconds : float
        Standard deviation of a note's start around the grid, in seconds; never more than three times this.
    velocity_spread : float
        Standard deviation of the velocities, in MIDI steps.
    swing : float
        Delay of every second subdivision, as a fraction of the subdivision (0 is straight).
    subdivision : float
        Length of the subdivision that swings, in quarter notes.
    """

    jitter_seconds: float
    velocity_spread: float
    swing: float
    subdivision: float


@dataclasses.dataclass
class Score:
    """A song.

    Parameters
    ----------
    quarter_bpm : float
        Quarter notes a minute.
    meter : tuple of int
        Numerator and denominator.
    key_number : int
        0 to 11 major from C, 12 to 23 minor from C.
    facts : dict
        What `library.json` says of the song.
    tracks : list of Track
        The band.
    """

    quarter_bpm: float
    meter: tuple[int, int]
    key_number: int
    facts: dict[str, Any]
    tracks: list[Track] = dataclasses.field(default_factory=list)

    def track(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Seat a player.

        Parameters
        ----------
        name : str
            What the instrument is called in the band.
        program : int
            General MIDI program counted from 0.
        level : int
            0 to 127.
        pan : int
            0 to 127.
        is_drum : bool
            Whether pitches are drums.

        Returns
        -------
        track : Track
            The empty track, already in the score.
        """
        self.tracks.append(Track(name, program, level, pan, is_drum))
        return self.tracks[-1]

    def humanise(self, feel: Feel, rng: np.random.Generator) -> None:
        """Move the notes off the grid, as players do.

        Parameters
        ----------
        feel : Feel
            How far.
        rng : numpy.random.Generator
            Where chance comes from.
        """
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
        """Write the song as a standard MIDI file.

        Returns
        -------
        midi : bytes
            The same bytes for the same score. Tracks keep their names; level and pan are controllers 7 and 10.
        """
        song = pretty_midi.PrettyMIDI(resolution=TICKS_PER_BEAT, initial_tempo=self.quarter_bpm)
        song.time_signature_changes.append(pretty_midi.TimeSignature(*self.meter, 0))
        song.key_signature_changes.append(pretty_midi.KeySignature(self.key_number, 0))
        seconds = 60 / self.quarter_bpm
        for track in self.tracks:
            player = pretty_midi.Instrument(track.program, track.is_drum, track.name)
            player.control_changes += [
                pretty_midi.ControlChange(_LEVEL, track.level, 0.0),
                pretty_midi.ControlChange(_PAN, track.pan, 0.0),
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
    kept = []
    for note in sorted(notes, key=lambda note: (-note.start, note.pitch, -note.velocity)):
        end = min(note.start + note.duration, until.get(note.pitch, np.inf))
        if end - note.start > 2 / TICKS_PER_BEAT:
            kept.append(dataclasses.replace(note, duration=end - note.start))
            until[note.pitch] = note.start
    return kept[::-1]
