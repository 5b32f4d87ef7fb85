"""The baseline of a new model: the newest pushed model that is not the new one itself and has the same task.

A model that a rollback removed is never a baseline. Local runs resolve the baseline from ML Metadata
(`ServedOrLatestBlessedModel`); where there is no metadata store (Kubeflow Pipelines), `ServedBaseline` copies it from
the registry.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import json
import logging
from collections.abc import Iterable
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from tumbao.components import model_registry
from tumbao.components.ingest.paths import as_path
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

CANDIDATE = "candidate"
"""Input of the resolver: the model that is about to be evaluated."""


@tfx.dsl.components.component
def ServedBaseline(  # noqa: N802 - TFX names components so
    candidate: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    registry: tfx.dsl.components.Parameter[str],
    genres: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
) -> None:
    """Copy the newest pushed model that is not the candidate itself and has the same task; without one, copy nothing.

    `candidate` is the Trainer's output, `genres` and `mel_spec` are its own as JSON.
    """
    task = (json.loads(genres), dataclasses.asdict(MelSpec(**json.loads(mel_spec))))
    for version, _ in _eligible(registry, [_fingerprint(candidate)]):
        if _pushed_task(f"{registry}/{version}/{ASSETS_FOLDER}/{INFO_FILE}") == task:
            io_utils.copy_dir(f"{registry}/{version}", path_utils.serving_model_dir(model.uri))
            return


class ServedOrLatestBlessedModel(ResolverStrategy):
    """Resolve the newest pushed model, or else the latest blessed one, that is not the candidate and has its task."""

    def __init__(self, registry: str) -> None:
        self._registry = registry.rstrip("/")

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolve a model and its blessing; `input_dict` has models, blessings, and the candidate as `CANDIDATE`."""
        candidates = input_dict[CANDIDATE]
        tasks = [_trained_task(store, one) for one in candidates]
        blessings = sorted(input_dict["model_blessing"], key=lambda one: one.id)  # the latest one of a model counts
        decisions = {one.get_int_custom_property("current_model_id"): one for one in blessings}
        blessed = {number for number, one in decisions.items() if one.get_int_custom_property("blessed")}
        left_out = {one.id for one in candidates}
        models = [
            one for one in input_dict["model"] if one.id in blessed - left_out and _trained_task(store, one) in tasks
        ]
        newest = sorted(self._preferred(models, candidates), key=lambda one: one.id)[-1:]
        return {"model": newest, "model_blessing": [decisions[one.id] for one in newest], CANDIDATE: []}

    def _preferred(self, models: list[types.Artifact], candidates: list[types.Artifact]) -> list[types.Artifact]:
        """Return the newest pushed model, or else those that no rollback removed."""
        served = model_registry.served_version(self._registry)
        if not served:
            return models
        own = {one.id: _fingerprint(one) for one in (*models, *candidates)}
        if model_registry.tested_fingerprint(f"{self._registry}/{served}") not in own.values():
            logging.warning(
                "The served model, %s/%s, was not trained in this workspace, or has other genres or image parameters: "
                "new models are not compared with it.",
                self._registry,
                served,
            )
        for _, pushed in _eligible(self._registry, [own[one.id] for one in candidates]):
            if found := [one for one in models if pushed and own[one.id] == pushed]:
                return found
        removed = _removed(self._registry)
        return [one for one in models if own[one.id] not in removed]


def has_model(artifact: types.Artifact) -> bool:
    """Check whether an artefact contains a model; that of `ServedBaseline` may be empty."""
    folder = path_utils.serving_model_dir(artifact.uri)
    return bool(fileio.exists(f"{folder}/{model_registry.SAVED_MODEL_FILE}"))


def _eligible(registry: str, candidates: Iterable[str]) -> list[tuple[str, str]]:
    """Return version and evaluated model of each pushed model that may be the baseline, the newest first."""
    excluded = {*candidates, *_removed(registry)}
    versions = reversed(model_registry.versions(registry))
    found = [(version, model_registry.tested_fingerprint(f"{registry}/{version}")) for version in versions]
    return [one for one in found if one[1] not in excluded]


def _removed(registry: str) -> set[str]:
    """Return the fingerprints of models that a rollback removed, and of the evaluated ones that they were made from."""
    removed = set(model_registry.rolled_back(model_registry.read_log(registry)))
    folders = [f"{registry}/{version}" for version in model_registry.versions(registry)]
    made_from = {model_registry.fingerprint(one): model_registry.tested_fingerprint(one) for one in folders}
    return removed | {made_from[one] for one in removed if one in made_from}


def _fingerprint(model: types.Artifact) -> str:
    return model_registry.fingerprint(path_utils.serving_model_path(model.uri))


def _pushed_task(info: str) -> tuple[list[str], dict[str, object]] | None:
    """Return the genres and image parameters of a pushed model."""
    if not fileio.exists(info):
        return None
    values = json.loads(as_path(info).read_bytes())
    return values["genres"], dataclasses.asdict(MelSpec(**values["mel"]))


def _trained_task(store: Any, model: types.Artifact) -> str:
    """Return the genres and image parameters of a model as JSON, from the execution of its Trainer."""
    events = store.get_events_by_artifact_ids([model.id])
    made = [event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    for execution in store.get_executions_by_id(made):
        if "custom_config" in execution.custom_properties:
            config = json.loads(execution.custom_properties["custom_config"].string_value)
            return json.dumps([config["genres"], config["mel_spec"]], sort_keys=True)
    return ""
