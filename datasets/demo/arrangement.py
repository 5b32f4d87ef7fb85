"""Common parts of every genre's arranger: key, form, instruments, melodies from motifs, and ending.

A motif is a short rhythm with a contour; it recurs, follows the chords, and comes to rest on a long chord tone. Times
are in quarter notes from the start of the song.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from tumbao.datasets.demo.harmony import Key, Section, nearest, scale, voicing
from tumbao.datasets.demo.score import Note, Score, Track

_SINGERS = {"choir": 52, "voice": 53, "oboe": 68, "cor anglais": 69, "flute": 73}
"""General MIDI programs that represent the singer, the same in every genre; no genre uses them for its instruments."""

_TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

Cell = tuple[tuple[float, float], ...]
"""A rhythm: (start, duration) pairs in quarter notes."""

Form = tuple[tuple[str, float], ...]
"""Names of the sections, in order, with their relative lengths."""

Choice = TypeVar("Choice")


def pick(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Choose one of several options at random."""
    return options[int(rng.integers(len(options)))]


@dataclasses.dataclass(frozen=True)
class Motif:
    """A rhythm of `beats` with a contour: scale steps from each note to the next, the first from the current pitch."""

    rhythm: Cell
    steps: tuple[int, ...]
    beats: float


@dataclasses.dataclass
class Arrangement:
    """A song being composed; `stage` is 1 for the arranger's stereo image and -1 for its mirror image."""

    rng: np.random.Generator
    key: Key
    score: Score
    sections: list[Section]
    stage: int

    def seat(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Add an empty track; level and pan (0 to 127) vary slightly, and pan is mirrored in half of the songs.

        `name` must be ASCII, because a MIDI file does not declare an encoding. `program` counts from 0.
        """
        level = int(np.clip(level + self.rng.integers(-9, 10), 20, 127))
        pan = int(np.clip(64 + self.stage * (pan - 64) + self.rng.integers(-6, 7), 0, 127))
        return self.score.track(name, program, level, pan, is_drum)

    def seat_drums(self, drums: Mapping[str, tuple[int, int]]) -> dict[str, Track]:
        """Add empty tracks of percussion: name → (level, pan)."""
        return {name: self.seat(name, 0, level, pan, is_drum=True) for name, (level, pan) in drums.items()}

    def seat_singers(self, coro_level: int, coro_pan: int) -> tuple[Track, Track]:
        """Add empty tracks of the singer, at random one of five instruments, and of the coro."""
        name = str(pick(self.rng, tuple(_SINGERS)))
        self.score.facts["singer"] = name
        singers = self.seat("singer", _SINGERS[name], 76), self.seat("coro", 52, coro_level, coro_pan)
        for track in singers:
            track.looseness = 2.5
        return singers

    def motifs(self, cells: Sequence[Cell], beats: float) -> tuple[Motif, ...]:
        """Invent the four motifs of a theme in the order of singing: a a b a, a b a b or a a b c.

        `cells` are rhythms of one bar, `beats` the quarter notes in this bar.
        """
        a, b, c = (self._motif(cells, beats) for _ in range(3))
        return pick(self.rng, ((a, a, b, a), (a, b, a, b), (a, a, b, c)))

    def _motif(self, cells: Sequence[Cell], beats: float) -> Motif:
        first, second = (pick(self.rng, cells) for _ in range(2))
        rhythm = first + tuple((start + beats, duration) for start, duration in second)
        drift = int(self.rng.choice([-1, 1]))
        weights = [0.2, 0.2, 0.15, 0.2, 0.1, 0.1, 0.05]
        steps = [int(self.rng.choice([0, 1, 1, -1, 2, -1, -2], p=weights)) * drift for _ in rhythm]
        steps[int(self.rng.integers(len(steps)))] += 3 * drift
        return Motif(rhythm, tuple(steps), 2 * beats)

    def sing(
        self,
        track: Track,
        section: Section,
        motifs: Sequence[Motif],
        low: int,
        high: int,
        phrase_bars: int = 4,
        rest_beats: float = 2.0,
        velocity: float = 88,
    ) -> list[Note]:
        """Add a melody to the track, in phrases separated by rests, and return its notes.

        A phrase begins every `phrase_bars` and ends with `rest_beats` quarter notes of rest; `low` and `high` limit the
        pitch and are at least an octave apart.
        """
        sung: list[Note] = []
        length = phrase_bars * section.bar_beats
        for start in np.arange(section.start, section.end - 1e-6, length).tolist():
            stop = min(start + length, section.end) - rest_beats
            sung += self._phrase(section, motifs, start, stop, low, high, velocity)
        track.notes += sung
        return sung

    def _phrase(
        self, section: Section, motifs: Sequence[Motif], start: float, end: float, low: int, high: int, velocity: float
    ) -> list[Note]:
        """Realise motifs in turn over the chords of a section, as one voice without overlaps."""
        pitch = nearest(section.chord_at(start).tones, (low + high) / 2 + self.rng.integers(-3, 4), low, high)
        notes: list[Note] = []
        at = start
        for motif in itertools.cycle(motifs):
            if at >= end - 1e-6:
                break
            closing = at + motif.beats >= end - 1e-6
            rhythm = motif.rhythm[: max(2, len(motif.rhythm) * 2 // 3)] if closing else motif.rhythm
            for order, ((offset, duration), step) in enumerate(zip(rhythm, motif.steps, strict=False)):
                beat = at + offset
                if beat >= end - 0.2:
                    break
                last = closing and order == len(rhythm) - 1
                duration = min(max(duration, 1.5) if last else duration, end - beat)
                chord = section.chord_at(beat)
                pitch = _step(scale(self.key, chord), pitch, step, low, high)
                if last or duration >= 1 or order == 0:
                    pitch = nearest(chord.tones, pitch, low, high)
                accent = 8 if offset % 1 == 0 else -4
                notes.append(Note(beat, duration * 0.92, pitch, int(velocity + accent)))
            at += motif.beats
        return notes

    def harmonise(
        self, track: Track, section: Section, melody: Sequence[Note], below: int = 2, gain: float = 0.85
    ) -> None:
        """Add a second voice to the track, `below` scale steps lower than the melody (2 for thirds, 5 for sixths)."""
        for note in melody:
            steps = scale(self.key, section.chord_at(note.start))
            pitch = _step(steps, note.pitch, -below, note.pitch - 24, note.pitch + 12)
            track.notes.append(Note(note.start, note.duration, pitch, max(1, int(note.velocity * gain))))

    def finish(
        self,
        bass: Track,
        harmony: Sequence[Track],
        last: Mapping[str, tuple[int, float]],
        swing: float,
        subdivision: float,
    ) -> Score:
        """End the song on the tonic, vary timing and dynamics, and record the facts.

        `bass` plays the last root, `harmony` the last chord, `last` (name of a track → pitch and velocity) the last
        strokes. Tracks without notes are removed.
        """
        ending = str(pick(self.rng, ("hit", "ring", "fade")))
        tonic = self.key.chord("i" if self.key.mode == "minor" else "I")
        length = {"hit": 0.6, "ring": 3.0, "fade": 1.5}[ending] * self.score.quarter_bpm / 60
        bass.add(self.sections[-1].end, length, nearest(tonic.tones[:1], 38, 30, 45), 96)
        for track in harmony:
            track.chord(self.sections[-1].end, length, voicing(tonic, 64), 88)
        for track in self.score.tracks:
            if track.name in last:
                track.add(self.sections[-1].end, 0.2, *last[track.name])
        if ending == "fade":
            self._fade()
        self._vary_strokes(subdivision / 2)
        jitter, spread, drift = (self.rng.uniform(*limits) for limits in ((0.005, 0.016), (5, 12), (0, 0.015)))
        self.score.humanise(swing, subdivision, jitter, spread, drift, self.rng)
        self.score.tracks = [track for track in self.score.tracks if track.notes]
        self.score.facts |= {
            "form": [f"{section.name} {section.bars}" for section in self.sections],
            "ending": ending,
            "swing": round(swing, 3),
            "instruments": [track.name for track in self.score.tracks],
        }
        return self.score

    def _vary_strokes(self, step: float) -> None:
        """Let the drums leave out strokes, more often soft ones, and add ghost strokes a step after or before others.

        Each player varies more or less in each song. Claves never vary.
        """
        for track in self.score.tracks:
            if not track.is_drum or track.name == "claves":
                continue
            less, more = self.rng.uniform(0.02, 0.25), self.rng.uniform(0.02, 0.2)
            chances = self.rng.random((len(track.notes), 2))
            taken = {round(note.start / step) for note in track.notes}
            kept = []
            for note, (leave, ghost) in zip(track.notes, chances.tolist(), strict=True):
                if leave >= less * (1.5 - note.velocity / 127):
                    kept.append(note)
                beat = note.start + (step if ghost < more / 2 else -step)
                if ghost < more and 0 < beat < self.sections[-1].end and round(beat / step) not in taken:
                    kept.append(Note(beat, note.duration, note.pitch, max(12, int(note.velocity * 0.6))))
            track.notes = kept

    def _fade(self) -> None:
        """Fade all tracks out over the last eighth of the song."""
        start = self.sections[-1].end * 7 / 8
        for track in self.score.tracks:
            for index, note in enumerate(track.notes):
                if note.start > start:
                    left = max(0.2, 1 - 0.8 * (note.start - start) / (self.sections[-1].end - start))
                    track.notes[index] = dataclasses.replace(note, velocity=max(1, int(note.velocity * left)))


def _step(scale: tuple[int, ...], pitch: int, step: int, low: int, high: int) -> int:
    """Move along a scale, and turn back at the limits of the register."""
    ladder = [candidate for candidate in range(low, high + 1) if candidate % 12 in scale]
    last = len(ladder) - 1
    degree = min(range(len(ladder)), key=lambda index: abs(ladder[index] - pitch)) + step
    degree = abs(degree) if degree <= last else 2 * last - degree
    return ladder[min(max(degree, 0), last)]


def begin(
    rng: np.random.Generator,
    bpm: float,
    pulse_beats: float,
    meter: tuple[int, int],
    minor: float,
    forms: Sequence[Form],
    changes: Mapping[str, Mapping[str, Sequence[str]]],
    unit_bars: int = 4,
) -> Arrangement:
    """Choose key, chords and form of a song at random; the arrangement has no tracks yet.

    `bpm` counts pulses of `pulse_beats` quarter notes; `minor` is the share of songs in a minor key. `changes` maps
    mode → section name → progressions; "any" is for names without an entry. Sections are multiples of `unit_bars`.
    """
    key = Key(int(rng.integers(12)), "minor" if rng.random() < minor else "major")
    form = pick(rng, forms)
    chosen = {name: pick(rng, options) for name, options in changes[key.mode].items()}
    bar_beats = meter[0] * 4 / meter[1]
    stage = int(rng.choice([-1, 1]))
    facts = {"bpm": round(bpm, 1), "meter": f"{meter[0]}/{meter[1]}", "key": _TONICS[key.tonic], "mode": key.mode}
    score = Score(bpm * pulse_beats, meter, key.tonic, key.mode == "minor", facts)
    sections, start = [], 0.0
    for (name, _), bars in zip(form, _lengths(rng, form, unit_bars, bar_beats * 60 / score.quarter_bpm), strict=True):
        sections.append(Section(name, start, bars, bar_beats, key.progression(chosen.get(name, chosen["any"]))))
        start = sections[-1].end
    return Arrangement(rng, key, score, sections, stage)


def _lengths(rng: np.random.Generator, form: Form, unit_bars: int, bar_seconds: float) -> list[int]:
    """Choose the bars of each section: about 92 to 104 seconds in total, or 66 to 88 in one song of eight."""
    unit_seconds = unit_bars * bar_seconds
    shortest, longest = (66, 88) if rng.random() < 1 / 8 else (92, 104)
    low, high = int(np.ceil(shortest / unit_seconds)), int(longest / unit_seconds)
    units = int(rng.integers(low, max(low, high) + 1))
    weights = np.array([weight for _, weight in form], float)
    exact = weights / weights.sum() * units
    lengths = np.maximum(1, np.floor(exact)).astype(int)
    while lengths.sum() < units:
        lengths[np.argmax(exact - lengths)] += 1
    while lengths.sum() > units:
        lengths[np.argmax(lengths)] -= 1
    return [int(length) * unit_bars for length in lengths]
