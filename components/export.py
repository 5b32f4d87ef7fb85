"""EdgeExport: the trained SavedModel with all files for devices in its `assets.extra/`."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import datetime
import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation.metrics import Evaluation
from tumbao.components.evaluation.run_data import count_by_split
from tumbao.components.final_model import FinalFigures, TrainedOn, read_rule, read_trained_on
from tumbao.components.ingest import progress
from tumbao.components.ingest.component import IngestedSongs
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import spread
from tumbao.components.ingest.tables import json_lines
from tumbao.components.model_registry import TESTED_MODEL, fingerprint
from tumbao.components.song_evaluation import PREDICTIONS_FILE, SongFigures, read_song_metrics
from tumbao.components.song_gate import SongDecision, read_decision
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.serving.model_info import (
    ARCHITECTURE_FILE,
    ASSETS_FOLDER,
    AUDIO_FILE,
    CLASSIFIER_FILES,
    EDGE_FOLDER,
    FRONTEND_FILE,
    INFO_FILE,
    LABELS_FILE,
    ONNX_FILE,
    ModelFile,
    ModelInfo,
    Split,
    TrainingData,
    preferred,
)
from tumbao.serving.model_server import write_warmup
from tumbao.serving.onnx_export import with_metadata
from tumbao.serving.parity_vectors import write_vectors
from tumbao.serving.tflite import convert, join_audio
from tumbao.serving.tflite_file import embed

CALIBRATION_IMAGES = 10
"""Images that calibrate the full-integer model: they decide only the range of each tensor, of which each image has at
least 40,000 values."""


@tfx.dsl.components.component
def EdgeExport(  # noqa: N802 - TFX names components so
    trained: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    ingested: tfx.dsl.components.InputArtifact[IngestedSongs],
    figures: tfx.dsl.components.InputArtifact[SongFigures],
    tested: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    final_figures: tfx.dsl.components.InputArtifact[FinalFigures],
    decision: tfx.dsl.components.InputArtifact[SongDecision],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    weights_source: tfx.dsl.components.Parameter[str],
    precisions: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Convert the model to TFLite and ONNX, and write its description.

    Parameters
    ----------
    trained : Model
        SavedModel of FinalModel.
    examples : Examples
        Records with mel images; those of the training split calibrate the full-integer model.
    ingested : IngestedSongs
        Songs of the training data.
    figures : SongFigures
        Output of SongEvaluation, with the calibration and the predictions for the metrics.
    tested : Model
        Output of the Trainer, which the Evaluator judged; only its fingerprint is read.
    final_figures : FinalFigures
        Output of FinalModel, with the threshold of the distance.
    decision : SongDecision
        Output of SongGate.
    model : Model
        Output: the SavedModel with `assets.extra/`.
    manifests : str
        Folder of `library.write_manifests`.
    mel_spec : str
        Parameters of the mel images as JSON.
    weights_source : str
        Digest of the backbone's weights, `random`, or `none` for a backbone without weights.
    precisions : str
        Keys of `CLASSIFIER_FILES`, separated by spaces.
    code : str
        Hash of the source this depends on.
    """
    spec = MelSpec(**json.loads(mel_spec))
    target = path_utils.serving_model_dir(model.uri)
    io_utils.copy_dir(path_utils.serving_model_path(trained.uri), target)
    genres = json.loads(as_path(f"{manifests}/catalog.json").read_bytes())["genres"]
    images = spread(f"{artifact_utils.get_split_uri([examples], 'train')}/*.gz", CALIBRATION_IMAGES, len(genres))
    wanted = precisions.split()
    progress.start("convert", len(images) * ("int8" in wanted) + len(wanted) + 4)
    with tempfile.TemporaryDirectory(prefix="tumbao-edge-") as scratch:
        assets = Path(scratch)
        convert(target, assets, images, spec, lambda: progress.advance("convert"), wanted)
        versions = {package: metadata.version(package) for package in ("tumbao", "tensorflow", "keras")}
        versions |= {"code_digest": code, "backbone_weights": weights_source}
        versions[TESTED_MODEL] = fingerprint(path_utils.serving_model_path(tested.uri))
        trained_on = read_trained_on(final_figures.uri)
        info = dataclasses.replace(
            _describe(spec, manifests, f"{ingested.uri}/ingested.jsonl", figures.uri, versions, trained_on),
            calibration=read_song_metrics(figures.uri).calibration,
            out_of_distribution=read_rule(final_figures.uri),
            decision=read_decision(decision.uri).outcome,
        )
        dataclasses.replace(info, files=_embed(assets, info, wanted)).write(assets)
        write_vectors(assets, spec, info.genres)
        fileio.copy(f"{target}/{ASSETS_FOLDER}/{ARCHITECTURE_FILE}", str(assets / ARCHITECTURE_FILE))
        io_utils.copy_dir(str(assets), f"{target}/{ASSETS_FOLDER}")
    write_warmup(target, spec)
    progress.advance("convert")


