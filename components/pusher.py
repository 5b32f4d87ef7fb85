"""Pusher: push a blessed model once, as the newest version of the registry, and log the decision."""

from __future__ import annotations

import json
import shlex
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import executor
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tumbao.components import registry_log
from tumbao.components.ingest.paths import as_path
from tumbao.components.mobile_check import AgreementReport
from tumbao.components.model_card.component import ModelCardPages
from tumbao.components.model_registry import fingerprint, stand, standing
from tumbao.components.push_summary import check_failure, gate_failure, merit
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

REASON = "reason"
"""Custom property of the pushed model: why a model that passed every check was not pushed; absent otherwise."""


class Executor(executor.Executor):
    """Push a model, or log why it is not pushed."""

    def Do(  # noqa: N802 - TFX names it so
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Push the model if it is blessed, not already served and not withdrawn by a rollback.

        Parameters
        ----------
        input_dict : dict of str to list of Artifact
            `model`, `model_blessing`, `infra_blessing`, `evaluation`, `agreement` and optionally `card`.
        output_dict : dict of str to list of Artifact
            `pushed_model`: its folder stays empty, its property `pushed_destination` is the path of the model.
        exec_properties : dict of str to Any
            `place` and `name`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        place, pushed = exec_properties["place"].rstrip("/"), output_dict["pushed_model"][0]
        model, before = self.GetModelPath(input_dict), standing(place)
        own, info = fingerprint(model), _info(model)
        about = {
            "replaces": before,
            "fingerprint": own,
            "model": exec_properties["name"],
            "accuracy": info["metrics"]["test_accuracy"],
        }
        self._MarkNotPushed(pushed)
        if why_not := _objection(input_dict):
            registry_log.append(place, registry_log.Event(what=registry_log.REFUSED, version="", why=why_not, **about))
        elif before and _same(own, info, f"{place}/{before}"):
            logging.info("The model stands at %s/%s already and is not pushed again.", place, before)
            pushed.set_string_custom_property("pushed_destination", f"{place}/{before}")
        elif own in (away := registry_log.withdrawn(registry_log.read(place))):
            why_not = _withdrawn(away[own], place)
            pushed.set_string_custom_property(REASON, why_not)
            registry_log.append(place, registry_log.Event(what=registry_log.REFUSED, version="", why=why_not, **about))
        else:
            why = merit(input_dict["evaluation"][0].uri)
            version = stand(model, place, _files(input_dict.get("card", [])))
            registry_log.append(place, registry_log.Event(what=registry_log.PUSHED, version=version, why=why, **about))
            self._MarkPushed(pushed, pushed_destination=f"{place}/{version}", pushed_version=version)


def _objection(inputs: dict[str, list[types.Artifact]]) -> str:
    """Return why a check did not bless the model; empty if all did."""
    if not model_utils.is_model_blessed(artifact_utils.get_single_instance(inputs["model_blessing"])):
        return gate_failure(inputs["evaluation"][0].uri)
    if not model_utils.is_infra_validated(artifact_utils.get_single_instance(inputs["infra_blessing"])):
        return check_failure(inputs["agreement"][0].uri)
    return ""


def _withdrawn(rollback: registry_log.Event, place: str) -> str:
    return (
        f"this very model was withdrawn at {rollback.time} by {rollback.who} ({rollback.why}); "
        f"`tumbao rollback --push-to {shlex.quote(place)} --to {rollback.replaces}` brings it back"
    )


def _same(own: str, info: dict[str, Any], other: str) -> bool:
    """Return whether another folder holds the same trained model, exported by the same code."""
    return own == fingerprint(other) and info["versions"] == _info(other)["versions"]


def _info(model: str) -> dict[str, Any]:
    return json.loads(as_path(f"{model}/{ASSETS_FOLDER}/{INFO_FILE}").read_bytes())


def _files(folders: list[types.Artifact]) -> list[str]:
    return [f"{one.uri}/{name}" for one in folders for name in sorted(fileio.listdir(one.uri))]


class PusherSpec(component_spec.ComponentSpec):
    """Interface of `Pusher`."""

    PARAMETERS = {  # noqa: RUF012 - TFX reads the class attribute
        "place": component_spec.ExecutionParameter(type=str),
        "name": component_spec.ExecutionParameter(type=str),
        "standing": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012 - TFX reads the class attribute
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "agreement": component_spec.ChannelParameter(type=AgreementReport),
        "card": component_spec.ChannelParameter(type=ModelCardPages, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012 - TFX reads the class attribute
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Copies a blessed model to the registry as its newest version.

    Unlike TFX's own, it does not push a model that is already served or that a rollback withdrew, keeps a log (see
    `registry_log`), numbers versions so that the newest is always the highest, and copies the model once.

    Parameters
    ----------
    model : Channel
        Output of EdgeExport.
    model_blessing : Channel
        Decision of the Evaluator.
    infra_blessing : Channel
        Decision of MobileCheck.
    evaluation : Channel
        Metrics of the Evaluator, for the log's reason.
    agreement : Channel
        MobileCheck's report, for the log's reason.
    place : str
        Folder of the registry, also in a bucket.
    name : str
        Name of the model, for the log.
    standing : str
        Version that is served when the run begins, see `model_registry.standing`. Not read: it is part of TFX's cache
        key, so that the component runs again after another push or a rollback.
    card : Channel, optional
        Output of ModelCard, whose files are pushed with the model.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        agreement: types.BaseChannel,
        place: str,
        name: str,
        standing: str,
        card: types.BaseChannel | None = None,
    ) -> None:
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            evaluation=evaluation,
            agreement=agreement,
            card=card,
            place=place,
            name=name,
            standing=standing,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)
