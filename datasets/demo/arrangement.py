"""What every genre's arranger starts from: a key, a form, a lead singer, and an ending."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tumbao.datasets.demo.form import Section, plan, progression
from tumbao.datasets.demo.harmony import Key, nearest, voicing
from tumbao.datasets.demo.melody import Cell, Motif, invent, sing
from tumbao.datasets.demo.score import Feel, Hit, Note, Score, Track

SINGERS = {"choir": 52, "voice": 53, "oboe": 68, "cor anglais": 69, "flute": 73}
"""General MIDI programs that stand for the singer, the same in every genre; no genre's own instrument is among them."""

Choice = TypeVar("Choice")


def pick(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Draw one of several options.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    options : sequence
        At least one.

    Returns
    -------
    option : object
        One of them.
    """
    return options[int(rng.integers(len(options)))]


@dataclasses.dataclass
class Arrangement:
    """A song in the making.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    key : Key
        The key.
    score : Score
        Where the notes go.
    sections : list of Section
        The form.
    stage : int
        1 for the stage as the arranger sees it, -1 for its mirror image.
    """

    rng: np.random.Generator
    key: Key
    score: Score
    sections: list[Section]
    stage: int

    @property
    def end(self) -> float:
        """Where the last section ends, in quarter notes."""
        return self.sections[-1].end

    def seat(self, name: str, program: int = 0, level: int = 90, pan: int = 64, is_drum: bool = False) -> Track:
        """Seat a player at about the wanted level and place.

        Parameters
        ----------
        name : str
            What the instrument is called; in ASCII, since a MIDI file does not say how it writes other letters.
        program : int
            General MIDI program counted from 0.
        level : int
            0 to 127; moved a little, as no two mixes are alike.
        pan : int
            0 to 127; the stage is mirrored in half of the songs.
        is_drum : bool
            Whether pitches are drums.

        Returns
        -------
        track : Track
            The empty track.
        """
        level = int(np.clip(level + self.rng.integers(-9, 10), 20, 127))
        pan = int(np.clip(64 + self.stage * (pan - 64) + self.rng.integers(-6, 7), 0, 127))
        return self.score.track(name, program, level, pan, is_drum)

    def motifs(self, cells: Sequence[Cell], beats: float) -> tuple[Motif, ...]:
        """Invent the motifs of one theme, in the order in which they are sung.

        Parameters
        ----------
        cells : sequence of Cell
            Rhythms of one bar.
        beats : float
            Quarter notes in that bar.

        Returns
        -------
        motifs : tuple of Motif
            Four: a a b a, a b a b or a a b c.
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
        """Sing a section in phrases with breath between them.

        Parameters
        ----------
        track : Track
            The singer.
        section : Section
            What to sing over.
        motifs : sequence of Motif
            The theme.
        low : int
            Lowest pitch.
        high : int
            Highest pitch.
        phrase_bars : int
            Bars from one phrase to the next.
        rest_beats : float
            Quarter notes of rest at the end of each phrase.
        velocity : float
            Mean velocity.

        Returns
        -------
        notes : list of Note
            What was added to the track.
        """
        sung: list[Note] = []
        length = phrase_bars * section.bar_beats
        for start in np.arange(section.start, section.end - 1e-6, length):
            stop = min(start + length, section.end) - rest_beats
            sung += sing(self.rng, self.key, section, motifs, float(start), float(stop), low, high, velocity)
        track.notes += sung
        return sung

    def finish(self, bass: Track, harmony: Sequence[Track], drums: Mapping[str, Sequence[Hit]], feel: Feel) -> Score:
        """End the song on the tonic, loosen the playing and write down the facts.

        Parameters
        ----------
        bass : Track
            Plays the last root.
        harmony : sequence of Track
            Play the last chord.
        drums : mapping of str to sequence of Hit
            The last stroke of each drummer, by the name of the track.
        feel : Feel
            How loosely the band plays.

        Returns
        -------
        score : Score
            The song; tracks without notes have left the band.
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
        """Let everybody play softer and softer through the last eighth of the song."""
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
    facts: Mapping[str, Any],
) -> Arrangement:
    """Draw key, chords and form of a song.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    bpm : float
        Pulses a minute.
    pulse_beats : float
        Quarter notes in a pulse.
    meter : tuple of int
        Numerator and denominator.
    minor : float
        Share of songs in a minor key.
    forms : sequence of sequence of (str, float)
        Forms to choose from: names of sections with their relative lengths.
    changes : mapping of str to mapping of str to sequence of str
        For each mode: progressions to choose from for each section name; "any" serves the names that are not there.
    unit_bars : int
        Sections are multiples of this many bars.
    facts : mapping of str to object
        What else to say of the song.

    Returns
    -------
    arrangement : Arrangement
        Without players yet.
    """
    key = Key(int(rng.integers(12)), "minor" if rng.random() < minor else "major")
    form = pick(rng, forms)
    drawn = {name: pick(rng, options) for name, options in changes[key.mode].items()}
    chords = {name: progression(key, drawn.get(name, drawn["any"])) for name, _ in form}
    bar_beats = meter[0] * 4 / meter[1]
    quarter_bpm = bpm * pulse_beats
    stage = int(rng.choice([-1, 1]))
    known = {"bpm": round(bpm, 1), "meter": f"{meter[0]}/{meter[1]}", "key": key.name, "mode": key.mode}
    score = Score(quarter_bpm, meter, key.number, known | dict(facts))
    return Arrangement(rng, key, score, plan(rng, form, chords, bar_beats, unit_bars, quarter_bpm), stage)
