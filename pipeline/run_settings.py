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
from tumbao.pipeline.cache_paths import SCAN_CACHE, scan_cache
from tumbao.pipeline.config import parse
from tumbao.pipeline.resolve import PROPERTIES, exec_properties, resolve

Properties = TypedDict("Properties", dict.fromkeys(PROPERTIES, str))  # type: ignore[misc] # the names, once


@tfx.dsl.components.component
def RunSettings(  # noqa: N802 - TFX names components so
    data: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.Parameter[str],
    epochs: tfx.dsl.components.Parameter[int],
    min_accuracy: tfx.dsl.components.Parameter[float],
    config: tfx.dsl.components.Parameter[str],
) -> Properties:
    """Scan the songs, write the manifests, and output the execution properties of the other components.

    `epochs` of 0 means the model's own number. `config` is the JSON of the configuration, in which the other parameters
    are set. Manifests, rendered songs, weights and the scan cache are written to the root.
    """
    values = json.loads(config)
    values.setdefault("data", {})["library"] = data
    values.setdefault("model", {})["name"] = model
    values.setdefault("gate", {})["min_accuracy"] = min_accuracy
    if epochs:
        values.setdefault("training", {})["epochs"] = epochs
    whole = parse(values)
    with _scan_cache(whole.root) as cache:
        resolved = resolve(whole, _say, cache)
    if file := resolved.weights.path:  # found in this container, needed in the others
        shared = f"{whole.root}/weights/{resolved.weights.digest}{file.suffix}"
        if not fileio.exists(shared):
            _copy_whole(str(file), shared)
        resolved = dataclasses.replace(resolved, weights_file=shared)
    return cast(Properties, exec_properties(resolved))


def _say(line: str) -> None:
    logging.info(Text.from_markup(line).plain)


@contextlib.contextmanager
def _scan_cache(root: str) -> Iterator[ScanCache]:
    """Open the scan cache of the root, and save it afterwards even if the scan fails.

    SQLite needs a local disk, so the cache is copied.
    """
    stored = f"{root}/{SCAN_CACHE}"
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        file = Path(folder) / SCAN_CACHE
        if fileio.exists(stored):
            fileio.copy(stored, str(file))
        try:
            yield scan_cache(Path(folder))
        finally:
            if file.exists():
                _copy_whole(str(file), stored)


def _copy_whole(source: str, target: str) -> None:
    """Copy a file atomically: readers never see part of it, even if copying is interrupted."""
    fileio.makedirs(target.rpartition("/")[0])
    part = f"{target}.{uuid.uuid4().hex}"
    fileio.copy(source, part)
    fileio.rename(part, target, overwrite=True)
