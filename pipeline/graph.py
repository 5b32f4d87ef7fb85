"""The pipeline's graph of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from tumbao.components.anomaly_gate import AnomalyGate
from tumbao.components.backbone_features import BackboneFeatures
from tumbao.components.evaluator import Evaluator
from tumbao.components.export import EdgeExport
from tumbao.components.ingest.component import AudioExampleGen
from tumbao.components.mobile_check import MobileCheck
from tumbao.components.model_card.component import ModelCard
from tumbao.components.pusher import Pusher
from tumbao.components.served_baseline import CANDIDATE, ServedBaseline, ServedOrLatestBlessedModel
from tumbao.components.song_evaluation import SongEvaluation
from tumbao.components.tuner import Tuner
from tumbao.pipeline.config import Config
from tumbao.pipeline.source import source_digest
from tumbao.trainer.run import run_fn, tuner_fn

NAME = "tumbao"


def build(
    config: Config, properties: Mapping[str, Any], metadata: object = None, first: Sequence[Any] = ()
) -> tfx.dsl.Pipeline:
    """Build the pipeline, from manifests to a pushed model.

    `properties` are those of `exec_properties`, or placeholders for them if components in `first` compute them.
    `metadata` is the ConnectionConfig of a local runner.
    """
    names = ("manifests", "mel_spec", "backbone", "weights", "genres", "model_name")
    manifests, mel_spec, backbone, weights, genres, model = (properties[name] for name in names)
    data = _data(config, properties)
    songs, features = data[0], data[-1]
    *tuner, trainer = _training(config, properties, features)
    baseline = _baseline(config, properties, trainer)
    evaluator = Evaluator(
        examples=songs.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        eval_config=tfma.EvalConfig(),
    )
    evaluator.spec.exec_properties["eval_config"] = properties["gate"]
    song_evaluation = SongEvaluation(
        examples=songs.outputs["examples"],
        features=features.outputs["features"],
        model_run=trainer.outputs["model_run"],
        genres=genres,
        code=source_digest("tumbao.components.song_evaluation"),
    )
    export = EdgeExport(
        trained=trainer.outputs["model"],
        examples=songs.outputs["examples"],
        ingested=songs.outputs["ingested"],
        evaluation=evaluator.outputs["evaluation"],
        figures=song_evaluation.outputs["figures"],
        manifests=manifests,
        mel_spec=mel_spec,
        weights_source=properties["weights_source"],
        precisions=properties["precisions"],
        code=source_digest("tumbao.components.export"),
    )
    mobile_check = MobileCheck(
        model=export.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=songs.outputs["examples"],
        manifests=manifests,
        mel_spec=mel_spec,
        backbone=backbone,
        weights=weights,
        code=source_digest("tumbao.components.mobile_check"),
    )
    card = ModelCard(
        examples=songs.outputs["examples"],
        ingested=songs.outputs["ingested"],
        rejected=songs.outputs["rejected"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        blessing=evaluator.outputs["blessing"],
        figures=song_evaluation.outputs["figures"],
        model=export.outputs["model"],
        report=mobile_check.outputs["report"],
        infra_blessing=mobile_check.outputs["blessing"],
        manifests=manifests,
        network=model,
        code=source_digest("tumbao.components.model_card.component"),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=f"{config.root}/pipeline",
        components=[
            *first,
            *data,
            *tuner,
            trainer,
            baseline,
            evaluator,
            song_evaluation,
            export,
            mobile_check,
            card,
            *_delivery(config, properties, evaluator, export, mobile_check, card),
        ],
        enable_cache=config.runner.cache,
        metadata_connection_config=metadata,
        beam_pipeline_args=list(config.runner.beam_args),
    )


def _data(config: Config, properties: Mapping[str, Any]) -> list[Any]:
    """Return the components from manifests to features, in order."""
    songs = AudioExampleGen(
        manifests=properties["manifests"],
        mel_spec=properties["mel_spec"],
        cache=properties["songs"],
        code=source_digest("tumbao.components.ingest.component"),
    )
    statistics = tfx.components.StatisticsGen(examples=songs.outputs["examples"])
    schema = tfx.components.ImportSchemaGen(schema_file=properties["schema"])
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    data_gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    features = BackboneFeatures(
        examples=songs.outputs["examples"],
        backbone=properties["backbone"],
        weights=properties["weights"],
        augment=config.head.augment,
        policy=properties["policy"],
        code=source_digest("tumbao.components.backbone_features"),
    )
    features.add_upstream_node(data_gate)
    return [songs, statistics, schema, validator, data_gate, features]


def _training(config: Config, properties: Mapping[str, Any], features: Any) -> list[Any]:
    """Return the Tuner, if there is a search, and the Trainer."""
    splits = {
        "train_args": tfx.proto.TrainArgs(splits=["train"]),
        "eval_args": tfx.proto.EvalArgs(splits=["val"]),
    }
    tuner = None
    if config.model.tune:
        entry = f"{tuner_fn.__module__}.{tuner_fn.__qualname__}"
        tuner = Tuner(tuner_fn=entry, examples=features.outputs["features"], **splits)
        tuner.spec.exec_properties["custom_config"] = properties["tuner"]
    cloud = tfx.extensions.google_cloud_ai_platform
    trainer = (cloud.Trainer if config.runner.vertex_training else tfx.components.Trainer)(
        run_fn=f"{run_fn.__module__}.{run_fn.__qualname__}",
        examples=features.outputs["features"],
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        **splits,
    )
    trainer.spec.exec_properties["custom_config"] = properties["trainer"]
    return [tuner, trainer] if tuner else [trainer]


def _delivery(
    config: Config, properties: Mapping[str, Any], evaluator: Any, export: Any, mobile_check: Any, card: Any
) -> list[Any]:
    """Return the components that receive a blessed model."""
    blessed = {
        "model": export.outputs["model"],
        "model_blessing": evaluator.outputs["blessing"],
        "infra_blessing": mobile_check.outputs["blessing"],
    }
    pusher = Pusher(
        **blessed,
        evaluation=evaluator.outputs["evaluation"],
        agreement=mobile_check.outputs["report"],
        card=card.outputs["card"],
        registry=config.push_to,
        name=properties["model_name"],
        served=properties["served_version"],
    )
    return [pusher, _endpoint(config, blessed)] if config.registry.endpoint else [pusher]


def _endpoint(config: Config, blessed: Mapping[str, Any]) -> Any:
    """Deploy a blessed model to an endpoint of Vertex AI."""
    cloud = tfx.extensions.google_cloud_ai_platform
    return cloud.Pusher(
        **blessed,
        custom_config={
            cloud.ENABLE_VERTEX_KEY: True,
            cloud.VERTEX_REGION_KEY: config.runner.region,
            cloud.VERTEX_CONTAINER_IMAGE_URI_KEY: config.registry.serving_image,
            cloud.SERVING_ARGS_KEY: config.registry.endpoint,
        },
    ).with_id("EndpointPusher")


def _baseline(config: Config, properties: Mapping[str, Any], trainer: Any) -> Any:
    if config.runner.name != "local":  # no metadata of former runs to query
        return ServedBaseline(
            candidate=trainer.outputs["model"],
            registry=config.push_to,
            genres=properties["genres"],
            mel_spec=properties["mel_spec"],
        ).with_id("Baseline")
    artifacts = tfx.types.standard_artifacts
    return tfx.dsl.Resolver(
        strategy_class=ServedOrLatestBlessedModel,
        config={"registry": config.push_to},
        model=tfx.dsl.Channel(type=artifacts.Model, producer_component_id=trainer.id),
        model_blessing=tfx.dsl.Channel(type=artifacts.ModelBlessing),
        **{CANDIDATE: trainer.outputs["model"]},
    ).with_id("Baseline")
