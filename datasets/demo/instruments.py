"""Instruments that a model relies on, measured with composed songs in which one instrument is changed.

An effect is a change of the genre's log-odds, ln(p / (1 - p)); values below 0 oppose the genre. Unlike the probability,
log-odds do not saturate where the model is certain. Only songs that the model classifies correctly as they are get
changed.
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
"""Instruments that a musician would name first; chosen before any measurement."""

MUTED, RESOUNDED, SCATTERED = "muted", "other sound", "other rhythm"
"""Changes: every instrument is muted; the defining one whose muting costs most also loses its sound, and its rhythm."""

UNHEARD = 1_000
"""Number of the first song that is used; libraries hold the first songs of a genre."""

TRIES = 6
"""Songs that are tried for each requested song before the genre counts as unknown to the model."""

_SEED = 7

Answer = Callable[[np.ndarray], np.ndarray]
"""Waveforms float32 [n, frames], mono → logits [n, genres]."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """Effect of one change of an instrument on one song.

    `song` is its number in the genre; `way` is `MUTED`, `RESOUNDED` or `SCATTERED`. `before` and `after` are
    probabilities of the genre, `moved` is the change of its log-odds, and `kept` tells whether the model still predicts
    the genre.
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
    """Effect of one change of an instrument over all songs of a genre that contain it.

    `before` and `after` are mean probabilities; `moved`, `low` and `high` are the mean, least and greatest change of
    the log-odds; `kept` counts the songs that the model still assigns to the genre.
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
        """Whether the instrument is one of `DEFINING`."""
        return self.name in DEFINING[self.genre]


@dataclasses.dataclass(frozen=True)
class Hearing:
    """Results for one genre.

    `tried` counts the unchanged songs that were classified, `right` those assigned to this genre, whose instruments
    were then changed. `effects` are those of muting, by song, then those of the control.
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
    """Measure the effects of changed instruments in songs that no library holds, one result per genre.

    `answer` maps mono waveforms float32 [n, frames] to logits [n, genres] and has to be deterministic; the result is
    too. Genres that the demo library does not have, or that are in `without`, are skipped. `songs` is the number of
    songs of each genre; of each, the fragment in which most instruments play is used. Raises ValueError if no genre
    remains.
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
    """Computes the log-odds of a genre."""

    answer: Answer
    genre: int
    sample_rate_hz: int
    seconds: float

    def of(self, song: Score, scores: Sequence[Score]) -> tuple[np.ndarray, list[bool]]:
        """Return the log-odds of versions of a song, and whether the model predicts the genre for each."""
        rendered = versions(song.midi(), [score.midi() for score in scores])
        sounds = np.stack([_mono(waveform, self.sample_rate_hz, self.seconds) for waveform in rendered])
        logits = np.asarray(self.answer(sounds), np.float64)
        others = np.logaddexp.reduce(np.delete(logits, self.genre, axis=1), axis=1)
        return logits[:, self.genre] - others, (logits.argmax(axis=1) == self.genre).tolist()


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A song that the model assigns to its genre, and its log-odds."""

    number: int
    score: Score
    before: float


def _effects(heard: Sequence[_Heard], genre: str, odds: _Odds, songs: int) -> list[Effect]:
    """Mute every instrument; change sound and rhythm of the defining instrument whose muting costs most."""
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
    """Average the effects of one genre by instrument and change.

    Instruments whose muting costs most come first; those of one instrument are in the order of the changes.
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