def _describe(
    spec: MelSpec, manifests: str, ingested: str, figures: str, versions: dict[str, str], trained_on: TrainedOn
) -> ModelInfo:
    library = json.loads(as_path(f"{manifests}/catalog.json").read_bytes())
    counts = count_by_split(json_lines(ingested), library["genres"]).values()
    tested = Evaluation.of_test_split(library["genres"], json_lines(f"{figures}/{PREDICTIONS_FILE}"))
    return ModelInfo(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        genres=tuple(library["genres"]),
        mel=spec,
        training_data=TrainingData(
            synthetic=library["synthetic"],
            library=library["library"],
            catalog_digest=Path(manifests).name,
            songs={split: sum(one[split].songs for one in counts) for split in SPLITS},
            fragments={split: sum(one[split].fragments for one in counts) for split in SPLITS},
            composed_songs=trained_on.composed_songs,
            composed_weight=trained_on.composed_weight,
        ),
        split=Split(library["protocol"], library["leaky"], library["seed"]),
        metrics={"test_accuracy": tested.accuracy, "test_loss": tested.loss},
        files={},
        versions=versions,
        fitted_on=tuple(trained_on.splits),
    )


def _embed(assets: Path, info: ModelInfo, precisions: Sequence[str]) -> dict[str, ModelFile]:
    """Embed labels and parameters in every file of the model, with a model.json whose list of files is still empty."""
    info.write(assets)
    files = {
        "frontend": (FRONTEND_FILE, "float32"),
        **{precision: (CLASSIFIER_FILES[precision], precision) for precision in precisions},
        "audio": (AUDIO_FILE, preferred(precisions)),
        "onnx": (ONNX_FILE, "float32"),
    }
    return {key: _embed_one(assets, name, precision) for key, (name, precision) in files.items()}


def _embed_one(assets: Path, name: str, precision: str) -> ModelFile:
    """Embed the labels and model.json of a folder in one of its files."""
    texts = {text: (assets / text).read_text(encoding="utf-8") for text in (LABELS_FILE, INFO_FILE)}
    content = (with_metadata if name == ONNX_FILE else embed)((assets / name).read_bytes(), texts)
    (assets / name).write_bytes(content)
    return ModelFile(name, len(content), hashlib.sha256(content).hexdigest(), precision)


def drop_files(assets: Path, refused: Collection[str]) -> None:
    """Remove classifiers of some precisions or the ONNX file from a folder of exported files; the others stay.

    If the audio file has a classifier that is removed, it is joined again with the preferred one of the rest.

    Parameters
    ----------
    assets : Path
        Folder `assets.extra` of an exported model; it is changed.
    refused : collection of str
        Keys of `ModelInfo.files`: "onnx", and precisions, not all of those in the folder.
    """
    info = ModelInfo.read(assets)
    for key in refused:
        (assets / info.files[key].name).unlink()
    files = {key: file for key, file in info.files.items() if key not in refused}
    if files["audio"].precision in refused:
        precision = preferred(files)
        dataclasses.replace(info, files={}).write(assets)
        join_audio(assets, precision)
        files["audio"] = _embed_one(assets, AUDIO_FILE, precision)
    shutil.rmtree(assets / EDGE_FOLDER)
    write_vectors(assets, info.mel, info.genres)
    dataclasses.replace(info, files=files).write(assets)
