"""Melodies from motifs: a short rhythm and contour that recurs, follows the chords, and comes to rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.datasets.demo.form import Section
from tumbao.datasets.demo.harmony import Key, nearest
from tumbao.datasets.demo.score import Note

Cell = tuple[tuple[float, float], ...]
"""A rhythm: (start, duration) pairs in quarter notes."""


@dataclasses.dataclass(frozen=True)
class Motif:
    """A rhythm with a contour.

    `steps` are scale steps from each note to the next, the first from the current pitch. `beats` is the length in
    quarter notes.
    """

    rhythm: Cell
    steps: tuple[int, ...]
    beats: float


def invent(rng: np.random.Generator, cells: Sequence[Cell], beats: float) -> Motif:
    """Invent a motif of two rhythm cells, each `beats` quarter notes long."""
    first, second = (cells[int(rng.integers(len(cells)))] for _ in range(2))
    rhythm = first + tuple((start + beats, duration) for start, duration in second)
    drift = int(rng.choice([-1, 1]))
    steps = [int(rng.choice([0, 1, 1, -1, 2, -1, -2], p=[0.2, 0.2, 0.15, 0.2, 0.1, 0.1, 0.05])) * drift for _ in rhythm]
    steps[int(rng.integers(len(steps)))] += 3 * drift
    return Motif(rhythm, tuple(steps), 2 * beats)


def sing(
    rng: np.random.Generator,
    key: Key,
    section: Section,
    motifs: Sequence[Motif],
    span: tuple[float, float],
    low: int,
    high: int,
    velocity: float = 88,
) -> list[Note]:
    """Realise motifs over the chords of a section, as one voice without overlaps.

    `span` is the start and the end in quarter notes. Motifs are used in turn, as in "a a b a"; the last one comes to
    rest on a long chord tone. `low` must be at least an octave below `high`.
    """
    start, end = span
    pitch = nearest(section.chord_at(start).tones, (low + high) / 2 + rng.integers(-3, 4), low, high)
    notes: list[Note] = []
    at, turn = start, 0
    while at < end - 1e-6:
        motif = motifs[turn % len(motifs)]
        closing = at + motif.beats >= end - 1e-6
        rhythm = motif.rhythm[: max(2, len(motif.rhythm) * 2 // 3)] if closing else motif.rhythm
        for order, ((offset, duration), step) in enumerate(zip(rhythm, motif.steps, strict=False)):
            beat = at + offset
            if beat >= end - 0.2:
                break
            last = closing and order == len(rhythm) - 1
            duration = min(max(duration, 1.5) if last else duration, end - beat)
            chord = section.chord_at(beat)
            pitch = _step(key.scale(chord), pitch, step, low, high)
            if last or duration >= 1 or order == 0:
                pitch = nearest(chord.tones, pitch, low, high)
            accent = 8 if offset % 1 == 0 else -4
            notes.append(Note(beat, duration * 0.92, pitch, int(velocity + accent)))
        at += motif.beats
        turn += 1
    return notes


def _step(scale: tuple[int, ...], pitch: int, step: int, low: int, high: int) -> int:
    """Move along a scale, and turn back at the limits of the register."""
    ladder = [candidate for candidate in range(low, high + 1) if candidate % 12 in scale]
    place = int(np.argmin([abs(candidate - pitch) for candidate in ladder])) + step
    if place < 0:
        place = -place
    if place >= len(ladder):
        place = 2 * (len(ladder) - 1) - place
    return ladder[int(np.clip(place, 0, len(ladder) - 1))]


def harmonised(notes: Sequence[Note], key: Key, section: Section, below: int = 2, gain: float = 0.85) -> list[Note]:
    """Return a second voice under a melody, `below` scale steps lower (2 for thirds, 5 for sixths)."""
    voice = []
    for note in notes:
        pitch = _step(key.scale(section.chord_at(note.start)), note.pitch, -below, note.pitch - 24, note.pitch + 12)
        voice.append(dataclasses.replace(note, pitch=pitch, velocity=max(1, int(note.velocity * gain))))
    return voice
