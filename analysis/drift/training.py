"""Listening to what a model was trained on: its records hold the mel images already."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from PIL import Image

from tumbao.analysis.drift.descriptors import describe
from tumbao.analysis.drift.song_descriptors import SongDescriptors
from tumbao.components.ingest import progress
from tumbao.components.ingest.manifest import json_lines
from tumbao.schema import record
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec

MOST_SONGS = 2_000
"""Of more training songs, this many are read: chance is then a matter of the new songs, and memory is bounded."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Where a run left its records, and what it says of them.

    Parameters
    ----------
    run : str
        Name of the run.
    library : str
        Name of the library that it was trained on.
    synthetic : bool
        Whether its songs are composed, not recorded.
    genres : tuple of str
        The run's genres.
    spec : MelSpec
        The front-end's parameters.
    examples : str
        Folder of the Examples artefact of ingest.
    ingested : str
        File of ingest that tells of every song, as JSON Lines.
    """

    run: str
    library: str
    synthetic: bool
    genres: tuple[str, ...]
    spec: MelSpec
    examples: str
    ingested: str


def recall(training: TrainingData) -> tuple[tuple[SongDescriptors, ...], int]:
    """Measure the training split, each fragment from its stored mel image.

    Parameters
    ----------
    training : TrainingData
        The run's records.

    Returns
    -------
    heard : tuple of SongDescriptors
        At most `MOST_SONGS`, chosen by a hash of their names: the same in every run.
    songs : int
        How many songs the training split has.

    Raises
    ------
    ValueError
        If the training split holds no records.
    """
    told: dict[str, list[dict[str, Any]]] = {}
    for line in json_lines(training.ingested):
        if line["split"] == "train" and line["fragments"] > 0:
            told.setdefault(line["song"], []).append(line)
    if not told:
        raise UserError(f"Expected records of the training split. Received: none in {training.examples}")
    chosen = frozenset(sorted(told, key=lambda song: hashlib.sha256(song.encode()).digest())[:MOST_SONGS])
    found: dict[str, list[tuple[float, np.ndarray]]] = {song: [] for song in chosen}
    progress.start("recall", sum(line["fragments"] for lines in told.values() for line in lines))
    for features in _records(training):
        song = features[record.SONG].decode()
        if song in chosen:
            values = describe(_levels(features[record.IMAGE]), training.spec)
            found[song].append((features[record.START_SECONDS], values))
        progress.advance("recall")
    heard = tuple(
        SongDescriptors(
            song=song,
            path="",
            sha256="",
            genre=told[song][0]["genre"],
            seconds=max(line["seconds"] for line in told[song]),
            padded=any(line["padded"] for line in told[song]),
            truncated=any(line["truncated"] for line in told[song]),
            starts=np.array([start for start, _ in fragments]),
            values=np.array([values for _, values in fragments]),
        )
        for song, fragments in sorted(found.items())
        if fragments
    )
    return heard, len(told)


def pictures(training: TrainingData, wanted: Collection[tuple[str, float]]) -> dict[tuple[str, float], bytes]:
    """Find mel images of the training split.

    Parameters
    ----------
    training : TrainingData
        The run's records.
    wanted : collection of tuple
        Song and start in seconds of each fragment, as in `SongDescriptors`.

    Returns
    -------
    pngs : dict of tuple to bytes
        The fragments' PNGs.
    """
    found: dict[tuple[str, float], bytes] = {}
    for features in _records(training):
        place = features[record.SONG].decode(), features[record.START_SECONDS]
        if place in wanted:
            found[place] = features[record.IMAGE]
        if len(found) == len(wanted):
            break
    return found


def _records(training: TrainingData) -> Iterator[dict[str, Any]]:
    from tumbao.components.ingest.record_reader import read_records  # TensorFlow

    return read_records(f"{training.examples}/Split-train/*.gz")


def _levels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)  # a palette PNG: the indexes themselves
