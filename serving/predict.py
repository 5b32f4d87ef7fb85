"""Classification of audio files with the TFLite files of a pushed model; runs on LiteRT, without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from tumbao.components.ingest.download_cache import cache_folder, cached_copy
from tumbao.components.ingest.fragments import Fragment, Fragments, SongSummary
from tumbao.components.ingest.paths import AnyPath, RemotePath, as_path, below
from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import has_subgenres, roll_up
from tumbao.serving.model_info import (
    ASSETS_FOLDER,
    CLASSIFIER_FILES,
    DISTANCE,
    INFO_FILE,
    PROBABILITIES,
    ModelFile,
    ModelInfo,
    preferred,
)
from tumbao.serving.song import Section, SongAnswer, combine, sections

SAVED_MODEL_FILE = "saved_model.pb"  # a folder with this file is a complete version; TFX's Pusher writes it last

RUN_MODEL = "model"  # link in the folder of a local run to the model that it exported, pushed or not

_CACHED_VERSIONS = 2  # of a push folder: the newest, and the one that may still be in use


@dataclasses.dataclass(frozen=True)
class FragmentPrediction:
    """The prediction for one fragment, with calibrated probabilities; its end is without padding."""

    start_seconds: float
    end_seconds: float
    probabilities: tuple[float, ...]
    in_distribution: bool

    @property
    def genre(self) -> int:
        """Index of the most probable genre; of equally probable ones, the first."""
        return self.probabilities.index(max(self.probabilities))


@dataclasses.dataclass(frozen=True)
class SongPrediction:
    """The prediction for one song."""

    answer: SongAnswer
    sections: tuple[Section, ...]  # parts of a medley, a single one for other songs
    fragments: tuple[FragmentPrediction, ...]  # without the silent ones
    duration_seconds: float  # of the decoded audio
    declared_seconds: float | None  # as declared in the file
    truncated: bool
    padded: bool  # shorter than a fragment
    silent: int  # number of silent fragments
    audio_track: int = 1  # the one that players choose
    audio_tracks: int = 1


def find_assets(model_dir: str | AnyPath, with_saved_model: bool = False) -> Path:
    """Find the folder that contains model.json and the TFLite files.

    `model_dir` is a push folder, whose highest complete version is used, one version folder, or its `assets.extra`. A
    model in a bucket is downloaded once and cached. Raises `UserError` if there is no model at this path.
    """
    folder = as_path(model_dir)
    for candidate in _candidates(folder):
        if (candidate / INFO_FILE).is_file():
            return candidate if isinstance(candidate, Path) else _download(candidate, with_saved_model)
    raise UserError(
        f"No model in {folder}: expected a push folder with versions (1, 2, …), or one version with "
        f"{ASSETS_FOLDER}/{INFO_FILE}, or the folder of a run. `tumbao run` trains and pushes a model and prints its "
        "location."
    )


def _candidates(folder: AnyPath) -> Iterator[AnyPath]:
    yield folder
    yield folder / ASSETS_FOLDER
    yield folder / RUN_MODEL / ASSETS_FOLDER
    numbered = [child for child in folder.iterdir() if child.name.isdecimal()] if folder.is_dir() else []
    for version in sorted(numbered, key=lambda child: int(child.name), reverse=True):
        if (version / SAVED_MODEL_FILE).is_file():
            yield version / ASSETS_FOLDER
            return


def _download(assets: RemotePath, with_saved_model: bool) -> Path:
    """Download a model's files, if they are not cached, and return the local folder that corresponds to `assets`."""
    version = assets.parent
    pushed = (version / SAVED_MODEL_FILE).is_file()
    source = version if pushed and with_saved_model else assets
    address = (version if pushed else assets).parent.text
    models = f"{'saved-models' if with_saved_model else 'models'}/{_digest(address.encode())}"
    folder = f"{models}/{_digest(source.text.encode() + (assets / INFO_FILE).read_bytes())}"
    above = f"{version.name}/" if source == assets else ""  # keep the version's folder name
    local = cached_copy(source, f"{folder}/{above}{source.name}")
    os.utime(cache_folder() / folder)
    by_use = sorted((cache_folder() / models).iterdir(), key=lambda one: one.stat().st_mtime_ns)
    for former in by_use[:-_CACHED_VERSIONS]:
        shutil.rmtree(former, ignore_errors=True)
    return local / below(assets, source)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class TFLiteModel:
    """A pushed model that classifies audio files.

    `model_dir` is a location as for `find_assets`, `precision` "int8", "dynamic" or "float16" (empty for the preferred
    one among those available), `threads` the number of interpreter threads (None for one per CPU). An instance may be
    shared by several threads. Raises `UserError` if there is no model, or its files do not match model.json.
    """

    def __init__(self, model_dir: str | AnyPath, precision: str = "", threads: int | None = None) -> None:
        assets = find_assets(model_dir)
        self.info = ModelInfo.read(assets)
        precisions = sorted(self.info.files.keys() & CLASSIFIER_FILES.keys())
        precision = precision or preferred(precisions)
        if precision not in precisions:
            expected = ", ".join(precisions)
            raise UserError(f"{assets}: expected one of the precisions {expected}. Received: {precision!r}")
        threads = threads or cpu_count()
        self._lock = threading.Lock()
        self._frontend = _load(assets, self.info.files["frontend"], threads, "waveform")
        self._classifier = _load(assets, self.info.files[precision], threads, "image")

    def predict(self, fragment: np.ndarray) -> np.ndarray:
        """Predict a fragment: mono samples float32 [fragment_samples] in [-1, 1] → probabilities float32 [g]."""
        return self._outputs(fragment)[PROBABILITIES][0]

    def answer(self, items: Iterable[Fragment | SongSummary]) -> SongPrediction:
        """Classify one song from decoded fragments, as `fragments.read` yields them."""
        mel, rule = self.info.mel, self.info.out_of_distribution
        starts: list[float] = []
        raw: list[np.ndarray] = []
        distances: list[float] = []
        silent, padded = 0, False
        song = Fragments(items)
        for fragment in song:
            silent, padded = silent + fragment.silent, fragment.padded
            if not fragment.silent:
                starts.append(fragment.index * mel.fragment_seconds)
                outputs = self._outputs(fragment.samples)
                raw.append(outputs[PROBABILITIES][0])
                distances.append(float(outputs[DISTANCE][0]) if rule else 0.0)
        inside = [rule is None or distance <= rule.threshold for distance in distances]
        probabilities = np.stack(raw)
        ends = [song.ending.seconds if padded else start + mel.fragment_seconds for start in starts]
        shares = map(tuple, probabilities.tolist())
        return SongPrediction(
            answer=song_answer(self.info, probabilities, distances),
            sections=sections(starts, ends[-1], probabilities),
            fragments=tuple(map(FragmentPrediction, starts, ends, shares, inside)),
            duration_seconds=song.ending.seconds,
            declared_seconds=song.ending.header.declared_seconds,
            truncated=song.ending.truncated,
            padded=padded,
            silent=silent,
            audio_track=song.ending.header.audio_track,
            audio_tracks=song.ending.header.audio_tracks,
        )

    def _outputs(self, fragment: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            image = self._frontend(waveform=fragment[np.newaxis])["image"]
            return self._classifier(image=image)


def song_answer(info: ModelInfo, probabilities: np.ndarray, distances: Sequence[float]) -> SongAnswer:
    """Combine the probabilities [k, g] of a song's fragments, and their distances, to the song's answer.

    Without `info.out_of_distribution` the distances are not read.
    """
    rule = info.out_of_distribution
    answer = combine(probabilities, info.calibration.threshold if info.calibration else 0.0)
    return dataclasses.replace(answer, confident=answer.confident and (rule is None or rule.accepts(distances)))


def _load(assets: Path, file: ModelFile, threads: int, signature: str) -> SignatureRunner:
    path = assets / file.name
    size = path.stat().st_size if path.is_file() else 0
    if size != file.bytes:
        raise UserError(f"{path}: expected {file.bytes} bytes, found {size}. Copy the whole version folder again.")
    return Interpreter(model_path=str(path), num_threads=threads).get_signature_runner(signature)


def summary(song: SongPrediction, info: ModelInfo) -> dict[str, Any]:
    """Return the scalar values of a song, as in JSON; `genre` is None if the answer is not confident."""
    main = _main_probabilities(song, info)
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


def _main_probabilities(song: SongPrediction, info: ModelInfo) -> dict[str, float]:
    """Sum the probabilities of the leaves of each genre; empty if the model has no sub-genres."""
    if not has_subgenres(info.genres):
        return {}
    genres, probabilities = roll_up(np.array(song.answer.probabilities), info.genres)
    return dict(zip(genres, probabilities.tolist(), strict=True))


def song_values(song: SongPrediction, info: ModelInfo) -> dict[str, Any]:
    """Return all values of a song, as in JSON: its summary, sections and fragments."""
    main = _main_probabilities(song, info)
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
                "familiar": fragment.in_distribution,
                "probabilities": dict(zip(info.genres, fragment.probabilities, strict=True)),
            }
            for fragment in song.fragments
        ],
    }
