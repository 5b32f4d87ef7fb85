"""Common parts of every genre's arranger: key, form, lead singer and ending."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from tumbao.datasets.demo.form import Section, plan, progression
from tumbao.datasets.demo.harmony import Key, nearest, voicing
from tumbao.datasets.demo.melody import Cell, Motif, invent, sing
from tumbao.datasets.demo.score import Feel, Hit, Note, Score, Track

SINGERS = {"choir": 52, "voice": 53, "oboe": 68, "cor anglais": 69, "flute": 73}
"""General MIDI programs that represent the singer, the same in every genre; no genre uses them for its instruments."""

Choice = TypeVar("Choice")


def pick(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Choose one of several options at random."""
    return options[int(rng.integers(len(options)))]


@dataclasses.dataclass
class Arrangement:
    """A song being composed; `stage` is 1 for the arranger's stereo image and -1 for its mirror image."""

    rng: np.random.Generator
    key: Key
    score: Score
    sections: list[Section]
    stage: int

    @property
    def end(self) -> float:
        """End of the last section, in quarter notes."""
        return self.sections[-1].end

    def seat(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Add an empty track; level and pan (0 to 127) vary slightly, and pan is mirrored in half of the songs.

        `name` must be ASCII, because a MIDI file does not declare an encoding. `program` counts from 0.
        """
        level = int(np.clip(level + self.rng.integers(-9, 10), 20, 127))
        pan = int(np.clip(64 + self.stage * (pan - 64) + self.rng.integers(-6, 7), 0, 127))
        return self.score.track(name, program, level, pan, is_drum)

    def motifs(self, cells: Sequence[Cell], beats: float) -> tuple[Motif, ...]:
        """Invent the four motifs of a theme in the order of singing: a a b a, a b a b or a a b c.

        `cells` are rhythms of one bar, `beats` the quarter notes in this bar.
        """
        a, b, c = (invent(self.rng, cells, beats) for _ in range(3))
        return pick(self.rng, ((a, a, b, a), (a, b, a, b), (a, a, b, c)))

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
        pitch.
        """
        sung: list[Note] = []
        length = phrase_bars * section.bar_beats
        for start in np.arange(section.start, section.end - 1e-6, length):
            stop = min(start + length, section.end) - rest_beats
            sung += sing(self.rng, self.key, section, motifs, (float(start), float(stop)), low, high, velocity)
        track.notes += sung
        return sung

    def finish(self, bass: Track, harmony: Sequence[Track], drums: Mapping[str, Sequence[Hit]], feel: Feel) -> Score:
        """End the song on the tonic, vary timing and dynamics, and record the facts.

        `bass` plays the last root, `harmony` the last chord, `drums` (name of a track → hits) the last strokes. Tracks
        without notes are removed.
        """
        ending = str(pick(self.rng, ("hit", "ring", "fade")))
        tonic = self.key.chord("i" if self.key.mode == "minor" else "I")
        length = {"hit": 0.6, "ring": 3.0, "fade": 1.5}[ending] * self.score.quarter_bpm / 60
        bass.add(self.end, length, nearest(tonic.tones[:1], 38, 30, 45), 96)
        for track in harmony:
            track.chord(self.end, length, voicing(tonic, 3, 64), 88)
        for track in self.score.tracks:
            track.loop(self.end, self.end + 1, 1, drums.get(track.name, ()))
        if ending == "fade":
            self._fade()
        self.score.humanise(feel, self.rng)
        self.score.tracks = [track for track in self.score.tracks if track.notes]
        self.score.facts |= {
            "form": [f"{section.name} {section.bars}" for section in self.sections],
            "ending": ending,
            "swing": round(feel.swing, 3),
            "instruments": [track.name for track in self.score.tracks],
        }
        return self.score

    def _fade(self) -> None:
        """Fade all tracks out over the last eighth of the song."""
        start = self.end * 7 / 8
        for track in self.score.tracks:
            for index, note in enumerate(track.notes):
                if note.start > start:
                    left = max(0.2, 1 - 0.8 * (note.start - start) / (self.end - start))
                    track.notes[index] = dataclasses.replace(note, velocity=max(1, int(note.velocity * left)))


def begin(
    rng: np.random.Generator,
    bpm: float,
    pulse_beats: float,
    meter: tuple[int, int],
    minor: float,
    forms: Sequence[Sequence[tuple[str, float]]],
    changes: Mapping[str, Mapping[str, Sequence[str]]],
    unit_bars: int,
) -> Arrangement:
    """Choose key, chords and form of a song at random; the arrangement has no tracks yet.

    `bpm` counts pulses of `pulse_beats` quarter notes; `minor` is the share of songs in a minor key. `forms` are
    section names with relative lengths. `changes` maps mode → section name → progressions; "any" is for names without
    an entry. Sections are multiples of `unit_bars`.
    """
    key = Key(int(rng.integers(12)), "minor" if rng.random() < minor else "major")
    form = pick(rng, forms)
    drawn = {name: pick(rng, options) for name, options in changes[key.mode].items()}
    chords = {name: progression(key, drawn.get(name, drawn["any"])) for name, _ in form}
    bar_beats = meter[0] * 4 / meter[1]
    quarter_bpm = bpm * pulse_beats
    stage = int(rng.choice([-1, 1]))
    known = {"bpm": round(bpm, 1), "meter": f"{meter[0]}/{meter[1]}", "key": key.name, "mode": key.mode}
    score = Score(quarter_bpm, meter, key.number, known)
    return Arrangement(rng, key, score, plan(rng, form, chords, bar_beats, unit_bars, quarter_bpm), stage)
