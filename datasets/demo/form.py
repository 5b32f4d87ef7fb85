"""The form of a song: sections with their chords, fitted to a length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.datasets.demo.harmony import Chord, Key

_FULL_SECONDS, _SHORT_SECONDS = (92.0, 104.0), (66.0, 88.0)
_SHORT_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a song.

    Parameters
    ----------
    name : str
        Such as "verse".
    start : float
        Quarter notes from the start of the song.
    bars : int
        Length in bars.
    bar_beats : float
        Quarter notes in a bar.
    chords : tuple of tuple of Chord
        The chords of each bar of the progression, sharing the bar equally; it repeats until the section ends.
    """

    name: str
    start: float
    bars: int
    bar_beats: float
    chords: tuple[tuple[Chord, ...], ...]

    @property
    def end(self) -> float:
        """Quarter notes from the start of the song to the section's end."""
        return self.start + self.bars * self.bar_beats

    @property
    def last_bar(self) -> float:
        """Where the last bar starts, in quarter notes."""
        return self.end - self.bar_beats

    def bar_starts(self) -> list[float]:
        """List where the bars start.

        Returns
        -------
        starts : list of float
            Quarter notes from the start of the song.
        """
        return [self.start + bar * self.bar_beats for bar in range(self.bars)]

    def chord_at(self, beat: float) -> Chord:
        """Find the chord of a moment.

        Parameters
        ----------
        beat : float
            Quarter notes from the start of the song; after the section's end the progression starts again.

        Returns
        -------
        chord : Chord
            What sounds there.
        """
        bar, within = divmod(beat - self.start + 1e-6, self.bar_beats)
        chords = self.chords[(int(bar) if bar < self.bars else 0) % len(self.chords)]
        return chords[min(int(within / self.bar_beats * len(chords)), len(chords) - 1)]


def progression(key: Key, text: str) -> tuple[tuple[Chord, ...], ...]:
    """Read a chord progression.

    Parameters
    ----------
    key : Key
        The key of the song.
    text : str
        Bars divided by "|", chords of one bar by spaces, as in "i | iv V7".

    Returns
    -------
    chords : tuple of tuple of Chord
        The chords of each bar.
    """
    return tuple(tuple(key.chord(symbol) for symbol in bar.split()) for bar in text.split("|"))


def plan(
    rng: np.random.Generator,
    parts: Sequence[tuple[str, float]],
    progressions: dict[str, tuple[tuple[Chord, ...], ...]],
    bar_beats: float,
    unit_bars: int,
    quarter_bpm: float,
) -> list[Section]:
    """Lay out sections that fill 66 to 90 seconds.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    parts : sequence of (str, float)
        Names and relative lengths, in order.
    progressions : dict of str to tuple of tuple of Chord
        Chords of each name.
    bar_beats : float
        Quarter notes in a bar.
    unit_bars : int
        Every section is a multiple of this many bars.
    quarter_bpm : float
        Quarter notes a minute.

    Returns
    -------
    sections : list of Section
        In order, without gaps.
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
