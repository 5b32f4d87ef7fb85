"""ModelCard: what a model is, is for, can do and came from, written from the artefacts of its run for whoever gets it.

It reads nothing but the artefacts and the manifests that it is given, through TFX's file systems: no store of metadata.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from tumbao import progress
from tumbao.components.gate import ACCURACY, LOSS, OVERALL, read_figures
from tumbao.components.ingest.component import IngestedSongs, RejectedSongs
from tumbao.components.mobile_check import AgreementReport
from tumbao.components.model_card.data import Card
from tumbao.components.model_card.provenance import Source, content, fine_tuned, versions
from tumbao.components.model_card.render import HTML_FILE, MARKDOWN_FILE, to_html, to_markdown
from tumbao.components.song_evaluation import SongFigures, read_song_metrics
from tumbao.schema.record import SPLITS
from tumbao.serving.model_info import ARCHITECTURE_FILE, ASSETS_FOLDER, INFO_FILE, ModelInfo
from tumbao.trainer.peers.registry import peer
from tumbao.trainer.run import HISTORY_FILE


class ModelCardPages(types.Artifact):
    """`model_card.html` and `model_card.md`: two forms of one text."""

    TYPE_NAME = "tumbao.ModelCardPages"


@tfx.dsl.components.component
def ModelCard(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    ingested: tfx.dsl.components.InputArtifact[IngestedSongs],
    rejected: tfx.dsl.components.InputArtifact[RejectedSongs],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    figures: tfx.dsl.components.InputArtifact[SongFigures],
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    report: tfx.dsl.components.InputArtifact[AgreementReport],
    infra_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    card: tfx.dsl.components.OutputArtifact[ModelCardPages],
    manifests: tfx.dsl.components.Parameter[str],
    network: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Write the card of a model, whether or not it may be pushed.

    Parameters
    ----------
    examples : Examples
        Records with mel images; hashed, not read.
    ingested : IngestedSongs
        What was trained on.
    rejected : RejectedSongs
        What was refused.
    model_run : ModelRun
        The Trainer's, with the history.
    evaluation : ModelEvaluation
        The Evaluator's figures.
    blessing : ModelBlessing
        The Evaluator's decision.
    figures : SongFigures
        SongEvaluation's.
    model : Model
        Output of EdgeExport.
    report : AgreementReport
        MobileCheck's figures and answers.
    infra_blessing : InfraBlessing
        MobileCheck's decision.
    card : ModelCardPages
        Written.
    manifests : str
        Folder of `catalog.write_manifests`.
    network : str
        A name of `PEERS`.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.

    Raises
    ------
    ValueError
        If the artefacts are not of one run.
    """
    serving = path_utils.serving_model_path(model.uri)
    inputs = {
        "examples": examples,
        "ingested songs": ingested,
        "rejected files": rejected,
        "training run": model_run,
        "evaluation": evaluation,
        "evaluator’s blessing": blessing,
        "song figures": figures,
        "exported model": model,
        "agreement report": report,
        "mobile check’s blessing": infra_blessing,
    }
    progress.start("hash", len(inputs))
    accuracy, loss = (read_figures(evaluation.uri, metric)[OVERALL].value for metric in (ACCURACY, LOSS))
    found = Card(
        info=_info(f"{serving}/{ASSETS_FOLDER}"),
        peer=peer(network),
        fine_tuned=fine_tuned(_read(f"{serving}/{ASSETS_FOLDER}/{ARCHITECTURE_FILE}")),
        catalog=json.loads(_read(f"{manifests}/catalog.json")),
        ingested=_lines(f"{ingested.uri}/ingested.jsonl"),
        rejected=_lines(f"{rejected.uri}/rejected.jsonl"),
        artists=_artists(manifests),
        tested=_lines(f"{report.uri}/predictions.jsonl"),
        judged=_lines(f"{figures.uri}/predictions.jsonl"),
        songs=read_song_metrics(figures.uri),
        accuracy=accuracy,
        loss=loss,
        history=json.loads(_read(f"{model_run.uri}/{HISTORY_FILE}")),
        artefacts=json.loads(_read(f"{report.uri}/agreement.json")),
        blessed=fileio.exists(f"{blessing.uri}/BLESSED"),
        infra_blessed=fileio.exists(f"{infra_blessing.uri}/INFRA_BLESSED"),
        sources=tuple(_source(role, one, serving if one is model else one.uri) for role, one in inputs.items()),
        versions=versions(),
    )
    text = to_markdown(found)
    fileio.makedirs(card.uri)
    _write(f"{card.uri}/{MARKDOWN_FILE}", text)
    _write(f"{card.uri}/{HTML_FILE}", to_html(found))


def _info(assets: str) -> ModelInfo:
    with tempfile.TemporaryDirectory(prefix="tumbao-card-") as scratch:
        Path(scratch, INFO_FILE).write_text(_read(f"{assets}/{INFO_FILE}"), encoding="utf-8")
        return ModelInfo.read(Path(scratch))


def _artists(manifests: str) -> dict[str, str]:
    tables = (csv.DictReader(io.StringIO(_read(f"{manifests}/{split}.csv"), newline="")) for split in SPLITS)
    return {row["song"]: row["artist"] for table in tables for row in table}


def _source(role: str, artifact: types.Artifact, folder: str) -> Source:
    """Name an artefact as ML Metadata does; of a cloud's long name, which tells whose project it is, the end."""
    number = f"{artifact.id}" if artifact.id else ""
    found = Source(role, artifact.type_name, artifact.name.rpartition("/")[2] or number, content(folder))
    progress.advance("hash")
    return found


def _lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read(path).split("\n") if line]


def _read(path: str) -> str:
    with fileio.open(path, "rb") as file:
        return file.read().decode()


def _write(path: str, text: str) -> None:
    with fileio.open(path, "wb") as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))
