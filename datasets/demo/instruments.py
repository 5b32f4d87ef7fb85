"""Instruments that a model relies on: an ablation study with composed songs in which one instrument is changed.

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
from tumbao.datasets.demo.library import compose
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, Waveform, versions
from tumbao.datasets.demo.score import Score, Track
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

MUTED, OTHER_SOUND, OTHER_RHYTHM = CHANGES = ("muted", "other sound", "other rhythm")
"""Every instrument is muted; the defining one with the largest effect also gets another sound, and another rhythm."""

FIRST_SONG = 1_000
"""Index of the first song that is used; libraries hold the first songs of a genre."""

MAX_TRIES = 6
"""Songs that are tried for each requested song before the genre counts as unknown to the model."""

_SEED = 7

_OTHER_PROGRAMS = {
    **dict.fromkeys((0, 1), 4),
    **dict.fromkeys((21, 23), 20),
    **dict.fromkeys((24, 25, 27), 26),
    **dict.fromkeys((32, 33, 34, 35), 36),
    **dict.fromkeys((56, 61), 59),
    57: 60,
    **dict.fromkeys((64, 66), 65),
    71: 70,
    **dict.fromkeys((75, 79), 72),
}
"""General MIDI programs used by the bands → their nearest relatives that no band uses."""

_OTHER_DRUMS = (
    {37: 39, 49: 57, 56: 53, 67: 53, 75: 76}
    | {41: 47, 43: 48, 45: 50, 65: 50, 66: 47}
    | {60: 50, 61: 48, 62: 40, 63: 48, 64: 47}
    | {69: 82, 70: 82, 73: 44, 74: 46}
)
"""General MIDI drums used by the bands → others that no band uses."""

_STROKE_BEATS = 1 / 16
"""Notes closer together than this, in quarter notes, form one stroke."""


Logits = Callable[[np.ndarray], np.ndarray]
"""Waveforms float32 [n, frames], mono → logits [n, genres]."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """Effect of one change of an instrument on one song.

    `song` is its index in the genre; `change` is one of `CHANGES`. `before` and `after` are probabilities of the genre;
    `correct` tells whether the model still predicts the genre.
    """

    genre: str
    song: int
    instrument: str
    change: str
    before: float
    after: float
    log_odds_change: float
    correct: bool


@dataclasses.dataclass(frozen=True)
class MeanEffect:
    """Effect of one change of an instrument over all songs of a genre that contain it.

    `before` and `after` are mean probabilities; `log_odds_change`, `low` and `high` are the mean, least and greatest
    change of the log-odds; `correct` counts the songs that the model still assigns to the genre.
    """

    genre: str
    instrument: str
    change: str
    songs: int
    before: float
    after: float
    log_odds_change: float
    low: float
    high: float
    correct: int

    @property
    def defining(self) -> bool:
        """Whether the instrument is one of `DEFINING`."""
        return self.instrument in DEFINING[self.genre]


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Results for one genre.

    `tried` counts the unchanged songs that were classified, `correct` those assigned to this genre, whose instruments
    were then changed. `effects` are those of muting, by song, then those of the other changes.
    """

    genre: str
    tried: int
    correct: int
    effects: tuple[Effect, ...]


