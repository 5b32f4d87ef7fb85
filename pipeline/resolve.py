"""Scan of the library and settings of the components, which depend on it, on the machine and on earlier runs.

In the cloud the component `RunSettings` does this as the first node of the graph. A local run does it before the graph
is built: any other setting would give that node new outputs, and the cache keys of all later nodes contain them, so
that `--epochs` would decode every song again.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import collections
import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from google.protobuf import json_format
from rich.markup import escape
from rich.text import Text
from tfx import v1 as tfx

from tumbao.components.evaluation.run_data import Candidate
from tumbao.components.evaluator import eval_config
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import CATALOGS, FIXED, Catalog, require_usable, scan, write_manifests
from tumbao.components.ingest.paths import AnyPath, RemotePath, as_path
from tumbao.components.ingest.rendered_library import decoded_catalog
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.splits import GIVEN, group_keys
from tumbao.components.ingest.subgenres import scan_subgenres
from tumbao.components.ingest.tables import table_rows
from tumbao.components.model_registry import served_version
from tumbao.pipeline.config import LOCAL_RUNNER, Config, parse, require_split_by
from tumbao.pipeline.model_choice import choose_model, folds
from tumbao.pipeline.source import SCAN_CACHE, backbone_cache, scan_cache, song_cache, source_digest
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.models.registry import AUTO, find_model
from tumbao.trainer.vgg16 import Policy, preferred_policy
from tumbao.trainer.weights import WeightsFile


class Properties(TypedDict):
    """Execution properties of the components, the same for equal settings and equal source."""

    model_name: str
    genres: str  # JSON list
    manifests: str  # folder of `write_manifests`
    schema: str  # file of the records' schema
    mel_spec: str  # JSON of `MelSpec`
    songs: str  # folder of rendered songs
    backbone: str  # name in `BACKBONES`
    weights: str  # file of the backbone's weights; empty for random ones or none
    weights_source: str  # digest of the weights, `random`, or `none` for a backbone without weights
    policy: str  # Keras' dtype policy of the backbone
    backbone_outputs: str  # folder of its outputs; empty if they are not stored
    precisions: str  # of the TFLite files, separated by spaces
    gate: str  # JSON of TFMA's EvalConfig
    song_gate: str  # JSON of the settings of SongGate
    cross_validation: str  # file of the predictions of cross-validation; empty without one
    trainer: str  # JSON of the Trainer's custom configuration
    tuner: str  # JSON of the Tuner's custom configuration
    served_version: str  # in the model registry when the run starts
    run: str  # JSON of settings and environment, for the report


PROPERTIES = tuple(Properties.__annotations__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration with all that depends on the library, the machine and earlier runs."""

    config: Config
    catalog: Catalog
    genres: tuple[str, ...]  # in the order of the labels, with sub-genres
    manifests: str  # folder of `write_manifests`
    mel_spec: MelSpec
    weights: WeightsFile
    weights_file: str  # address; empty for random weights or none
    policy: Policy  # Keras' dtype policy of the backbone
    policy_reason: str = ""
    candidates: tuple[Candidate, ...] = ()  # results of cross-validation, the best first, whose model is trained
    resume: str = ""  # file of the head to start training from; empty for new initial weights


