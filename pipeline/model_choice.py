"""Cross-validation of the models of a run over the songs that are not test songs, and the choice between several."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter
from rich.markup import escape
from sklearn.metrics import balanced_accuracy_score

from tumbao.analysis.compare.features import features
from tumbao.components.evaluation.run_data import Candidate, GroupResult
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import Catalog, require_genres
from tumbao.components.ingest.paths import AnyPath, as_path, is_remote
from tumbao.components.ingest.rendered_library import RenderedLibrary, render_library
from tumbao.components.ingest.tables import json_line
from tumbao.pipeline.config import Config
from tumbao.pipeline.source import backbone_cache, song_cache, source_digest
from tumbao.schema.errors import UserError
from tumbao.serving.calibration import log_loss
from tumbao.trainer.cross_validation import (
    Fold,
    fewer_songs,
    library_folds,
    mean_of_songs,
    nearest_neighbour,
    out_of_fold,
)
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import WeightsFile

FOLDS = 5
"""Default number of folds."""

SOURCE = "source"
"""Column of a list with the origin of a recording, such as a collection with its own mastering and codec."""

CURVE = (2, 4, 8, 16, 32, 64)
"""Numbers of training songs of each genre in the learning curve."""

MANY_SONGS = 60
"""One model is not cross-validated by default if every genre has this many songs: the test split has enough."""


def folds(config: Config, catalog: Catalog, genres: Sequence[str]) -> int:
    """Return the number of folds, 0 for no cross-validation."""
    if config.split_by == "fragment":
        return 0
    if config.split.folds is not None:
        return config.split.folds
    counts = Counter(genre for _, genre in {(song.song, song.genre) for song in catalog.songs})
    few = min(counts[genre] for genre in genres) < MANY_SONGS
    return FOLDS if few or len(config.models) > 1 else 0


def choose_model(
    config: Config,
    catalog: Catalog,
    genres: Sequence[str],
    manifests: AnyPath,
    weights: Mapping[str, WeightsFile],
    policy: Policy,
    say: Callable[[str], None],
) -> tuple[Candidate, ...]:
    """Test each model once on every song that is not a test song, with the same folds; the best comes first.

    Folds keep artists whole if the splits do. The best has the highest accuracy; of several, the one with the lowest
    log-loss. `manifests` is the folder of `write_manifests`, `weights` is by model. Results are stored in the root, and
    used again while songs, settings and code are the same.
    """
    rows = csv.DictReader((manifests / "test.csv").read_text("utf-8").splitlines())
    test_songs = {row["song"] for row in rows}
    rest = dataclasses.replace(catalog, songs=tuple(one for one in catalog.songs if one.song not in test_songs))
    found = {}
    for name, file in weights.items():
        one = _CrossValidation(config, name, rest, genres, file, policy)
        found[one] = result = one.result()
        say(
            f"  {name}: {result.right} of {result.songs} songs, balanced accuracy {result.balanced_accuracy:.1%}, "
            f"log-loss {result.log_loss:.2f}"
        )
    best, *others = sorted(found, key=lambda one: (-found[one].right, found[one].log_loss))
    return (best.detailed(found[best], say), *(found[one] for one in others))


class _Prepared(NamedTuple):
    """A model with the features of the songs."""

    model: ModelSpec
    training: Training
    library: RenderedLibrary
    arrays: Sequence[np.ndarray]
    weights: Path | None

    def out_of_fold(self, parts: Sequence[Fold]) -> np.ndarray:
        """Predict each fragment with a head that was trained without its song, float32 [n, genres]."""
        return out_of_fold(self.model, self.training, self.library, self.arrays, parts, self.weights)

    def answers(self, parts: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
        """Return label and predicted label of each song."""
        labels, probabilities = mean_of_songs(self.library, self.out_of_fold(parts))
        return labels, probabilities.argmax(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class _CrossValidation:
    """Cross-validation of one model."""

    config: Config
    model: str
    catalog: Catalog  # without the test songs
    genres: Sequence[str]
    weights: WeightsFile
    policy: Policy

    def result(self) -> Candidate:
        """Test every song once."""
        return self._stored("songs", self._by_song)

    def detailed(self, result: Candidate, say: Callable[[str], None]) -> Candidate:
        """Add the result by source, where the list has it, and the learning curve of a head that trains in seconds."""
        if not self._sources() and not find_model(self.model).train:
            return result
        try:
            return self._stored("details", lambda file: self._details(result))
        except UserError as error:  # the songs of a genre may all be of one source
            say(f"  {self.model}: no learning curve or result by {SOURCE}: {escape(str(error))}")
            return result

    def _stored(self, name: str, compute: Callable[[str], Candidate]) -> Candidate:
        """Return a stored result, or compute and store it; `compute` gets a name for the file of predictions."""
        stored = as_path(f"{self.config.root}/cross_validation/{self.model}-{self._digest()}-{name}.json")
        if not stored.exists():
            result = compute(f"{stored}l")
            write_whole(stored, json.dumps(dataclasses.asdict(result)).encode())
        return TypeAdapter(Candidate).validate_json(stored.read_bytes())

    def _digest(self) -> str:
        spec, training = find_model(self.model), self.config.head_of(self.model)
        code = source_digest("tumbao.pipeline.model_choice", spec.head.__module__)
        songs, split_by = self.catalog.songs, self.config.split_by
        groups, sources = self.catalog.groups(split_by), self.catalog.groups(SOURCE)
        content = sorted((one.song, one.genre, one.sha256, groups[one.song], sources[one.song]) for one in songs)
        settings = [dataclasses.asdict(training), self.weights.digest, self.policy, split_by, self._folds()]
        values = [code, self.model, *settings, list(self.genres), content]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]

    def _folds(self) -> int:
        return self.config.split.folds or FOLDS

    @functools.cached_property
    def _prepared(self) -> _Prepared:
        """Render the songs and compute the backbone's features."""
        model, training = find_model(self.model), self.config.head_of(self.model)
        backbone = model.backbone_for(training)
        spec = backbone.mel_spec
        library = render_library(self.catalog, self.genres, spec, song_cache(self.config.root, spec))
        songs = dict(zip(library.songs, library.labels, strict=True))
        counts = Counter(self.genres[label] for label in songs.values())
        require_genres(counts, self.genres, library.rejected, f"in {self.config.data.library}")
        cache = backbone_cache(self.config.root, backbone, self.weights, self.policy)
        folder = None if is_remote(self.config.root) else Path(self.config.root)
        arrays = features(
            library, backbone, self.weights.path, self.policy, cache=cache, copies=training.augment, folder=folder
        )
        return _Prepared(model, training, library, arrays, self.weights.path)

    def _by_song(self, file: str) -> Candidate:
        """Test every song once; the predictions go to a file."""
        library, parts = self._prepared.library, self._parts(self.config.split_by)
        probabilities = self._prepared.out_of_fold(parts)
        labels, of_songs = mean_of_songs(library, probabilities)
        predicted = of_songs.argmax(axis=1)
        write_whole(as_path(file), "".join(_lines(library, probabilities)).encode())
        return Candidate(
            model=self.model,
            songs=len(labels),
            right=int((predicted == labels).sum()),
            balanced_accuracy=float(balanced_accuracy_score(labels, predicted)),
            log_loss=log_loss(of_songs, labels),
            nearest=nearest_neighbour(library, parts),
            predictions=file,
        )

    def _details(self, result: Candidate) -> Candidate:
        by_group, sources = None, self._sources()
        if sources:
            labels, predicted = self._prepared.answers(self._parts(SOURCE))
            balanced = float(balanced_accuracy_score(labels, predicted))
            right = int((labels == predicted).sum())
            by_group = GroupResult(SOURCE, sources, len(labels), right, balanced)
        curve = tuple(self._curve(result)) if self._prepared.model.train else ()
        return dataclasses.replace(result, by_group=by_group, curve=curve)

    def _sources(self) -> int:
        """Return the number of sources; 0 if there is one, or if the folds keep sources together anyway."""
        names = set(self.catalog.groups(SOURCE).values()) - {""}
        return len(names) if len(names) > 1 and self.config.split_by.lower() != SOURCE else 0

    def _curve(self, result: Candidate) -> Iterator[tuple[int, float]]:
        """Yield the balanced accuracy by number of songs of each genre that are not tested."""
        prepared, parts = self._prepared, self._parts(self.config.split_by)
        library = prepared.library
        others = [{(library.songs[row], library.labels[row]) for row in (*fold.train, *fold.val)} for fold in parts]
        largest = max(max(Counter(label for _, label in songs).values()) for songs in others)
        for songs in takewhile(lambda songs: songs < largest, CURVE):
            smaller = [fewer_songs(fold, library, songs, prepared.training.seed) for fold in parts]
            yield songs, float(balanced_accuracy_score(*prepared.answers(smaller)))
        yield largest, result.balanced_accuracy

    def _parts(self, split_by: str) -> list[Fold]:
        """Return folds that keep songs together, and what a split by the same name does."""
        groups, seed = self.catalog.groups(split_by), self._prepared.training.seed
        return library_folds(self._prepared.library, split_by, groups, self._folds(), seed)


def _lines(library: RenderedLibrary, probabilities: np.ndarray) -> list[str]:
    """Format the predictions as SongEvaluation's."""
    return [
        json_line(
            {
                "song": song,
                "fragment": int(number),
                "label": int(label),
                "probabilities": [round(float(value), 7) for value in row],
            }
        )
        for song, number, label, row in zip(library.songs, library.numbers, library.labels, probabilities, strict=True)
    ]