def ablate_instruments(
    logits: Logits,
    genres: Sequence[str],
    sample_rate_hz: int,
    fragment_seconds: float,
    songs: int = 2,
    without: Collection[str] = (),
) -> tuple[Ablation, ...]:
    """Measure the effects of changed instruments in songs that no library holds, one result per genre.

    `logits` has to be deterministic; the result is too. Genres that the demo library does not have, or that are in
    `without`, are skipped. `songs` is the number of songs of each genre; of each, the fragment in which most
    instruments play is used. Raises ValueError if no genre remains.
    """
    known = [genre for genre in genres if genre in GENRES and genre not in without]
    if not known:
        raise ValueError(f"Expected a genre out of {', '.join(GENRES)}. Received: {', '.join(genres) or 'none'}")
    if songs < 1:
        raise ValueError(f"Expected at least 1 song of each genre. Received: songs={songs}")
    progress.start("instruments", len(known) * songs)
    results = []
    for genre in known:
        model = _Model(logits, list(genres).index(genre), sample_rate_hz, fragment_seconds)
        recognized: list[_Song] = []
        tried = 0
        while len(recognized) < songs and tried < songs * MAX_TRIES:
            index = FIRST_SONG + tried
            score = excerpt(compose(genre, index, _SEED), fragment_seconds)
            (log_odds,), (correct,) = model.classify(score, [score])
            recognized += [_Song(genre, index, score, float(log_odds))] if correct else []
            tried += 1
        effects: list[Effect] = []
        for song in recognized:
            effects += _effects(song, model, [(track.name, MUTED) for track in song.score.tracks])
            progress.advance("instruments")
        progress.advance("instruments", songs - len(recognized))
        name = next((row.instrument for row in mean_effects(effects) if row.defining), None)
        for song in recognized:
            if name in [track.name for track in song.score.tracks]:
                effects += _effects(song, model, [(name, OTHER_SOUND), (name, OTHER_RHYTHM)])
        results.append(Ablation(genre, tried, len(recognized), tuple(effects)))
    return tuple(results)


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model and the index of the genre that is analysed."""

    logits: Logits
    genre: int
    sample_rate_hz: int
    seconds: float

    def classify(self, song: Score, scores: Sequence[Score]) -> tuple[np.ndarray, list[bool]]:
        """Return the log-odds of versions of a song, and whether the model predicts the genre for each."""
        rendered = versions(song.midi(), [score.midi() for score in scores])
        sounds = np.stack([_mono(waveform, self.sample_rate_hz, self.seconds) for waveform in rendered])
        logits = np.asarray(self.logits(sounds), np.float64)
        others = np.logaddexp.reduce(np.delete(logits, self.genre, axis=1), axis=1)
        return logits[:, self.genre] - others, (logits.argmax(axis=1) == self.genre).tolist()


@dataclasses.dataclass(frozen=True)
class _Song:
    """A song that the model classifies correctly, and the log-odds of its genre."""

    genre: str
    index: int
    score: Score
    log_odds: float


def _effects(song: _Song, model: _Model, changes: Sequence[tuple[str, str]]) -> list[Effect]:
    """Measure changes (instrument, change) of a song."""
    scores = []
    for name, change in changes:
        if change == MUTED:
            scores.append(mute(song.score, name))
        elif change == OTHER_SOUND:
            scores.append(swap_timbre(song.score, name))
        else:
            scores.append(shuffle_onsets(song.score, name, np.random.default_rng(song.index)))
    after, correct = model.classify(song.score, scores)
    before = _probability(song.log_odds)
    return [
        Effect(song.genre, song.index, name, change, before, _probability(odds), odds - song.log_odds, right)
        for (name, change), odds, right in zip(changes, after.tolist(), correct, strict=True)
    ]


def _probability(log_odds: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))


def _mono(waveform: Waveform, sample_rate_hz: int, seconds: float) -> np.ndarray:
    frames = round(seconds * SAMPLE_RATE_HZ)
    part = waveform[:frames].mean(axis=1)
    sound = soxr.resample(np.pad(part, (0, frames - len(part))), SAMPLE_RATE_HZ, sample_rate_hz)
    return np.asarray(sound[: round(seconds * sample_rate_hz)], np.float32)


def mean_effects(effects: Sequence[Effect]) -> tuple[MeanEffect, ...]:
    """Average the effects of one genre by instrument and change.

    Instruments whose muting has the largest effect come first; those of one instrument are in the order of `CHANGES`.
    """
    groups: dict[tuple[str, str], list[Effect]] = {}
    for effect in effects:
        groups.setdefault((effect.instrument, effect.change), []).append(effect)
    rows = []
    for (name, change), members in groups.items():
        moves = [effect.log_odds_change for effect in members]
        row = MeanEffect(
            genre=members[0].genre,
            instrument=name,
            change=change,
            songs=len(members),
            before=float(np.mean([effect.before for effect in members])),
            after=float(np.mean([effect.after for effect in members])),
            log_odds_change=float(np.mean(moves)),
            low=min(moves),
            high=max(moves),
            correct=sum(effect.correct for effect in members),
        )
        rows.append(row)
    muted = {row.instrument: row.log_odds_change for row in rows if row.change == MUTED}
    return tuple(sorted(rows, key=lambda row: (muted[row.instrument], row.instrument, CHANGES.index(row.change))))


def excerpt(score: Score, seconds: float) -> Score:
    """Return the first of the fragments in which most instruments play, without the instruments that rest.

    Fragments have this many seconds and are counted from the start of the song.
    """
    beats = seconds * score.quarter_bpm / 60
    end = max((note.start for track in score.tracks for note in track.notes), default=0.0)
    fragments = [_between(score, start, start + beats) for start in np.arange(0.0, max(end, beats / 2), beats)]
    return max(fragments, key=lambda one: len(one.tracks))


def _between(score: Score, start: float, end: float) -> Score:
    tracks = []
    for track in score.tracks:
        notes = [
            dataclasses.replace(note, start=note.start - start) for note in track.notes if start <= note.start < end
        ]
        if notes:
            tracks.append(dataclasses.replace(track, notes=notes))
    return dataclasses.replace(score, tracks=tracks)


def mute(score: Score, name: str) -> Score:
    """Remove an instrument; raise ValueError if there is no such track."""
    removed = _track(score, name)
    return dataclasses.replace(score, tracks=[track for track in score.tracks if track is not removed])


def swap_timbre(score: Score, name: str) -> Score:
    """Replace the sound of an instrument by a related one that no genre's band uses; notes, level and pan stay.

    Raises ValueError if there is no such track or no related sound, as for the singer.
    """
    track = _track(score, name)
    sounds = {note.pitch for note in track.notes} if track.is_drum else {track.program}
    relatives = _OTHER_DRUMS if track.is_drum else _OTHER_PROGRAMS
    if unknown := sorted(sounds - relatives.keys()):
        kind = "drums" if track.is_drum else "programs"
        raise ValueError(f"Expected {name!r} to have {kind} with a relative: {sorted(relatives)}. Received: {unknown}")
    if not track.is_drum:
        return _replace(score, track, dataclasses.replace(track, program=relatives[track.program]))
    notes = [dataclasses.replace(note, pitch=relatives[note.pitch]) for note in track.notes]
    return _replace(score, track, dataclasses.replace(track, notes=notes))


def shuffle_onsets(score: Score, name: str, rng: np.random.Generator) -> Score:
    """Place the strokes of an instrument at random times, and keep its sound.

    The notes keep their order, pitches, velocities and durations, and stay between the track's first and last; chords
    stay chords. Raises ValueError if there is no such track.
    """
    track = _track(score, name)
    notes = sorted(track.notes, key=lambda note: note.start)
    onsets = np.array([note.start for note in notes])
    strokes = np.cumsum(np.diff(onsets, prepend=onsets[0]) > _STROKE_BEATS)
    starts = np.sort(rng.uniform(onsets[0], onsets[-1], strokes[-1] + 1))[strokes]
    notes = [dataclasses.replace(note, start=float(start)) for note, start in zip(notes, starts, strict=True)]
    return _replace(score, track, dataclasses.replace(track, notes=notes))


def _track(score: Score, name: str) -> Track:
    found = next((track for track in score.tracks if track.name == name), None)
    if found is None:
        names = ", ".join(track.name for track in score.tracks)
        raise ValueError(f"Expected an instrument of the band: {names}. Received: {name!r}")
    return found


def _replace(score: Score, track: Track, other: Track) -> Score:
    return dataclasses.replace(score, tracks=[other if one is track else one for one in score.tracks])
