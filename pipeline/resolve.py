"""What a run finds out before its graph is carried out: the songs, their split, and the backbone's weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from rich.markup import escape

from tumbao.components.evaluation.eval_config import eval_config
from tumbao.components.ingest.library import Catalog, scan, write_manifests
from tumbao.components.ingest.paths import RemotePath, as_path
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.subgenres import scan_subgenres
from tumbao.components.model_registry import served_version
from tumbao.pipeline.cache_paths import song_cache
from tumbao.pipeline.config import Config
from tumbao.pipeline.source import source_digest
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.vgg16 import preferred_policy
from tumbao.trainer.weights import WeightsFile

PROPERTIES = (
    *(
        "model_name",
        "genres",
        "manifests",
        "schema",
        "mel_spec",
        "songs",
        "backbone",
        "weights",
        "weights_source",
        "policy",
    ),
    *("precisions", "gate", "trainer", "tuner", "served_version"),
)
"""Names of `exec_properties`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration with all that depends on the library, the machine and earlier runs.

    - `genres`: in the order of the labels, with sub-genres.
    - `manifests`: folder written by `write_manifests`.
    - `weights_file`: address of the backbone's weights; empty for random weights or a backbone without weights.
    - `policy`: Keras' dtype policy of the backbone, and `policy_reason` a sentence on its choice.
    - `resume`: file of the head to start training from; empty for new initial weights.
    """

    config: Config
    catalog: Catalog
    genres: tuple[str, ...]
    manifests: str
    mel_spec: MelSpec
    weights: WeightsFile
    weights_file: str
    policy: str
    policy_reason: str = ""
    resume: str = ""


def resolve(
    config: Config,
    say: Callable[[str], None],
    cache: ScanCache | None = None,
    growing: frozenset[str] = frozenset(),
) -> Resolved:
    """Scan and split the songs, write the manifests, and find the weights.

    `say` is called with lines in rich's markup. `cache` holds the results of earlier scans for unchanged files, and
    `growing` the paths of files that are still being written, which are left out. An unusable library, unusable weights
    or a missing bucket raise a `ValueError`.
    """
    for folder in map(as_path, (config.root, config.push_to)):
        if isinstance(folder, RemotePath):
            folder.require_bucket()
    model = find_model(config.model.name)
    backbone = model.backbone_for(config.head)
    policy: str
    policy, reason = preferred_policy()
    if config.model.precision != "auto":
        policy = config.model.precision
        reason = f"The backbone computes in {policy}, as the configuration says."
    say(f"Model: {model.name}, {model.summary}")
    say(reason)
    weights = backbone.ensure_weights(config.model.weights or None)
    say(f"Weights: {escape(weights.source)}")
    spec = backbone.mel_spec
    catalog, genres = _scan(config, spec, cache, growing)
    manifests = write_manifests(
        catalog,
        as_path(f"{config.root}/catalogs"),
        genres=genres,
        split_by=config.protocol,
        seed=config.split.seed,
        spec=spec,
        split_strategy=config.method,
    )
    say(f"{catalog.found} songs found, {len(catalog.rejected)} of them unreadable or too short")
    for line in (*catalog.notes, *(merged.description for merged in catalog.merged)):
        say(escape(line))
    return Resolved(
        config=config,
        catalog=catalog,
        genres=genres,
        manifests=str(manifests),
        mel_spec=spec,
        weights=weights,
        weights_file=str(weights.path.absolute()) if weights.path else "",
        policy=policy,
        policy_reason=reason,
    )


def _scan(
    config: Config, spec: MelSpec, cache: ScanCache | None, growing: frozenset[str] = frozenset()
) -> tuple[Catalog, tuple[str, ...]]:
    data = config.data
    arguments = (as_path(data.library), data.genres, spec, data.layout)
    if not data.subgenres:
        return scan(*arguments, scan_cache=cache, unfinished=growing), data.genres
    return scan_subgenres(*arguments, min_songs=data.min_songs, scan_cache=cache, unfinished=growing)


def exec_properties(resolved: Resolved) -> dict[str, str]:
    """Return the execution properties of the components, the same for equal settings and equal source.

    - `model_name`; `genres`: a JSON list; `mel_spec`: JSON of `MelSpec`.
    - `manifests`, `schema`: the folder of manifests, and the file of the records' schema in it.
    - `songs`: folder of rendered songs.
    - `backbone`: a name in `BACKBONES`; `policy`: its dtype policy.
    - `weights`, `weights_source`: the file of its weights, and their digest, or `random`.
    - `precisions`: of the TFLite files, separated by spaces.
    - `gate`: JSON of TFMA's EvalConfig.
    - `trainer`, `tuner`: JSON of the custom configuration of Trainer and Tuner.
    - `served_version`: the version that is served from the model registry when the run starts.
    """
    config, training = resolved.config, resolved.config.head
    model = find_model(config.model.name)
    spec = dataclasses.asdict(resolved.mel_spec)
    gate = eval_config(resolved.genres, **config.gate.model_dump())
    trained = {
        "genres": list(resolved.genres),
        "model": model.name,
        "training": dataclasses.asdict(training),
        "weights": resolved.weights_file,
    }
    trainer: dict[str, Any] = {"resume": resolved.resume, "mel_spec": spec, "code": source_digest("tumbao.trainer.run")}
    if config.runner.vertex_training:  # keys defined by TFX
        trainer |= {
            "ai_platform_enable_vertex": True,
            "ai_platform_vertex_region": config.runner.region,
            "ai_platform_training_args": config.runner.vertex_training,
        }
    tuner = {
        "code": source_digest("tumbao.trainer.run"),
        "summary": source_digest("tumbao.components.tuner"),
        "trials": config.model.tune,
        "searches": f"{config.root}/searches",
    }
    return {
        "model_name": model.name,
        "genres": json.dumps(resolved.genres),
        "manifests": resolved.manifests,
        "schema": f"{resolved.manifests}/schema.pbtxt",
        "mel_spec": json.dumps(spec),
        "songs": song_cache(config.root, resolved.mel_spec),
        "backbone": model.backbone_for(training).name,
        "weights": resolved.weights_file,
        "weights_source": resolved.weights.digest or "random",
        "policy": resolved.policy,
        "precisions": " ".join(model.precisions),
        "gate": json_format.MessageToJson(gate, preserving_proto_field_name=True, sort_keys=True),
        "trainer": json.dumps({**trained, **trainer}),
        "tuner": json.dumps({**trained, **tuner}),
        "served_version": served_version(config.push_to),
    }
