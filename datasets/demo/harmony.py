"""Keys, chords written as scale degrees, and voicings with small steps."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re

_DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_SYMBOL = re.compile(r"(b?)([ivIV]+)(maj7|7|o)?$")


@dataclasses.dataclass(frozen=True)
class Chord:
    """Pitch classes (0 to 11) of a chord: root, third, fifth and, in seventh chords, the seventh."""

    tones: tuple[int, ...]

    @property
    def root(self) -> int:
        """Pitch class of the root."""
        return self.tones[0]

    @property
    def fifth(self) -> int:
        """Pitch class of the fifth."""
        return self.tones[2]


@dataclasses.dataclass(frozen=True)
class Key:
    """A key: `tonic` is a pitch class from 0 (C) to 11 (B), `mode` is "major" or "minor"."""

    tonic: int
    mode: str

    @property
    def name(self) -> str:
        """Name of the tonic, such as "Bb"."""
        return _NAMES[self.tonic]

    @property
    def number(self) -> int:
        """Key number as in pretty_midi: 0 to 11 major, 12 to 23 minor."""
        return self.tonic + 12 * (self.mode == "minor")

    def chord(self, symbol: str) -> Chord:
        """Parse a chord symbol: a Roman numeral, lower case for minor, with "b" before and "7", "maj7" or "o" after it.

        Degrees are those of the tonic's major scale. Raises ValueError if the symbol cannot be parsed.
        """
        match = _SYMBOL.match(symbol)
        if match is None or match[2].lower() not in _DEGREES:
            raise ValueError(f"A chord is written as a degree, such as i, bVII or V7. Received: {symbol!r}")
        flat, degree, colour = match.groups()
        root = self.tonic + _DEGREES[degree.lower()] - (flat == "b")
        steps = [0, 3 if degree.islower() else 4, 6 if colour == "o" else 7]
        steps += {"7": [10], "maj7": [11]}.get(colour or "", [])
        return Chord(tuple((root + step) % 12 for step in steps))

    def scale(self, chord: Chord) -> tuple[int, ...]:
        """Return the key's seven pitch classes, altered where the chord requires it (leading note over V7 in minor)."""
        steps = _MINOR if self.mode == "minor" else _MAJOR
        scale = tuple((self.tonic + step) % 12 for step in steps)
        strangers = [tone for tone in chord.tones if tone not in scale]
        altered = {}
        for tone in strangers:
            natural = next(pitch for pitch in ((tone - 1) % 12, (tone + 1) % 12) if pitch in scale)
            altered[natural] = tone
        return tuple(altered.get(pitch, pitch) for pitch in scale)


@functools.cache
def nearest(tones: tuple[int, ...], target: float, low: int, high: int) -> int:
    """Find the MIDI pitch of these pitch classes nearest to the target; of two equally near, the lower.

    `low` must be at least an octave below `high`.
    """
    return min(
        (pitch for pitch in range(low, high + 1) if pitch % 12 in tones), key=lambda pitch: (abs(pitch - target), pitch)
    )


@functools.cache
def voicing(chord: Chord, voices: int, centre: float, previous: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Set a chord in close position, with 2 to 4 voices around the MIDI pitch `centre`; pitches ascend.

    The voices move as little as possible from those of `previous`.
    """
    wanted = (
        chord.tones[:voices]
        if len(chord.tones) < 4 or voices != 3
        else (chord.tones[0], chord.tones[1], chord.tones[3])
    )
    candidates = []
    for order in itertools.permutations(wanted):
        for start in range(int(centre) - 12, int(centre) + 8):
            if start % 12 == order[0]:
                pitches = [start]
                for tone in order[1:]:
                    pitches.append(pitches[-1] + ((tone - pitches[-1]) % 12 or 12))
                candidates.append(tuple(pitches))

    def cost(pitches: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        motion = sum(abs(a - b) for a, b in zip(pitches, previous, strict=False)) if previous else 0
        return motion + abs(sum(pitches) / len(pitches) - centre) + (pitches[-1] - pitches[0]) / 2, pitches

    return min(candidates, key=cost)
