"""Keys, chords written as scale degrees, sections with their chords, and voicings with small steps.

Times are in quarter notes from the start of the song.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Iterator

_DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_SYMBOL = re.compile(r"(b?)([ivIV]+)(maj7|7|o|)")


@functools.cache
def nearest(tones: tuple[int, ...], target: float, low: int, high: int) -> int:
    """Find the MIDI pitch of these pitch classes nearest to the target; of two equally near, the lower.

    `low` must be at least an octave below `high`.
    """
    return min(
        (pitch for pitch in range(low, high + 1) if pitch % 12 in tones), key=lambda pitch: (abs(pitch - target), pitch)
    )


@dataclasses.dataclass(frozen=True)
class Chord:
    """Pitch classes (0 to 11) of a chord: root, third, fifth and, in seventh chords, the seventh."""

    tones: tuple[int, ...]

    @property
    def bass(self) -> int:
        """MIDI pitch of the root in the register of a bass."""
        return nearest(self.tones[:1], 38, 30, 43)

    def bass_fifth(self, target: int, low: int, high: int) -> int:
        """Return the MIDI pitch of the fifth that is nearest to a target."""
        return nearest(self.tones[2:3], target, low, high)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key: `tonic` is a pitch class from 0 (C) to 11 (B), `mode` is "major" or "minor"."""

    tonic: int
    mode: str

    def chord(self, symbol: str) -> Chord:
        """Parse a chord symbol: a Roman numeral, lower case for minor, with "b" before and "7", "maj7" or "o" after it.

        Degrees are those of the tonic's major scale.
        """
        ((flat, degree, colour),) = _SYMBOL.findall(symbol)
        root = self.tonic + _DEGREES[degree.lower()] - (flat == "b")
        steps = [0, 3 if degree.islower() else 4, 6 if colour == "o" else 7]
        steps += {"7": [10], "maj7": [11]}.get(colour, [])
        return Chord(tuple((root + step) % 12 for step in steps))

    def progression(self, text: str) -> tuple[tuple[Chord, ...], ...]:
        """Parse a progression such as "i | iv V7": bars separated by "|", chords of one bar by spaces."""
        return tuple(tuple(self.chord(symbol) for symbol in bar.split()) for bar in text.split("|"))


@functools.cache
def scale(key: Key, chord: Chord) -> tuple[int, ...]:
    """Return the key's seven pitch classes, altered where the chord requires it (leading note over V7 in minor)."""
    pitches = tuple((key.tonic + step) % 12 for step in (_MINOR if key.mode == "minor" else _MAJOR))
    altered = {}
    for tone in chord.tones:
        if tone not in pitches:
            natural = next(pitch for pitch in ((tone - 1) % 12, (tone + 1) % 12) if pitch in pitches)
            altered[natural] = tone
    return tuple(altered.get(pitch, pitch) for pitch in pitches)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a song; `chords` holds those of each bar of the progression, which repeats until the end."""

    name: str
    start: float
    bars: int
    bar_beats: float
    chords: tuple[tuple[Chord, ...], ...]

    @property
    def end(self) -> float:
        """End of the section."""
        return self.start + self.bars * self.bar_beats

    @property
    def last_bar(self) -> float:
        """Start of the last bar."""
        return self.end - self.bar_beats

    def bar_starts(self) -> list[float]:
        """List the starts of the bars."""
        return [self.start + bar * self.bar_beats for bar in range(self.bars)]

    def chord_at(self, beat: float) -> Chord:
        """Find the chord at a beat; after the section's end, the progression starts again."""
        bar, within = divmod(beat - self.start + 1e-6, self.bar_beats)
        chords = self.chords[(int(bar) if bar < self.bars else 0) % len(self.chords)]
        return chords[min(int(within / self.bar_beats * len(chords)), len(chords) - 1)]

    def replies(self, bars: int) -> Iterator[Section]:
        """Yield the last bars of every four, in which another voice answers; the chord changes with the bar only."""
        for start in self.bar_starts()[4 - bars :: 4]:
            chords = tuple((self.chord_at(start + bar * self.bar_beats),) for bar in range(bars))
            yield Section("reply", start, bars, self.bar_beats, chords)

    def voicings(
        self, offsets: Iterable[float], centre: float, starts: Iterable[float] | None = None
    ) -> Iterator[tuple[float, tuple[int, ...]]]:
        """Yield beats and voicings of the chords at some offsets from each of `starts`, by default of all bars."""
        offsets, shape = tuple(offsets), None
        for start in self.bar_starts() if starts is None else starts:
            for offset in offsets:
                shape = voicing(self.chord_at(start + offset), centre, shape)
                yield start + offset, shape


@functools.cache
def voicing(chord: Chord, centre: float, previous: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Set a chord in close position, with three voices around the MIDI pitch `centre`; pitches ascend.

    The voices move as little as possible from those of `previous`. Seventh chords have no fifth.
    """
    tones = chord.tones if len(chord.tones) == 3 else (chord.tones[0], chord.tones[1], chord.tones[3])
    candidates = [
        (low, (middle := low + ((second - low) % 12 or 12)), middle + ((third - middle) % 12 or 12))
        for first, second, third in itertools.permutations(tones)
        for low in range(int(centre) - 12, int(centre) + 8)
        if low % 12 == first
    ]

    def cost(pitches: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        motion = sum(abs(a - b) for a, b in zip(pitches, previous, strict=True)) if previous else 0
        return motion + abs(sum(pitches) / len(pitches) - centre) + (pitches[-1] - pitches[0]) / 2, pitches

    return min(candidates, key=cost)
