"""Cross-validation of the models of a run over the songs that are not test songs, and the choice between several."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from rich.markup import escape
from sklearn.metrics import balanced_accuracy_score

from tumbao.analysis.compare.features import features
from tumbao.components.evaluation.metrics import prediction
from tumbao.components.evaluation.run_data import Candidate, GroupResult
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import Catalog, require_genres
from tumbao.components.ingest.paths import AnyPath, as_path, is_remote
from tumbao.components.ingest.rendered_library import RenderedLibrary, render_library
from tumbao.components.ingest.tables import json_line, table_rows
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
    test_songs = {row["song"] for row in table_rows(str(manifests / "test.csv"))}
    rest = dataclasses.replace(catalog, songs=tuple(one for one in catalog.songs if one.song not in test_songs))
    found = {}
    for name, file in weights.items():
        one = _CrossValidation(config, find_model(name), config.head_of(name), rest, genres, file, policy)
        found[one] = result = one.result()
        say(
            f"  {name}: {result.right} of {result.songs} songs, balanced accuracy {result.balanced_accuracy:.1%}, "
            f"log-loss {result.log_loss:.2f}"
        )
    best, *others = sorted(found, key=lambda one: (-found[one].right, found[one].log_loss))
    return (best.detailed(found[best], say), *(found[one] for one in others))


@dataclasses.dataclass(frozen=True, eq=False)
class _CrossValidation:
    """Cross-validation of one model."""

    config: Config
    model: ModelSpec
    training: Training
    catalog: Catalog  # without the test songs
    genres: Sequence[str]
    weights: WeightsFile
    policy: Policy

    def result(self) -> Candidate:
        """Test every song once."""
        return self._stored("songs", self._by_song)

    def detailed(self, result: Candidate, say: Callable[[str], None]) -> Candidate:
        """Add the result by source, where the list has it, and the learning curve of a head that trains in seconds."""
        if not self._sources() and not self.model.train:
            return result
        try:
            return self._stored("details", lambda: self._details(result))
        except UserError as error:  # the songs of a genre may all be of one source
            say(f"  {self.model.name}: no learning curve or result by {SOURCE}: {escape(str(error))}")
            return result

    def _stored(self, name: str, compute: Callable[[], Candidate]) -> Candidate:
        stored = self._file(f"{name}.json")
        if not stored.exists():
            write_whole(stored, json.dumps(dataclasses.asdict(compute())).encode())
        return TypeAdapter(Candidate).validate_json(stored.read_bytes())

    def _file(self, name: str) -> AnyPath:
        """Return the path of a result, which contains a digest of all that the results depend on."""
        code = source_digest("tumbao.pipeline.model_choice", self.model.head.__module__)
        songs, split_by = self.catalog.songs, self.config.split_by
        groups, sources = self.catalog.groups(split_by), self.catalog.groups(SOURCE)
        content = sorted((one.song, one.genre, one.sha256, groups[one.song], sources[one.song]) for one in songs)
        settings = [dataclasses.asdict(self.training), self.weights.digest, self.policy, split_by, self._folds()]
        values = [code, self.model.name, *settings, list(self.genres), content]
        digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
        return as_path(f"{self.config.root}/cross_validation/{self.model.name}-{digest}-{name}")

    def _folds(self) -> int:
        return self.config.split.folds or FOLDS

    @functools.cached_property
    def _library(self) -> RenderedLibrary:
        spec = self.model.backbone_for(self.training).mel_spec
        library = render_library(self.catalog, self.genres, spec, song_cache(self.config.root, spec))
        counts = Counter(self.genres[label] for _, label in {*zip(library.songs, library.labels, strict=True)})
        require_genres(counts, self.genres, library.rejected, f"in {self.config.data.library}")
        return library

    @functools.cached_property
    def _features(self) -> Sequence[np.ndarray]:
        backbone, root = self.model.backbone_for(self.training), self.config.root
        cache = backbone_cache(root, backbone, self.weights, self.policy)
        return features(
            self._library,
            backbone,
            self.weights.path,
            self.policy,
            cache=cache,
            copies=self.training.augment,
            folder=None if is_remote(root) else Path(root),
        )

    def _out_of_fold(self, parts: Sequence[Fold]) -> np.ndarray:
        """Predict each fragment with a head that was trained without its song, float32 [n, genres]."""
        return out_of_fold(self.model, self.training, self._library, self._features, parts, self.weights.path)

    def _answers(self, parts: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
        """Return label and predicted label of each song."""
        labels, probabilities = mean_of_songs(self._library, self._out_of_fold(parts))
        return labels, probabilities.argmax(axis=1)

    def _by_song(self) -> Candidate:
        """Test every song once; the predictions go to a file."""
        library, parts = self._library, self._parts(self.config.split_by)
        fragments = self._out_of_fold(parts)
        labels, probabilities = mean_of_songs(library, fragments)
        predicted = probabilities.argmax(axis=1)
        file = self._file("songs.jsonl")
        rows = zip(library.songs, library.numbers, library.labels, fragments, strict=True)
        lines = (json_line(prediction(*fragment, probabilities=row)) for *fragment, row in rows)
        write_whole(file, "".join(lines).encode())
        return Candidate(
            model=self.model.name,
            songs=len(labels),
            right=int((predicted == labels).sum()),
            balanced_accuracy=float(balanced_accuracy_score(labels, predicted)),
            log_loss=log_loss(probabilities, labels),
            nearest=nearest_neighbour(library, parts),
            predictions=str(file),
        )

    def _details(self, result: Candidate) -> Candidate:
        by_group, sources = None, self._sources()
        if sources:
            labels, predicted = self._answers(self._parts(SOURCE))
            balanced = float(balanced_accuracy_score(labels, predicted))
            right = int((labels == predicted).sum())
            by_group = GroupResult(SOURCE, sources, len(labels), right, balanced)
        curve = tuple(self._curve(result)) if self.model.train else ()
        return dataclasses.replace(result, by_group=by_group, curve=curve)

    def _sources(self) -> int:
        """Return the number of sources; 0 if there is one, or if the folds keep sources together anyway."""
        names = set(self.catalog.groups(SOURCE).values()) - {""}
        return len(names) if len(names) > 1 and self.config.split_by.lower() != SOURCE else 0

    def _curve(self, result: Candidate) -> Iterator[tuple[int, float]]:
        """Yield the balanced accuracy by number of songs of each genre that are not tested."""
        library, parts = self._library, self._parts(self.config.split_by)
        others = [{(library.songs[row], library.labels[row]) for row in (*fold.train, *fold.val)} for fold in parts]
        largest = max(max(Counter(label for _, label in songs).values()) for songs in others)
        for songs in takewhile(lambda songs: songs < largest, CURVE):
            smaller = [fewer_songs(fold, library, songs, self.training.seed) for fold in parts]
            yield songs, float(balanced_accuracy_score(*self._answers(smaller)))
        yield largest, result.balanced_accuracy

    def _parts(self, split_by: str) -> list[Fold]:
        """Return folds that keep songs together, and what a split by the same name does."""
        groups = self.catalog.groups(split_by)
        return library_folds(self._library, split_by, groups, self._folds(), self.training.seed)
