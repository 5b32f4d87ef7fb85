"""ModelCard: description, intended use, metrics and provenance of a model, from the artefacts of its run.

It reads only the artefacts and manifests that it receives, through TFX's file systems, and no metadata store.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
from pathlib import Path
from typing import cast

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation.run_data import MobileCheck
from tumbao.components.evaluator import ACCURACY, LOSS, OVERALL, read_figures
from tumbao.components.ingest import progress
from tumbao.components.ingest.component import IngestedSongs, RejectedSongs
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.tables import json_lines, split_rows
from tumbao.components.mobile_check import AgreementReport, read_variants
from tumbao.components.model_card import card as pages
from tumbao.components.song_evaluation import PREDICTIONS_FILE, SongFigures, read_song_metrics
from tumbao.components.song_gate import SongDecision, read_decision
from tumbao.schema.record import SPLITS
from tumbao.serving.model_info import ARCHITECTURE_FILE, ASSETS_FOLDER, ModelInfo
from tumbao.trainer.fit import HISTORY_FILE
from tumbao.trainer.models.registry import find_model


class ModelCardPages(types.Artifact):
    """The files `model_card.html` and `model_card.md`: two forms of one text."""

    TYPE_NAME = "tumbao.ModelCardPages"


@tfx.dsl.components.component
def ModelCard(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    ingested: tfx.dsl.components.InputArtifact[IngestedSongs],
    rejected: tfx.dsl.components.InputArtifact[RejectedSongs],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    decision: tfx.dsl.components.InputArtifact[SongDecision],
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
        Songs of the training data.
    rejected : RejectedSongs
        Files that were rejected.
    model_run : ModelRun
        Output of the Trainer, with the history.
    evaluation : ModelEvaluation
        Metrics of the Evaluator.
    blessing : ModelBlessing
        Decision of the Evaluator and SongGate.
    decision : SongDecision
        Decision of SongGate and its reasons.
    figures : SongFigures
        Output of SongEvaluation.
    model : Model
        Output of EdgeExport.
    report : AgreementReport
        Figures of MobileCheck.
    infra_blessing : InfraBlessing
        Decision of MobileCheck.
    card : ModelCardPages
        Output: the card.
    manifests : str
        Folder of `library.write_manifests`.
    network : str
        A key of `MODELS`.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    """
    serving = path_utils.serving_model_path(model.uri)
    inputs = {
        "examples": examples,
        "ingested songs": ingested,
        "rejected files": rejected,
        "training run": model_run,
        "evaluation": evaluation,
        "blessing": blessing,
        "decision": decision,
        "song figures": figures,
        "exported model": model,
        "agreement report": report,
        "mobile check’s blessing": infra_blessing,
    }
    progress.start("hash", len(inputs))
    accuracy, loss = (read_figures(evaluation.uri, metric)[OVERALL].value for metric in (ACCURACY, LOSS))
    found = pages.Card(
        info=ModelInfo.read(cast(Path, as_path(f"{serving}/{ASSETS_FOLDER}"))),
        model_spec=find_model(network),
        fine_tuned=pages.fine_tuned(as_path(f"{serving}/{ASSETS_FOLDER}/{ARCHITECTURE_FILE}").read_text("utf-8")),
        catalog=json.loads(as_path(f"{manifests}/catalog.json").read_bytes()),
        ingested=json_lines(f"{ingested.uri}/ingested.jsonl"),
        rejected=json_lines(f"{rejected.uri}/rejected.jsonl"),
        artists={row["song"]: row["artist"] for split in SPLITS for row in split_rows(split, manifests)},
        predictions=json_lines(f"{figures.uri}/{PREDICTIONS_FILE}"),
        songs=read_song_metrics(figures.uri),
        decision=read_decision(decision.uri),
        accuracy=accuracy,
        loss=loss,
        history=json.loads(as_path(f"{model_run.uri}/{HISTORY_FILE}").read_bytes()),
        mobile_check=MobileCheck(fileio.exists(f"{infra_blessing.uri}/INFRA_BLESSED"), read_variants(report.uri)),
        blessed=fileio.exists(f"{blessing.uri}/BLESSED"),
        sources=tuple(_source(role, one, serving if one is model else one.uri) for role, one in inputs.items()),
        versions=pages.versions(),
    )
    for name, text in ((pages.MARKDOWN_FILE, pages.to_markdown(found)), (pages.HTML_FILE, pages.to_html(found))):
        io_utils.write_bytes_file(f"{card.uri}/{name}", text.encode("utf-8", errors="backslashreplace"))


def _source(role: str, artifact: types.Artifact, folder: str) -> pages.Source:
    """Name an artefact as ML Metadata does; of a cloud's long name, which contains the project, use only the end."""
    identity = artifact.name.rpartition("/")[2] or f"{artifact.id or ''}"
    found = pages.Source(role, artifact.type_name, identity, *pages.content(folder))
    progress.advance("hash")
    return found
