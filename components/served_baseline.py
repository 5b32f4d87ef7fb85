"""StandingModel: the model that is served now, as the baseline of a new one.

Used where no metadata store provides the latest blessed model (Kubeflow Pipelines). The registry is used instead:
its models were blessed, and after a rollback the served one is the intended baseline.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import json

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from tumbao.components import model_registry, registry_log
from tumbao.components.ingest.paths import as_path
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE


@tfx.dsl.components.component
def StandingModel(  # noqa: N802 - TFX names components so
    candidate: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    place: tfx.dsl.components.Parameter[str],
    genres: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
) -> None:
    """Copy the newest pushed model that is not the candidate itself and has the same task.

    Parameters
    ----------
    candidate : Model
        Output of the Trainer, about to be evaluated.
    model : Model
        Output: the served model; empty if there is none.
    place : str
        Folder of the registry.
    genres : str
        The candidate's genres as JSON.
    mel_spec : str
        Parameters of the candidate's mel images as JSON.
    """
    itself = model_registry.fingerprint(path_utils.serving_model_path(candidate.uri))
    away = registry_log.withdrawn(registry_log.read(place))
    task = (json.loads(genres), dataclasses.asdict(MelSpec(**json.loads(mel_spec))))
    for version in reversed(model_registry.versions(place)):
        pushed = f"{place}/{version}"
        if (
            model_registry.fingerprint(pushed) not in {itself, *away}
            and _task(f"{pushed}/{ASSETS_FOLDER}/{INFO_FILE}") == task
        ):
            io_utils.copy_dir(pushed, path_utils.serving_model_dir(model.uri))
            return


def has_model(artifact: types.Artifact) -> bool:
    """Check whether an artefact contains a model.

    Parameters
    ----------
    artifact : Model
        Of `StandingModel`, for example.

    Returns
    -------
    there : bool
        False for an empty one.
    """
    folder = path_utils.serving_model_dir(artifact.uri)
    return bool(fileio.exists(f"{folder}/{model_registry.SAVED_MODEL_FILE}"))


def _task(info: str) -> tuple[list[str], dict[str, object]] | None:
    if not fileio.exists(info):
        return None
    told = json.loads(as_path(info).read_bytes())
    return told["genres"], dataclasses.asdict(MelSpec(**told["mel"]))
