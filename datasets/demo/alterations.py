"""Alterations of a score: one instrument muted, with another timbre, or with another rhythm."""

from __future__ import annotations

import dataclasses

import numpy as np

from tumbao.datasets.demo.score import Score, Track

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


def excerpt(score: Score, seconds: float) -> Score:
    """Return the fragment in which most instruments play (the first of several), without the instruments that rest.

    Fragments of this many seconds are counted from the start of the song.
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


def muted(score: Score, name: str) -> Score:
    """Remove an instrument; raise ValueError if there is no such track."""
    kept = _seat(score, name)
    return dataclasses.replace(score, tracks=[track for track in score.tracks if track is not kept])


def swap_timbre(score: Score, name: str) -> Score:
    """Replace the sound of an instrument by a related one that no genre's band uses; notes, level and pan stay.

    Raises ValueError if there is no such track or no related sound, as for the singer.
    """
    track = _seat(score, name)
    sounds = {note.pitch for note in track.notes} if track.is_drum else {track.program}
    relatives = _OTHER_DRUMS if track.is_drum else _OTHER_PROGRAMS
    if unknown := sorted(sounds - relatives.keys()):
        kind = "drums" if track.is_drum else "programs"
        raise ValueError(f"Expected {name!r} to have {kind} with a relative: {sorted(relatives)}. Received: {unknown}")
    if not track.is_drum:
        return _instead(score, track, dataclasses.replace(track, program=relatives[track.program]))
    notes = [dataclasses.replace(note, pitch=relatives[note.pitch]) for note in track.notes]
    return _instead(score, track, dataclasses.replace(track, notes=notes))


def shuffle_onsets(score: Score, name: str, rng: np.random.Generator) -> Score:
    """Place the strokes of an instrument at random times, and keep its sound.

    The notes keep their order, pitches, velocities and durations, and stay between the track's first and last; chords
    stay chords. Raises ValueError if there is no such track.
    """
    track = _seat(score, name)
    notes = sorted(track.notes, key=lambda note: note.start)
    begins = np.array([note.start for note in notes])
    strokes = np.cumsum(np.diff(begins, prepend=begins[0]) > _STROKE_BEATS)
    starts = np.sort(rng.uniform(begins[0], begins[-1], strokes[-1] + 1))[strokes]
    notes = [dataclasses.replace(note, start=float(start)) for note, start in zip(notes, starts, strict=True)]
    return _instead(score, track, dataclasses.replace(track, notes=notes))


def _seat(score: Score, name: str) -> Track:
    found = next((track for track in score.tracks if track.name == name), None)
    if found is None:
        names = ", ".join(track.name for track in score.tracks)
        raise ValueError(f"Expected an instrument of the band: {names}. Received: {name!r}")
    return found


def _instead(score: Score, track: Track, other: Track) -> Score:
    return dataclasses.replace(score, tracks=[other if one is track else one for one in score.tracks])
