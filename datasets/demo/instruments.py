"""Which instruments a model listens to, asked where the score is known: composed songs, with one of them changed.

Conventions: an effect is a change of the genre's log-odds, ln(p / (1 - p)); below 0 it speaks against the genre. Unlike
the probability they go on moving where the model is sure. Only songs are asked about that the model answers
rightly as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import soxr

from tumbao.components.ingest import progress
from tumbao.datasets.demo.alterations import excerpt, muted, shuffle_onsets, swap_timbre
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, Waveform, versions
from tumbao.datasets.demo.score import Score
from tumbao.datasets.demo.song import compose
from tumbao.schema.genres import GENRES

DEFINING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bachata": ("bongo", "guira", "requinto", "segunda"),
        "cumbia": ("guacharaca", "llamador", "tambor alegre", "tambora"),
        "merengue": ("guira", "tambora", "saxophones"),
        "salsa": ("claves", "timbales", "congas", "piano"),
        "vallenato": ("accordion", "caja", "guacharaca"),
    }
)
"""What a musician would name first, said before anything was measured."""

MUTED, RESOUNDED, SCATTERED = "muted", "other sound", "other rhythm"
"""What is done: all are muted; of those that define the genre, the one missed most loses its sound, and its rhythm."""

UNHEARD = 1_000
"""Number of the first song that is asked about: libraries hold the first ones of a genre."""

TRIES = 6
"""Songs of a genre that are tried, for each that is asked about, before the model counts as not knowing the genre."""

_SEED = 7

Answer = Callable[[np.ndarray], np.ndarray]
"""Waveforms float32 [n, frames], mono → logits [n, genres]: what a softmax makes probabilities of."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """What became of one song's genre when one of its instruments was changed.

    Parameters
    ----------
    genre : str
        The song's.
    song : int
        Its number in the genre.
    instrument : str
        Name of the track.
    way : str
        `MUTED`, `RESOUNDED` or `SCATTERED`.
    before, after : float
        Probability of the genre, in [0, 1].
    moved : float
        Change of the log-odds.
    kept : bool
        Whether the model still takes the song for the genre.
    """

    genre: str
    song: int
    instrument: str
    way: str
    before: float
    after: float
    moved: float
    kept: bool


@dataclasses.dataclass(frozen=True)
class Instrument:
    """What one way of changing an instrument does to the songs of a genre.

    Parameters
    ----------
    genre, name, way : str
        Of its effects.
    songs : int
        How many songs it plays in, at least 1.
    before, after : float
        Mean probability of the genre.
    moved, low, high : float
        Change of the log-odds: mean, least and greatest of the songs.
    kept : int
        How many of the songs the model still takes for the genre.
    """

    genre: str
    name: str
    way: str
    songs: int
    before: float
    after: float
    moved: float
    low: float
    high: float
    kept: int

    @property
    def defining(self) -> bool:
        """Whether it is among those of `DEFINING`."""
        return self.name in DEFINING[self.genre]


@dataclasses.dataclass(frozen=True)
class Hearing:
    """What a model made of the songs of one genre.

    Parameters
    ----------
    genre : str
        The genre.
    tried : int
        How many songs it was asked about as they are.
    right : int
        How many of them it took for this genre; their instruments were changed, up to the number that was wanted.
    effects : tuple of Effect
        Of muting, by song; then of the control.
    """

    genre: str
    tried: int
    right: int
    effects: tuple[Effect, ...]


def listen(
    answer: Answer,
    genres: Sequence[str],
    sample_rate_hz: int,
    fragment_seconds: float,
    songs: int = 2,
    without: Collection[str] = (),
) -> tuple[Hearing, ...]:
    """Change the instruments of songs that no library holds, and ask the model each time.

    Parameters
    ----------
    answer : callable
        Waveforms float32 [n, frames] → logits [n, genres]; the same for the same waveforms.
    genres : sequence of str
        The model's, in the order of its outputs. Those that the demo library does not have are passed over.
    sample_rate_hz : int
        Of the waveforms.
    fragment_seconds : float
        Their length.
    songs : int
        Songs of each genre, at least 1; of each, the fragment in which most instruments play.
    without : collection of str
        Genres that are not asked about.

    Returns
    -------
    hearings : tuple of Hearing
        One for each genre, in the order of `genres`. The same for the same model.

    Raises
    ------
    ValueError
        If none of the genres to ask about is the demo library's, or there are no songs.
    """
    known = [genre for genre in genres if genre in GENRES and genre not in without]
    if not known:
        raise ValueError(f"Expected a genre out of {', '.join(GENRES)}. Received: {', '.join(genres) or 'none'}")
    if songs < 1:
        raise ValueError(f"Expected at least 1 song of each genre. Received: songs={songs}")
    progress.start("instruments", len(known) * songs)
    hearings = []
    for genre in known:
        odds = _Odds(answer, list(genres).index(genre), sample_rate_hz, fragment_seconds)
        heard: list[_Heard] = []
        tried = 0
        while len(heard) < songs and tried < songs * TRIES:
            number = UNHEARD + tried
            score = excerpt(compose(genre, number, _SEED), fragment_seconds)
            (before,), (taken,) = odds.of(score, [score])
            heard += [_Heard(number, score, float(before))] if taken else []
            tried += 1
        hearings.append(Hearing(genre, tried, len(heard), tuple(_effects(heard, genre, odds, songs))))
    return tuple(hearings)


@dataclasses.dataclass(frozen=True)
class _Odds:
    """Ask for a genre's log-odds."""

    answer: Answer
    genre: int
    sample_rate_hz: int
    seconds: float

    def of(self, song: Score, scores: Sequence[Score]) -> tuple[np.ndarray, list[bool]]:
        """Give the log-odds of versions of a song, and whether the model takes each for the genre."""
        rendered = versions(song.midi(), [score.midi() for score in scores])
        sounds = np.stack([_mono(waveform, self.sample_rate_hz, self.seconds) for waveform in rendered])
        logits = np.asarray(self.answer(sounds), np.float64)
        others = np.logaddexp.reduce(np.delete(logits, self.genre, axis=1), axis=1)
        return logits[:, self.genre] - others, (logits.argmax(axis=1) == self.genre).tolist()


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A song that the model takes for its genre, and how surely, as log-odds."""

    number: int
    score: Score
    before: float


def _effects(heard: Sequence[_Heard], genre: str, odds: _Odds, songs: int) -> list[Effect]:
    """Mute every instrument; take sound and rhythm from the one that is missed most of those that define the genre."""
    effects: list[Effect] = []
    for song in heard:
        names = [track.name for track in song.score.tracks]
        effects += _changed(song, genre, odds, [(name, MUTED, muted(song.score, name)) for name in names])
        progress.advance("instruments")
    progress.advance("instruments", songs - len(heard))
    name = next((row.name for row in summarise(effects) if row.defining), None)
    for song in heard:
        if name in [track.name for track in song.score.tracks]:
            rng = np.random.default_rng(song.number)
            without_sound, without_rhythm = swap_timbre(song.score, name), shuffle_onsets(song.score, name, rng)
            changes = [(name, RESOUNDED, without_sound), (name, SCATTERED, without_rhythm)]
            effects += _changed(song, genre, odds, changes)
    return effects


def _changed(song: _Heard, genre: str, odds: _Odds, changes: Sequence[tuple[str, str, Score]]) -> list[Effect]:
    after, taken = odds.of(song.score, [score for _, _, score in changes])
    before = _probability(song.before)
    return [
        Effect(genre, song.number, name, way, before, _probability(odd), odd - song.before, kept)
        for (name, way, _), odd, kept in zip(changes, after.tolist(), taken, strict=True)
    ]


def _probability(odds: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -odds)))


def summarise(effects: Sequence[Effect]) -> tuple[Instrument, ...]:
    """Sum up by instrument.

    Parameters
    ----------
    effects : sequence of Effect
        Of one genre.

    Returns
    -------
    instruments : tuple of Instrument
        The instruments whose muting costs most first; of one instrument, in the order of what was done.
    """
    groups: dict[tuple[str, str], list[Effect]] = {}
    for effect in effects:
        groups.setdefault((effect.instrument, effect.way), []).append(effect)
    rows = []
    for (name, way), members in groups.items():
        moves = [effect.moved for effect in members]
        before, after = (float(np.mean([getattr(one, when) for one in members])) for when in ("before", "after"))
        genre, low, high = members[0].genre, min(moves), max(moves)
        kept = sum(effect.kept for effect in members)
        rows.append(Instrument(genre, name, way, len(members), before, after, float(np.mean(moves)), low, high, kept))
    cost = {row.name: row.moved for row in rows if row.way == MUTED}
    ways = (MUTED, RESOUNDED, SCATTERED)
    return tuple(sorted(rows, key=lambda row: (cost[row.name], row.name, ways.index(row.way))))


def _mono(waveform: Waveform, sample_rate_hz: int, seconds: float) -> np.ndarray:
    frames = round(seconds * SAMPLE_RATE_HZ)
    part = waveform[:frames].mean(axis=1)
    sound = soxr.resample(np.pad(part, (0, frames - len(part))), SAMPLE_RATE_HZ, sample_rate_hz)
    return np.asarray(sound[: round(seconds * sample_rate_hz)], np.float32)
