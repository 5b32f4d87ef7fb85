"""Song predictions as JSON values, for `tumbao classify` and the server."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tumbao.schema.hierarchy import has_subgenres, roll_up
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import SongPrediction


def summary(song: SongPrediction, info: ModelInfo) -> dict[str, Any]:
    """Return the scalar values of a song.

    `genre` is None if the answer is not confident; `nearest` is the most probable genre in any case. With sub-genres
    both are leaves, and `main_genre` is the most probable genre, confident or not.
    """
    main = main_probabilities(song, info)
    genre = max(main, key=main.__getitem__, default="")
    return {
        "genre": info.genres[song.answer.genre] if song.answer.confident else None,
        "nearest": info.genres[song.answer.genre],
        "probability": song.answer.probabilities[song.answer.genre],
        "majority": info.genres[song.answer.majority],
        "duration_seconds": song.duration_seconds,
        "declared_seconds": song.declared_seconds,
        "truncated": song.truncated,
        "padded": song.padded,
        "silent_fragments": song.silent,
        "audio_track": song.audio_track,
        "audio_tracks": song.audio_tracks,
        **({"main_genre": genre, "main_probability": main[genre]} if main else {}),
    }


def main_probabilities(song: SongPrediction, info: ModelInfo) -> dict[str, float]:
    """Sum the probabilities of the leaves of each genre; empty if the model has no sub-genres."""
    if not has_subgenres(info.genres):
        return {}
    genres, probabilities = roll_up(np.array(song.answer.probabilities), info.genres)
    return dict(zip(genres, probabilities.tolist(), strict=True))


def song_values(song: SongPrediction, info: ModelInfo) -> dict[str, Any]:
    """Return all values of a song: its summary, sections and fragments."""
    main = main_probabilities(song, info)
    return summary(song, info) | {
        "probabilities": dict(zip(info.genres, song.answer.probabilities, strict=True)),
        **({"main_probabilities": main} if main else {}),
        "votes": dict(zip(info.genres, song.answer.votes, strict=True)),
        "sections": [dataclasses.asdict(section) | {"genre": info.genres[section.genre]} for section in song.sections],
        "fragments": [
            {
                "start_seconds": fragment.start_seconds,
                "end_seconds": fragment.end_seconds,
                "genre": info.genres[fragment.genre],
                "familiar": fragment.familiar,
                "probabilities": dict(zip(info.genres, fragment.probabilities, strict=True)),
            }
            for fragment in song.fragments
        ],
    }
