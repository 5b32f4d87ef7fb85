"""Selection of the baseline model that a new one is compared with."""

from __future__ import annotations

import json
import logging
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.utils import path_utils

from tumbao.components import registry_log
from tumbao.components.model_registry import fingerprint, standing

CANDIDATE = "candidate"
"""Input of the resolver: the model that is about to be evaluated."""


class LatestOtherBlessedModel(tfx.dsl.experimental.LatestBlessedModelStrategy):
    """Resolve the model that is served, or else the latest other blessed one with the same task.

    With TFX's own strategy, a second, identical run would use its own model as a new baseline, evaluate it again and
    push it again; a model of other genres, or of images with other parameters, would be compared although it cannot
    classify these; and a model that a rollback withdrew would still be the baseline.

    Parameters
    ----------
    place : str
        Folder of the registry.
    """

    def __init__(self, place: str) -> None:
        self._place = place.rstrip("/")

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolve the baseline.

        Parameters
        ----------
        store : MetadataStore
            The metadata.
        input_dict : dict
            Models and blessings as for TFX's own strategy, and the candidate under `CANDIDATE`.

        Returns
        -------
        resolved : dict or None
            A blessed model that is not the candidate, and its blessing: the model that is served, else the latest that
            no rollback withdrew. None if there is no such model.
        """
        others = dict(input_dict)
        candidates = others.pop(CANDIDATE)
        left_out = {artifact.id for artifact in candidates}
        tasks = [_task(store, artifact) for artifact in candidates]
        others = {key: [one for one in artifacts if one.id not in left_out] for key, artifacts in others.items()}
        judged = sorted(others["model_blessing"], key=lambda one: one.id)  # the latest verdict on a model counts
        others["model_blessing"] = list(
            {one.get_int_custom_property("current_model_id"): one for one in judged}.values()
        )
        others["model"] = self._eligible([one for one in others["model"] if _task(store, one) in tasks], candidates)
        resolved = super().resolve_artifacts(store, others)
        return {**resolved, CANDIDATE: []} if resolved is not None else None

    def _eligible(self, models: list[types.Artifact], candidates: list[types.Artifact]) -> list[types.Artifact]:
        """Return the served model, or else those that were not withdrawn."""
        version = standing(self._place)
        if not version:
            return models
        own = {one.id: fingerprint(path_utils.serving_model_path(one.uri)) for one in (*models, *candidates)}
        stands = fingerprint(f"{self._place}/{version}")
        away = registry_log.withdrawn(registry_log.read(self._place))
        left = [one for one in models if own[one.id] not in away]
        found = [one for one in models if own[one.id] and own[one.id] == stands]
        if stands not in own.values():
            logging.warning(
                "The model that stands, %s/%s, was not made in this workspace, or for other genres or images: new ones "
                "are not compared with it.",
                self._place,
                version,
            )
        return found or left


def _task(store: Any, model: types.Artifact) -> str:
    """Return the genres and image parameters of a model as JSON, from the execution of its Trainer."""
    events = store.get_events_by_artifact_ids([model.id])
    made = [event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    for execution in store.get_executions_by_id(made):
        if "custom_config" in execution.custom_properties:
            config = json.loads(execution.custom_properties["custom_config"].string_value)
            return json.dumps([config["genres"], config["mel_spec"]], sort_keys=True)
    return ""
