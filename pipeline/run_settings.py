"""RunSettings: the first step of a run in the cloud, which settles what a local run settles before its graph is built.

The library and some settings are parameters of the submission, so which songs there are, how they are drawn, which
backbone there is and where its weights lie is known when the run begins, not when the graph is compiled.
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
    """Look through the songs, write the manifests, and tell the other components what they need to know.

    Parameters
    ----------
    data : str
        The library: a folder or a list of songs.
    model : str
        Name of the model.
    epochs : int
        Passes over the training split; 0 for as many as the model makes by itself.
    min_accuracy : float
        Lowest accuracy on the test split, in 0..1.
    order : str
        All other settings, `configuration.Order` as JSON.
    workspace : str
        Folder for manifests, drawn songs, weights, and what is known of the library's files.
    push_to : str
        Where blessed models are pushed.

    Returns
    -------
    settled : dict of str to str
        The fields of `Settled`.
    """
    told = json.loads(order)
    training = told.pop("training") | ({"epochs": epochs} if epochs else {})
    settings = told.pop("settings") | {"min_accuracy": min_accuracy}
    genres = tuple(told.pop("genres"))
    asked = Order(**told, data=data, model=model, genres=genres, training=training, settings=settings)
    with _memory(workspace) as memory:
        configured = configure(asked, workspace, push_to, _say, memory)
    config = configured.config
    if weights := configured.weights.path:  # found in this container, and wanted in the others
        shared = f"{workspace}/weights/{configured.weights.digest}{weights.suffix}"
        if not fileio.exists(shared):
            _copy_whole(str(weights), shared)
        config = dataclasses.replace(config, weights=shared)
    return cast(Told, dataclasses.asdict(settle(config)))


def _say(line: str) -> None:
    logging.info(Text.from_markup(line).plain)


@contextlib.contextmanager
def _memory(workspace: str) -> Iterator[ScanCache]:
    """Give what the last run knew of the library's files, and keep what is known now, however the look ends.

    A database works on a disk of its own only, so a copy is worked with.
    """
    kept = f"{workspace}/looked.sqlite"
    with tempfile.TemporaryDirectory(prefix="tumbao-") as folder:
        file = Path(folder) / "looked.sqlite"
        if fileio.exists(kept):
            fileio.copy(kept, str(file))
        try:
            yield ScanCache(file, source_digest("tumbao.components.ingest.decoders"))
        finally:
            if file.exists():
                _copy_whole(str(file), kept)


def _copy_whole(source: str, target: str) -> None:
    """Copy a file so that nobody sees it half, whatever ends the copying."""
    fileio.makedirs(target.rpartition("/")[0])
    part = f"{target}.{uuid.uuid4().hex}"
    fileio.copy(source, part)
    fileio.rename(part, target, overwrite=True)
