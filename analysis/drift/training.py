"""Descriptors of training data, from the mel images in its records."""

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
"""Maximum number of training songs, to bound memory. With this many, random differences come from the new songs."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Records of a run.

    `library` is the name of the library that the run was trained on; `synthetic` says that its songs are composed, not
    recorded. `examples` is the folder of the Examples artefact of ingest, `ingested` its JSON Lines file with a line
    for every song.
    """

    run: str
    library: str
    synthetic: bool
    genres: tuple[str, ...]
    spec: MelSpec
    examples: str
    ingested: str


def recall(training: TrainingData) -> tuple[tuple[SongDescriptors, ...], int]:
    """Measure the songs of the training split, each fragment from its mel image, and count all its songs.

    At most `MOST_SONGS` are measured, chosen by a hash of their names: the same in every run.
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
    """Return PNG mel images of training fragments by song and start in seconds."""
    found: dict[tuple[str, float], bytes] = {}
    for features in _records(training):
        place = features[record.SONG].decode(), features[record.START_SECONDS]
        if place in wanted:
            found[place] = features[record.IMAGE]
        if len(found) == len(wanted):
            break
    return found


def _records(training: TrainingData) -> Iterator[dict[str, Any]]:
    from tumbao.components.ingest.records import read_records  # imports TensorFlow

    return read_records(f"{training.examples}/Split-train/*.gz")


def _levels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)  # indexes, as the PNG has a palette
