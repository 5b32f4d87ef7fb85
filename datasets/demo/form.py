"""Form of a song: sections with their chords, fitted to a duration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.datasets.demo.harmony import Chord, Key

_FULL_SECONDS, _SHORT_SECONDS = (92.0, 104.0), (66.0, 88.0)
_SHORT_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a song; times are in quarter notes from the start of the song.

    `chords` holds the chords of each bar of the progression, which share the bar equally. The progression repeats until
    the section ends.
    """

    name: str
    start: float
    bars: int
    bar_beats: float
    chords: tuple[tuple[Chord, ...], ...]

    @property
    def end(self) -> float:
        """End of the section, in quarter notes."""
        return self.start + self.bars * self.bar_beats

    @property
    def last_bar(self) -> float:
        """Start of the last bar, in quarter notes."""
        return self.end - self.bar_beats

    def bar_starts(self) -> list[float]:
        """List the starts of the bars."""
        return [self.start + bar * self.bar_beats for bar in range(self.bars)]

    def chord_at(self, beat: float) -> Chord:
        """Find the chord at a beat; after the section's end, the progression starts again."""
        bar, within = divmod(beat - self.start + 1e-6, self.bar_beats)
        chords = self.chords[(int(bar) if bar < self.bars else 0) % len(self.chords)]
        return chords[min(int(within / self.bar_beats * len(chords)), len(chords) - 1)]


def progression(key: Key, text: str) -> tuple[tuple[Chord, ...], ...]:
    """Parse a progression such as "i | iv V7": bars separated by "|", chords of one bar by spaces."""
    return tuple(tuple(key.chord(symbol) for symbol in bar.split()) for bar in text.split("|"))


def plan(
    rng: np.random.Generator,
    parts: Sequence[tuple[str, float]],
    progressions: dict[str, tuple[tuple[Chord, ...], ...]],
    bar_beats: float,
    unit_bars: int,
    quarter_bpm: float,
) -> list[Section]:
    """Lay out sections of about 92 to 104 seconds in total, or 66 to 88 in one song of eight.

    `parts` are names and relative lengths, in order. Every section is a multiple of `unit_bars`; there are no gaps.
    """
    unit_seconds = unit_bars * bar_beats * 60 / quarter_bpm
    shortest, longest = _SHORT_SECONDS if rng.random() < _SHORT_SHARE else _FULL_SECONDS
    low, high = (int(np.ceil(shortest / unit_seconds)), int(longest / unit_seconds))
    units = int(rng.integers(low, max(low, high) + 1))
    shares = np.array([weight for _, weight in parts], float)
    lengths = np.maximum(1, np.floor(shares / shares.sum() * units)).astype(int)
    while lengths.sum() < units:
        lengths[np.argmax(shares / shares.sum() * units - lengths)] += 1
    while lengths.sum() > units:
        lengths[np.argmax(lengths)] -= 1
    sections, start = [], 0.0
    for (name, _), length in zip(parts, lengths, strict=True):
        sections.append(Section(name, start, int(length) * unit_bars, bar_beats, progressions[name]))
        start = sections[-1].end
    return sections
