"""The pipeline's graph of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx

from tumbao.components.anomaly_gate import AnomalyGate
from tumbao.components.backbone_features import BackboneFeatures
from tumbao.components.evaluator import Evaluator
from tumbao.components.export import EdgeExport
from tumbao.components.final_model import FinalModel
from tumbao.components.ingest.component import AudioExampleGen
from tumbao.components.mobile_check import MobileCheck
from tumbao.components.model_card.component import ModelCard
from tumbao.components.pusher import Pusher
from tumbao.components.served_baseline import CANDIDATE, ServedBaseline, ServedOrLatestBlessedModel
from tumbao.components.song_evaluation import SongEvaluation
from tumbao.components.song_gate import SongGate
from tumbao.components.tuner import Tuner
from tumbao.pipeline.config import Config
from tumbao.pipeline.report import SOURCES, Report
from tumbao.pipeline.source import source_digest
from tumbao.trainer.run import run_fn, tuner_fn

NAME = "tumbao"


def build(
    config: Config, properties: Mapping[str, Any], metadata: object = None, first: Sequence[Any] = ()
) -> tfx.dsl.Pipeline:
    """Build the pipeline; `properties` are placeholders if components in `first` compute them."""
    manifests, mel_spec, genres = (properties[name] for name in ("manifests", "mel_spec", "genres"))
    data = _data(config, properties)
    songs, features = data[0], data[-1]
    training = _training(config, properties, features)
    trainer = training[-1]
    baseline = _baseline(config, properties, trainer)
    evaluator = Evaluator(
        examples=songs.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        eval_config=config_pb2.EvalConfig(),
    )
    evaluator.spec.exec_properties["eval_config"] = properties["gate"]
    song_evaluation = SongEvaluation(
        features=features.outputs["features"],
        model_run=trainer.outputs["model_run"],
        genres=genres,
        cross_validation=properties["cross_validation"],
        code=source_digest("tumbao.components.song_evaluation"),
    )
    song_gate = SongGate(
        examples=songs.outputs["examples"],
        figures=song_evaluation.outputs["figures"],
        evaluator_blessing=evaluator.outputs["blessing"],
        baseline=baseline.outputs["model"],
        genres=genres,
        gate=properties["song_gate"],
        cross_validation=properties["cross_validation"],
        code=source_digest("tumbao.components.song_gate"),
    )
    final = FinalModel(
        features=features.outputs["features"],
        model_run=trainer.outputs["model_run"],
        figures=song_evaluation.outputs["figures"],
        trainer=properties["trainer"],
        code=source_digest("tumbao.components.final_model"),
    )
    judged = [song_evaluation, song_gate, final]
    export = EdgeExport(
        trained=final.outputs["model"],
        examples=songs.outputs["examples"],
        ingested=songs.outputs["ingested"],
        figures=song_evaluation.outputs["figures"],
        tested=trainer.outputs["model"],
        final_figures=final.outputs["final_figures"],
        decision=song_gate.outputs["decision"],
        manifests=manifests,
        mel_spec=mel_spec,
        weights_source=properties["weights_source"],
        precisions=properties["precisions"],
        code=source_digest("tumbao.components.export"),
    )
    mobile_check = MobileCheck(
        model=export.outputs["model"],
        figures=final.outputs["final_figures"],
        examples=songs.outputs["examples"],
        manifests=manifests,
        mel_spec=mel_spec,
        policy=properties["policy"],
        code=source_digest("tumbao.components.mobile_check"),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=f"{config.root}/pipeline",
        components=[
            *first,
            *data,
            *training,
            baseline,
            evaluator,
            *judged,
            export,
            mobile_check,
            *_delivery(config, properties, [songs, *training, evaluator, *judged, export, mobile_check]),
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
        cache=properties["backbone_outputs"],
        code=source_digest("tumbao.components.backbone_features"),
    )
    features.add_upstream_node(data_gate)
    return [songs, statistics, schema, validator, data_gate, features]


def _training(config: Config, properties: Mapping[str, Any], features: Any) -> list[Any]:
    """Return the Tuner, if there is a search, and the Trainer."""
    train, val = tfx.proto.TrainArgs(splits=["train"]), tfx.proto.EvalArgs(splits=["val"])
    splits = {"train_args": train, "eval_args": val}
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


def _delivery(config: Config, properties: Mapping[str, Any], components: Sequence[Any]) -> list[Any]:
    """Return the components that describe a model and receive it if it is blessed."""
    outputs = {one.id: one.outputs for one in components}
    sources = {name: outputs[component][key] for name, (component, key) in SOURCES.items() if component in outputs}
    model = outputs["EdgeExport"]["model"]
    checked = sources["infra_blessing"]
    described = ("examples", "ingested", "rejected", "model_run", "evaluation", "blessing", "decision", "figures")
    card = ModelCard(
        **{name: sources[name] for name in described},
        model=model,
        report=sources["agreement"],
        infra_blessing=checked,
        manifests=properties["manifests"],
        network=properties["model_name"],
        code=source_digest("tumbao.components.model_card.component"),
    )
    report = Report(
        **sources,
        manifests=properties["manifests"],
        mel_spec=properties["mel_spec"],
        run=properties["run"],
        code=source_digest("tumbao.pipeline.graph"),
    )
    blessed = {"model": model, "model_blessing": sources["blessing"], "infra_blessing": checked}
    pusher = Pusher(
        **blessed,
        evaluation=sources["evaluation"],
        decision=sources["decision"],
        agreement=sources["agreement"],
        card=card.outputs["card"],
        report=report.outputs["page"],
        registry=config.push_to,
        name=properties["model_name"],
        served=properties["served_version"],
    )
    return [card, report, pusher, *([_endpoint(config, blessed)] if config.registry.endpoint else [])]


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