def resolve(
    config: Config,
    say: Callable[[str], None],
    cache: ScanCache | None = None,
    growing: frozenset[str] = frozenset(),
    resume: Callable[[Resolved], str] | None = None,
) -> Resolved:
    """Scan and split the songs except those in `growing`, write the manifests, find the weights and choose the model.

    `resume` finds the head to resume from, before cross-validation, which takes time.
    """
    for folder in map(as_path, (config.root, config.push_to)):
        if isinstance(folder, RemotePath):
            folder.require_bucket()
    policy, reason = preferred_policy()
    if config.model.precision != "auto":
        policy = config.model.precision
        reason = f"The backbone computes in {policy}, as the configuration says."
    say(reason)
    names = config.models
    backbones = {name: find_model(name).backbone_for(config.head_of(name)) for name in names}
    weights = {name: backbone.ensure_weights(config.model.weights or None) for name, backbone in backbones.items()}
    config, catalog, genres, manifests = _scan(config, backbones[names[0]].mel_spec, cache, growing, say)

    def of_model(name: str, candidates: tuple[Candidate, ...] = ()) -> Resolved:
        file = weights[name].path
        return Resolved(
            config=config.replace(model={"name": name}),
            catalog=catalog,
            genres=genres,
            manifests=str(manifests),
            mel_spec=backbones[name].mel_spec,
            weights=weights[name],
            weights_file=str(file.absolute()) if file else "",
            policy=policy,
            policy_reason=reason,
            candidates=candidates,
        )

    found = of_model(names[0])
    head = resume(found) if resume else ""
    if number := folds(config, catalog, genres):
        say(f"Cross-validation in {number} folds: {', '.join(names)}")
        candidates = choose_model(config, catalog, genres, manifests, weights, policy, say)
        found = of_model(candidates[0].model, candidates)
    say(f"Model: {found.config.model.name}, {find_model(found.config.model.name).summary}")
    say(f"Weights: {escape(found.weights.source)}")
    return dataclasses.replace(found, resume=head)


def _scan(
    config: Config, spec: MelSpec, cache: ScanCache | None, growing: frozenset[str], say: Callable[[str], None]
) -> tuple[Config, Catalog, tuple[str, ...], AnyPath]:
    """Return the configuration with the split, the songs, the genres in the order of the labels, and the manifests.

    Songs are decoded before the split, since some turn out to be unusable only then. Where Beam may decode them on
    other machines, this is done only for cross-validation, which needs them here.
    """
    data, genres = config.data, config.data.genres
    place = as_path(data.library), genres, spec, data.layout
    if data.subgenres:
        catalog, genres = scan_subgenres(*place, min_songs=data.min_songs, scan_cache=cache, unfinished=growing)
    else:
        catalog = scan(*place, scan_cache=cache, unfinished=growing)
    here = config.runner.name == "local" and LOCAL_RUNNER in config.runner.beam_args
    if here or folds(config, catalog, genres):
        catalog = decoded_catalog(catalog, spec, song_cache(config.root, spec))
        require_usable(catalog, genres, place[0])
    for line in (*catalog.summary(), *catalog.notes, *catalog.merged):
        say(escape(line))
    config = config.replace(split={"by": _split_by(config, catalog, genres)})
    manifests = write_manifests(
        catalog,
        as_path(f"{config.root}/{CATALOGS}"),
        genres=genres,
        split_by=config.split_by,
        seed=config.split.seed,
        spec=spec,
        split_strategy=config.split_strategy,
    )
    return config, catalog, genres, manifests


def _split_by(config: Config, catalog: Catalog, genres: Sequence[str]) -> str:
    """Return what the split keeps together; a column that the list does not have raises a `UsageError`."""
    by = config.split.by
    if by == AUTO:
        artists = group_keys(catalog.groups("artist"), "artist")
        units = {(one.genre, artists[one.song] or one.song) for one in catalog.songs}
        counts = collections.Counter(genre for genre, _ in units)
        named = 2 * sum(map(bool, artists.values())) >= len(artists)
        enough = min(counts[genre] for genre in genres) >= len(SPLITS)
        return "artist" if named and enough and config.split_strategy != FIXED else "song"
    require_split_by(by, catalog.songs, (AUTO, GIVEN))
    return by


def exec_properties(resolved: Resolved) -> Properties:
    """Return the execution properties of a resolved configuration."""
    config = resolved.config
    model = find_model(config.model.name)
    backbone = model.backbone_for(config.head)
    validated = resolved.candidates[0] if resolved.candidates else None
    song_gate = config.gate.model_dump(exclude={"max_accuracy_drop"})
    trainer, tuner = _training(resolved)
    run = {
        "settings": config.summary(),
        "weights_source": resolved.weights.source,
        "precision": resolved.policy,
        "precision_reason": resolved.policy_reason,
        "candidates": [dataclasses.asdict(one) for one in resolved.candidates],
    }
    return {
        "model_name": model.name,
        "genres": json.dumps(resolved.genres),
        "manifests": resolved.manifests,
        "schema": f"{resolved.manifests}/schema.pbtxt",
        "mel_spec": json.dumps(dataclasses.asdict(resolved.mel_spec)),
        "songs": song_cache(config.root, resolved.mel_spec),
        "backbone": backbone.name,
        "weights": resolved.weights_file,
        "weights_source": resolved.weights.digest or ("random" if backbone.pretrained else "none"),
        "policy": resolved.policy,
        "backbone_outputs": backbone_cache(config.root, backbone, resolved.weights, resolved.policy),
        "precisions": " ".join(model.precisions),
        "gate": _evaluator_gate(resolved),
        "song_gate": json.dumps(song_gate | {"nearest": validated.nearest if validated else None}),
        "cross_validation": validated.predictions if validated else "",
        "trainer": json.dumps(trainer),
        "tuner": json.dumps(tuner),
        "served_version": served_version(config.push_to),
        "run": json.dumps(run),
    }


