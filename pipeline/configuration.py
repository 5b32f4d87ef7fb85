"""Conversion of an `Order` to a run's configuration: the model is chosen, its weights found and the songs scanned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rich.markup import escape

from tumbao.components.ingest.library import Catalog, scan, write_manifests
from tumbao.components.ingest.paths import RemotePath, as_path
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.subgenres import scan_subgenres
from tumbao.pipeline.config import Order, PipelineConfig, UsageError
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import preferred_policy
from tumbao.trainer.weights import WeightsFile


@dataclasses.dataclass(frozen=True)
class Configured:
    """A run's configuration, with the scanned library and the backbone's weights that it is based on.

    `precision_reason` is a sentence on the choice of the backbone's dtype policy.
    """

    config: PipelineConfig
    catalog: Catalog
    weights: WeightsFile
    precision_reason: str


def configure(
    order: Order, workspace: str, push_to: str, say: Callable[[str], None], memory: ScanCache | None = None
) -> Configured:
    """Scan and split the songs, and find the weights.

    `say` is called with lines in rich's markup. `memory` holds the results of earlier scans for unchanged files. A
    setting out of its range raises a `UsageError`; an unusable library, unusable weights or a missing bucket raise a
    `ValueError`.
    """
    for folder in map(as_path, (workspace, push_to)):
        if isinstance(folder, RemotePath):
            folder.require_bucket()
    model, training = _model(order)
    backbone = model.backbone_for(training)
    policy: str
    policy, reason = preferred_policy()
    if order.precision != "auto":
        policy, reason = order.precision, f"The backbone computes in {order.precision}: asked for with --precision."
    say(f"Model: {model.name}, {model.summary}")
    say(reason)
    weights = backbone.ensure_weights(order.weights or None)
    say(f"Weights: {escape(weights.source)}")
    spec = backbone.mel_spec
    catalog, genres = _songs(order, spec, memory)
    manifests = write_manifests(
        catalog,
        as_path(f"{workspace}/catalogs"),
        genres=genres,
        split_by=order.protocol,
        seed=order.seed,
        spec=spec,
        split_strategy=order.method,
    )
    say(f"{catalog.found} songs found, {len(catalog.rejected)} of them rejected at first sight")
    for note in catalog.notes:
        say(escape(note))
    for merged in catalog.merged:
        say(escape(merged.description))
    config = PipelineConfig(
        workspace=workspace,
        manifests=str(manifests),
        genres=genres,
        weights=str(weights.path.absolute()) if weights.path else "",
        weights_digest=weights.digest or "",
        policy=policy,
        push_to=push_to,
        model=model.name,
        training=training,
        mel_spec=spec,
        **order.settings,
    )
    return Configured(config, catalog, weights, reason)


def _model(order: Order) -> tuple[ModelSpec, Training]:
    try:
        model = find_model(order.model)
        return model, model.settings(**order.training, seed=order.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _songs(order: Order, spec: MelSpec, memory: ScanCache | None) -> tuple[Catalog, tuple[str, ...]]:
    asked = (as_path(order.data), order.genres, spec, order.layout)
    if order.min_songs is None:
        return scan(*asked, scan_cache=memory, unfinished=order.growing), order.genres
    return scan_subgenres(*asked, min_songs=order.min_songs, scan_cache=memory, unfinished=order.growing)
