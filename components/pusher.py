"""Pusher: push a blessed model once, as the newest version of the registry, and log the decision."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
import shlex
from typing import Any

from absl import logging
from tfx import types
from tfx import v1 as tfx
from tfx.components.util import model_utils
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from tumbao.components.evaluation.run_data import MobileCheck
from tumbao.components.evaluator import gate_failure, push_summary
from tumbao.components.ingest.paths import as_path
from tumbao.components.mobile_check import AgreementReport, pushed_assets, read_variants
from tumbao.components.model_card.component import ModelCardPages
from tumbao.components.model_registry import (
    PUSHED,
    REFUSED,
    Event,
    fingerprint,
    log_event,
    publish,
    read_log,
    rolled_back,
    served_version,
)
from tumbao.components.song_gate import SongDecision, read_decision
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

REASON = "reason"
"""Custom property of the pushed model: why a model that passed every check was not pushed; absent otherwise."""


class ReportPage(types.Artifact):
    """The file `report.html`, which needs no other file."""

    TYPE_NAME = "tumbao.ReportPage"


@tfx.dsl.components.component
def Pusher(  # noqa: N802 - TFX names components so
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    infra_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    decision: tfx.dsl.components.InputArtifact[SongDecision],
    agreement: tfx.dsl.components.InputArtifact[AgreementReport],
    card: tfx.dsl.components.InputArtifact[ModelCardPages],
    report: tfx.dsl.components.InputArtifact[ReportPage],
    pushed_model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.PushedModel],
    registry: tfx.dsl.components.Parameter[str],
    name: tfx.dsl.components.Parameter[str],
    served: tfx.dsl.components.Parameter[str],
) -> None:
    """Push the model if it is blessed, not already served and not removed by a rollback.

    Unlike TFX's own Pusher, this one keeps a log (see `model_registry`), numbers versions so that the newest is always
    the highest, and copies the model once.

    Parameters
    ----------
    model : Model
        Output of EdgeExport.
    model_blessing : ModelBlessing
        Decision of the Evaluator and SongGate.
    infra_blessing : InfraBlessing
        Decision of MobileCheck.
    evaluation : ModelEvaluation
        Metrics of the Evaluator, for the log.
    decision : SongDecision
        Decision of SongGate and its reasons, for the log.
    agreement : AgreementReport
        Output of MobileCheck, for the log, with the files to push if a precision was left out.
    card : ModelCardPages
        Output of ModelCard; its files are pushed with the model.
    report : ReportPage
        Output of Report; its file is pushed with the model.
    pushed_model : PushedModel
        Output: its folder stays empty, its property `pushed_destination` is the path of the model.
    registry : str
        Folder of the registry, also in a bucket.
    name : str
        Name of the model, for the log.
    served : str
        Version that is served when the run begins, see `served_version`. Not read: it is part of TFX's
        cache key, so that the component runs again after another push or a rollback.
    """
    registry, saved_model = registry.rstrip("/"), path_utils.serving_model_path(model.uri)
    before, own, info = served_version(registry), fingerprint(saved_model), _info(saved_model)

    def log(what: str, why: str, version: str = "") -> None:
        accuracy = info["metrics"]["test_accuracy"]
        about = {"replaces": before, "fingerprint": own, "model": name, "accuracy": accuracy}
        log_event(registry, Event(what=what, version=version, why=why, **about))

    pushed_model.set_int_custom_property("pushed", 0)
    rollback = rolled_back(read_log(registry)).get(own)
    if not model_utils.is_model_blessed(model_blessing):
        reasons = filter(None, (gate_failure(evaluation.uri), read_decision(decision.uri).reasons))
        log(REFUSED, f"not blessed: {'; '.join(reasons)}")
    elif not model_utils.is_infra_validated(infra_blessing):
        failures = " ".join(MobileCheck(False, read_variants(agreement.uri)).failures) or "It reported no reason."
        log(REFUSED, f"vetoed by the mobile check: {failures}")
    elif before and _is_same(own, info, f"{registry}/{before}"):
        logging.info("The model is already served from %s/%s and is not pushed again.", registry, before)
        pushed_model.set_string_custom_property("pushed_destination", f"{registry}/{before}")
    elif rollback:
        pushed_model.set_string_custom_property(REASON, _removed(rollback, registry))
        log(REFUSED, _removed(rollback, registry))
    else:
        undecided = read_decision(decision.uri).reasons
        why = f"undecided: {undecided}" if undecided else push_summary(evaluation.uri)
        pages = [f"{folder}/{file}" for folder in (card.uri, report.uri) for file in sorted(fileio.listdir(folder))]
        kept = pushed_assets(agreement.uri)
        version = publish(saved_model, registry, pages, kept if fileio.exists(kept) else "")
        log(PUSHED, why, version)
        pushed_model.set_int_custom_property("pushed", 1)
        pushed_model.set_string_custom_property("pushed_destination", f"{registry}/{version}")
        pushed_model.set_string_custom_property("pushed_version", version)


def _removed(rollback: Event, registry: str) -> str:
    return (
        f"a rollback at {rollback.time} by {rollback.who} ({rollback.why}) removed this model; "
        f"`tumbao rollback --push-to {shlex.quote(registry)} --to {rollback.replaces}` serves it again"
    )


def _is_same(own: str, info: dict[str, Any], other: str) -> bool:
    """Tell whether another folder holds the same trained model, exported by the same code."""
    return own == fingerprint(other) and info["versions"] == _info(other)["versions"]


def _info(model: str) -> dict[str, Any]:
    return json.loads(as_path(f"{model}/{ASSETS_FOLDER}/{INFO_FILE}").read_bytes())
