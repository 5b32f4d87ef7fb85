"""The component `RunSettings`, the first step of a run in the cloud, which computes the other components' settings.

The library and some settings are parameters of the submission: its songs, the mel parameters, the backbone and the
location of its weights are known when the run begins, not when the graph is compiled.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import contextlib
import dataclasses
import json
import logging
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from rich.text import Text
from tfx import v1 as tfx
from tfx.dsl.io import fileio

from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.pipeline.config import Order
from tumbao.pipeline.configuration import configure
from tumbao.pipeline.settled import Settled, settle
from tumbao.pipeline.source import source_digest

SETTLED = [field.name for field in dataclasses.fields(Settled)]

Told = TypedDict("Told", dict.fromkeys(SETTLED, str))  # type: ignore[misc] # the fields of `Settled`, once


@tfx.dsl.components.component
def RunSettings(  # noqa: N802 - TFX names components so
    data: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.Parameter[str],
    epochs: tfx.dsl.components.Parameter[int],
    min_accuracy: tfx.dsl.components.Parameter[float],
    order: tfx.dsl.components.Parameter[str],
    workspace: tfx.dsl.components.Parameter[str],
    push_to: tfx.dsl.components.Parameter[str],
) -> Told:
    """Scan the songs, write the manifests, and output the execution properties of the other components.

    `epochs` of 0 means the model's own number. `order` is the JSON of all other settings, see `config.Order`.
    `workspace` is the folder of manifests, rendered songs, weights and the scan cache.
    """
    told = json.loads(order)
    training = told.pop("training") | ({"epochs": epochs} if epochs else {})
    settings = told.pop("settings") | {"min_accuracy": min_accuracy}
    genres = tuple(told.pop("genres"))
    asked = Order(**told, data=data, model=model, genres=genres, training=training, settings=settings)
    with _memory(workspace) as memory:
        configured = configure(asked, workspace, push_to, _say, memory)
    config = configured.config
    if weights := configured.weights.path:  # found in this container, needed in the others
        shared = f"{workspace}/weights/{configured.weights.digest}{weights.suffix}"
        if not fileio.exists(shared):
            _copy_whole(str(weights), shared)
        config = dataclasses.replace(config, weights=shared)
    return cast(Told, dataclasses.asdict(settle(config)))


def _say(line: str) -> None:
    logging.info(Text.from_markup(line).plain)


@contextlib.contextmanager
def _memory(workspace: str) -> Iterator[ScanCache]:
    """Open the scan cache of the workspace, and save it afterwards even if the scan fails.

    SQLite needs a local disk, so the cache is copied.
    """
    kept = f"{workspace}/scan_cache.sqlite"
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        file = Path(folder) / "scan_cache.sqlite"
        if fileio.exists(kept):
            fileio.copy(kept, str(file))
        try:
            yield ScanCache(file, source_digest("tumbao.components.ingest.decoders"))
        finally:
            if file.exists():
                _copy_whole(str(file), kept)


def _copy_whole(source: str, target: str) -> None:
    """Copy a file atomically: readers never see part of it, even if copying is interrupted."""
    fileio.makedirs(target.rpartition("/")[0])
    part = f"{target}.{uuid.uuid4().hex}"
    fileio.copy(source, part)
    fileio.rename(part, target, overwrite=True)
