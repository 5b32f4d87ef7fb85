"""What components are told: the run's settings, brought to the strings that their execution properties are.

A local run settles before its graph is built. In the cloud `RunSettings`, the graph's first component, does it, when
the library and the parameters of the submission are known: the graph is the same, with that component's outputs in the
place of these strings.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from google.protobuf import json_format

from tumbao.components.evaluation.eval_config import eval_config
from tumbao.components.model_registry import standing
from tumbao.pipeline.cache_paths import song_cache
from tumbao.pipeline.config import PipelineConfig
from tumbao.pipeline.source import source_digest
from tumbao.trainer.models.registry import find_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settled:
    """A string for each thing that components are told; in the cloud a placeholder for it.

    Parameters
    ----------
    network : str
        Name of the model.
    genres : str
        The genres, in the order of the labels, as JSON.
    manifests : str
        Folder of `catalog.write_manifests`.
    schema : str
        The records' schema, a file in it.
    mel_spec : str
        How images are drawn, as JSON of `MelSpec`.
    songs : str
        Folder where drawn songs are kept.
    backbone : str
        A name of `BACKBONES`.
    weights : str
        File of its weights; empty for random ones, or where it has none.
    weights_source : str
        Their digest, or `random`.
    policy : str
        Keras' dtype policy for the backbone.
    precisions : str
        In which the TFLite files come, with spaces between.
    gate : str
        TFMA's EvalConfig as JSON.
    learning : str
        What the Trainer is told, as JSON.
    searching : str
        What the Tuner is told, as JSON.
    standing : str
        The version that stands at the push place as the run begins.
    """

    network: str
    genres: str
    manifests: str
    schema: str
    mel_spec: str
    songs: str
    backbone: str
    weights: str
    weights_source: str
    policy: str
    precisions: str
    gate: str
    learning: str
    searching: str
    standing: str


def settle(config: PipelineConfig) -> Settled:
    """Bring settings to strings.

    Parameters
    ----------
    config : PipelineConfig
        The run's settings.

    Returns
    -------
    settled : Settled
        The same for equal settings and equal source.
    """
    model = find_model(config.model)
    spec = dataclasses.asdict(config.mel_spec)
    thresholds = eval_config(
        config.genres,
        min_accuracy=config.min_accuracy,
        min_recall=config.min_recall,
        max_accuracy_drop=config.max_accuracy_drop,
    )
    learning = {
        "genres": list(config.genres),
        "model": config.model,
        "training": dataclasses.asdict(config.training),
        "weights": config.weights,
    }
    trained: dict[str, Any] = {"resume": config.resume, "mel_spec": spec, "code": source_digest("tumbao.trainer.run")}
    if config.vertex_training:  # TFX's names
        trained |= {
            "ai_platform_enable_vertex": True,
            "ai_platform_vertex_region": config.region,
            "ai_platform_training_args": dict(config.vertex_training),
        }
    searched = {
        "code": source_digest("tumbao.trainer.tune"),
        "summary": source_digest("tumbao.components.tuner"),
        "trials": config.tune,
        "searches": f"{config.workspace}/searches",
    }
    return Settled(
        network=config.model,
        genres=json.dumps(config.genres),
        manifests=config.manifests,
        schema=f"{config.manifests}/schema.pbtxt",
        mel_spec=json.dumps(spec),
        songs=song_cache(config.workspace, config.mel_spec),
        backbone=model.backbone_for(config.training).name,
        weights=config.weights,
        weights_source=config.weights_digest or "random",
        policy=config.policy,
        precisions=" ".join(model.precisions),
        gate=json_format.MessageToJson(thresholds, preserving_proto_field_name=True, sort_keys=True),
        learning=json.dumps({**learning, **trained}),
        searching=json.dumps({**learning, **searched}),
        standing=standing(config.push_to),
    )
