"""A score → the same score with one instrument changed: gone, on another sound, or out of its rhythm."""

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
"""General MIDI programs of the bands → their nearest relatives that no band has."""

_OTHER_DRUMS = (
    {37: 39, 49: 57, 56: 53, 67: 53, 75: 76}
    | {41: 47, 43: 48, 45: 50, 65: 50, 66: 47}
    | {60: 50, 61: 48, 62: 40, 63: 48, 64: 47}
    | {69: 82, 70: 82, 73: 44, 74: 46}
)
"""General MIDI drums of the bands → others that no band has."""

_STROKE_BEATS = 1 / 16
"""Notes that follow each other within this many quarter notes are one stroke."""


def excerpt(score: Score, seconds: float) -> Score:
    """Take the fragment of a song in which most instruments play.

    Parameters
    ----------
    score : Score
        The song.
    seconds : float
        Length of a fragment; they are counted from the song's start.

    Returns
    -------
    excerpt : Score
        The first such fragment, as a song of its own; instruments without a note in it have left the band.
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
    """Take an instrument away.

    Parameters
    ----------
    score : Score
        The song.
    name : str
        Name of the track.

    Returns
    -------
    score : Score
        The others, as they were.

    Raises
    ------
    ValueError
        If nobody plays that.
    """
    kept = _seat(score, name)
    return dataclasses.replace(score, tracks=[track for track in score.tracks if track is not kept])


def swap_timbre(score: Score, name: str) -> Score:
    """Give an instrument's notes to a relative of it that no genre's band has, another sample of the sound font.

    Parameters
    ----------
    score : Score
        The song.
    name : str
        Name of the track.

    Returns
    -------
    score : Score
        The same notes, at the same time, at the same level and place.

    Raises
    ------
    ValueError
        If nobody plays that, or it has no relative, as the singer has none.
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
    """Take an instrument's rhythm away and leave it its sound: strokes fall where chance puts them.

    Parameters
    ----------
    score : Score
        The song.
    name : str
        Name of the track.
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    score : Score
        As many notes, in their order, with their pitches, velocities and durations, between the track's first and
        last; chords stay chords.

    Raises
    ------
    ValueError
        If nobody plays that.
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