def _training(resolved: Resolved) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the custom configurations of the Trainer and the Tuner."""
    config, runner = resolved.config, resolved.config.runner
    both = {
        "genres": list(resolved.genres),
        "model": config.model.name,
        "training": dataclasses.asdict(config.head),
        "weights": resolved.weights_file,
        "code": source_digest("tumbao.trainer.run"),
    }
    trainer = {
        "resume": resolved.resume,
        "mel_spec": dataclasses.asdict(resolved.mel_spec),
        "manifests": resolved.manifests,  # like `tune`, for `head_to_resume`
        "tune": config.model.tune,
        "refit": _refit(config),
    }
    vertex = {  # keys defined by TFX
        "ai_platform_enable_vertex": True,
        "ai_platform_vertex_region": runner.region,
        "ai_platform_training_args": runner.vertex_training,
    }
    tuner = {
        "summary": source_digest("tumbao.components.tuner"),
        "trials": config.model.tune,
        "searches": f"{config.root}/searches",
    }
    return both | trainer | (vertex if runner.vertex_training else {}), both | tuner


def _refit(config: Config) -> list[str]:
    """Return the splits that the model to export is trained on; none to export the tested one."""
    if not config.model.refit or not find_model(config.model.name).train:
        return []
    tested_later = config.split_strategy in (FIXED, "stable", GIVEN)
    return [split for split in SPLITS if not (tested_later and split == "test")]


def _evaluator_gate(resolved: Resolved) -> str:
    """Return the configuration of the Evaluator, which depends on the numbers of test songs, as JSON."""
    songs = {(row["song"], row["genre"]) for row in table_rows(f"{resolved.manifests}/test.csv")}
    counts = collections.Counter(genre for _, genre in songs)
    bounds = resolved.config.gate.model_dump(exclude={"push_undecided"})
    evaluation = eval_config({genre: counts[genre] for genre in resolved.genres}, **bounds)
    return json_format.MessageToJson(evaluation, preserving_proto_field_name=True, sort_keys=True)


@tfx.dsl.components.component
def RunSettings(  # noqa: N802 - TFX names components so
    data: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.Parameter[str],
    epochs: tfx.dsl.components.Parameter[int],
    min_accuracy: tfx.dsl.components.Parameter[float],
    config: tfx.dsl.components.Parameter[str],
) -> Properties:
    """Resolve the configuration, a JSON, with the other parameters set in it; 0 epochs means the model's own number."""
    whole = parse(json.loads(config)).replace(
        data={"library": data},
        model={"name": model},
        gate={"min_accuracy": min_accuracy},
        training={"epochs": epochs} if epochs else {},
    )
    stored = as_path(f"{whole.root}/{SCAN_CACHE}")
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:  # SQLite needs a local file
        local = Path(folder) / SCAN_CACHE
        if stored.exists():
            local.write_bytes(stored.read_bytes())
        try:
            resolved = resolve(whole, lambda line: logging.info(Text.from_markup(line).plain), scan_cache(Path(folder)))
        finally:  # also if the scan fails
            if local.exists():
                write_whole(stored, local.read_bytes())
    if file := resolved.weights.path:  # found in this container, needed in the others
        shared = as_path(f"{whole.root}/weights/{resolved.weights.digest}{file.suffix}")
        if not shared.exists():
            write_whole(shared, file.read_bytes())
        resolved = dataclasses.replace(resolved, weights_file=str(shared))
    return exec_properties(resolved)
