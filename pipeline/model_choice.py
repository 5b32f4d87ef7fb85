"""Choice of a model for `--model auto` or a list: cross-validation over the songs that are not test songs."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sklearn.metrics import balanced_accuracy_score

from tumbao.analysis.compare.features import features
from tumbao.components.evaluation.run_data import Candidate
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import Catalog
from tumbao.components.ingest.paths import AnyPath, as_path
from tumbao.components.ingest.rendered_library import render_library
from tumbao.components.ingest.tags import artist_key
from tumbao.pipeline.config import Config
from tumbao.pipeline.source import song_cache, source_digest
from tumbao.serving.calibration import log_loss
from tumbao.trainer.cross_validation import mean_of_songs, out_of_fold, whole_song_folds
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import WeightsFile

FOLDS = 5


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
    tested = dataclasses.replace(catalog, songs=tuple(one for one in catalog.songs if one.song not in test_songs))
    found = []
    for name, file in weights.items():
        by_artist = config.split_by == "artist"
        one = _evaluate(find_model(name), config.head_of(name), tested, genres, config.root, file, policy, by_artist)
        say(
            f"  {name}: {one.right} of {one.songs} songs, balanced accuracy {one.balanced_accuracy:.1%}, "
            f"log-loss {one.log_loss:.2f}"
        )
        found.append(one)
    return tuple(sorted(found, key=lambda one: (-one.right, one.log_loss)))


def _evaluate(
    model: ModelSpec,
    training: Training,
    catalog: Catalog,
    genres: Sequence[str],
    root: str,
    weights: WeightsFile,
    policy: Policy,
    by_artist: bool,
) -> Candidate:
    backbone = model.backbone_for(training)
    code = source_digest("tumbao.pipeline.model_choice", model.head.__module__)
    content = sorted((song.song, song.genre, song.sha256) for song in catalog.songs)
    values = [code, model.name, dataclasses.asdict(training), weights.digest, policy, list(genres), by_artist, content]
    stored = as_path(f"{root}/model_choice/{model.name}-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]}")
    if stored.exists():
        return Candidate(**json.loads(stored.read_bytes()))
    library = render_library(catalog, genres, backbone.mel_spec, song_cache(root, backbone.mel_spec))
    with tempfile.TemporaryDirectory(prefix="tumbao-features-") as folder:
        arrays = [
            features(library, backbone, weights.path, policy, Path(folder), code=code, copy=copy)[0]
            for copy in range(1 + training.augment)
        ]
        keys = {song: (by_artist and artist_key(artist)) or song for song, artist in library.artists.items()}
        folds = whole_song_folds(library, FOLDS, training.seed, [keys[song] for song in library.songs])
        probabilities = out_of_fold(model, training, library, arrays, folds, weights.path)
    labels, of_songs = mean_of_songs(library, probabilities)
    predicted = of_songs.argmax(axis=1)
    candidate = Candidate(
        model=model.name,
        songs=len(labels),
        right=int((predicted == labels).sum()),
        balanced_accuracy=float(balanced_accuracy_score(labels, predicted)),
        log_loss=log_loss(of_songs, labels),
    )
    write_whole(stored, json.dumps(dataclasses.asdict(candidate)).encode())
    return candidate
