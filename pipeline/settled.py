"""Execution properties of the components: the run's settings as strings.

A local run computes them before its graph is built. In the cloud, `RunSettings`, the graph's first component, computes
them once the library and the parameters of the submission are known: the graph is the same, with the outputs of that
component in place of the strings.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from google.protobuf import json_format

from tumbao.components.evaluation.eval_config import eval_config
from tumbao.components.model_registry import served_version
from tumbao.pipeline.cache_paths import song_cache
from tumbao.pipeline.config import PipelineConfig
from tumbao.pipeline.source import source_digest
from tumbao.trainer.models.registry import find_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settled:
    """Execution properties of the components, all strings; in the cloud, placeholders for strings.

    - `network`: name of the model.
    - `genres`: JSON list, in the order of the labels.
    - `manifests`, `schema`: folder written by `library.write_manifests`, and the file of the records' schema in it.
    - `mel_spec`: JSON of `MelSpec`.
    - `songs`: folder of rendered songs.
    - `backbone`: a name in `BACKBONES`.
    - `weights`, `weights_source`: file of its weights, empty for random weights or a backbone without weights; and
      their digest, or `random`.
    - `policy`: Keras' dtype policy of the backbone.
    - `precisions`: of the TFLite files, separated by spaces.
    - `gate`: JSON of TFMA's EvalConfig.
    - `learning`, `searching`: JSON of the custom configuration of Trainer and Tuner.
    - `standing`: the version that is served from the push place when the run begins.
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
    """Convert settings to strings, which are the same for equal settings and equal source."""
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
    if config.vertex_training:  # keys defined by TFX
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
        standing=served_version(config.push_to),
    )
