"""The graph: which component runs on what."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tfx import v1 as tfx

from tumbao.components.baseline import CANDIDATE, LatestOtherBlessedModel
from tumbao.components.data_gate import AnomalyGate
from tumbao.components.export import EdgeExport
from tumbao.components.features.component import BackboneFeatures
from tumbao.components.gate import eval_config
from tumbao.components.ingest.component import AudioExampleGen
from tumbao.components.mobile_check import MobileCheck
from tumbao.components.song_evaluation import SongEvaluation
from tumbao.components.tuner import Tuner
from tumbao.pipeline.config import PipelineConfig
from tumbao.pipeline.song_folder import song_cache
from tumbao.pipeline.source import source_digest
from tumbao.trainer.peers.registry import peer
from tumbao.trainer.run import run_fn
from tumbao.trainer.tune import tuner_fn

NAME = "tumbao"


def build(config: PipelineConfig, metadata: object = None) -> tfx.dsl.Pipeline:
    """Build the pipeline.

    Parameters
    ----------
    config : PipelineConfig
        The run's settings.
    metadata : ConnectionConfig or None
        Where a local runner keeps its metadata.

    Returns
    -------
    pipeline : tfx.dsl.Pipeline
        From manifests to a pushed model.
    """
    artifacts = tfx.types.standard_artifacts
    model = peer(config.model)
    trunk = model.trunk_for(config.training)
    mel_spec = json.dumps(dataclasses.asdict(config.mel_spec))
    songs = AudioExampleGen(
        manifests=config.manifests,
        mel_spec=config.mel_spec,
        cache=song_cache(config.workspace, config.mel_spec),
        code=source_digest("tumbao.components.ingest.executor"),
    )
    statistics = tfx.components.StatisticsGen(examples=songs.outputs["examples"])
    schema = tfx.components.ImportSchemaGen(schema_file=f"{config.manifests}/schema.pbtxt")
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    data_gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    features = BackboneFeatures(
        examples=songs.outputs["examples"],
        trunk=trunk.name,
        weights=config.weights,
        augment=config.training.augment,
        policy=config.policy,
        code=source_digest("tumbao.components.features.component"),
    )
    features.add_upstream_node(data_gate)
    learning = {
        "genres": list(config.genres),
        "model": config.model,
        "training": dataclasses.asdict(config.training),
        "weights": config.weights,
    }
    tuner = _tuner(config, learning, features.outputs["features"]) if config.tune else None
    trainer = tfx.components.Trainer(
        run_fn=f"{run_fn.__module__}.{run_fn.__qualname__}",
        examples=features.outputs["features"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["val"]),
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config={
            **learning,
            "resume": config.resume,
            "mel_spec": dataclasses.asdict(config.mel_spec),
            "code": source_digest("tumbao.trainer.run"),
        },
    )
    baseline = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedModel,
        model=tfx.dsl.Channel(type=artifacts.Model, producer_component_id=trainer.id),
        model_blessing=tfx.dsl.Channel(type=artifacts.ModelBlessing),
        **{CANDIDATE: trainer.outputs["model"]},
    ).with_id("Baseline")
    evaluator = tfx.components.Evaluator(
        examples=songs.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(
            config.genres,
            min_accuracy=config.min_accuracy,
            min_recall=config.min_recall,
            max_accuracy_drop=config.max_accuracy_drop,
        ),
    )
    song_evaluation = SongEvaluation(
        examples=songs.outputs["examples"],
        features=features.outputs["features"],
        model_run=trainer.outputs["model_run"],
        genres=json.dumps(config.genres),
        code=source_digest("tumbao.components.song_evaluation"),
    )
    export = EdgeExport(
        trained=trainer.outputs["model"],
        examples=songs.outputs["examples"],
        ingested=songs.outputs["ingested"],
        evaluation=evaluator.outputs["evaluation"],
        figures=song_evaluation.outputs["figures"],
        manifests=config.manifests,
        mel_spec=mel_spec,
        weights_source=config.weights_digest or "random",
        precisions=" ".join(model.precisions),
        code=source_digest("tumbao.components.export"),
    )
    mobile_check = MobileCheck(
        model=export.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=songs.outputs["examples"],
        manifests=config.manifests,
        mel_spec=mel_spec,
        trunk=trunk.name,
        weights=config.weights,
        code=source_digest("tumbao.components.mobile_check"),
    )
    pusher = tfx.components.Pusher(
        model=export.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=mobile_check.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=config.push_to)
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=f"{config.workspace}/pipeline",
        components=[
            songs,
            statistics,
            schema,
            validator,
            data_gate,
            features,
            *([tuner] if tuner else []),
            trainer,
            baseline,
            evaluator,
            song_evaluation,
            export,
            mobile_check,
            pusher,
        ],
        enable_cache=config.cache,
        metadata_connection_config=metadata,
        beam_pipeline_args=list(config.beam_args),
    )


def _tuner(config: PipelineConfig, learning: Mapping[str, Any], features: tfx.dsl.Channel) -> Tuner:
    return Tuner(
        tuner_fn=f"{tuner_fn.__module__}.{tuner_fn.__qualname__}",
        examples=features,
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["val"]),
        custom_config={
            **learning,
            "code": source_digest("tumbao.trainer.tune"),
            "summary": source_digest("tumbao.components.tuner"),
            "trials": config.tune,
            "searches": f"{config.workspace}/searches",
        },
    )
