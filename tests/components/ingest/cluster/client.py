"""Runs AudioExampleGen's executor for each order that comes through a connection: client.py DESCRIPTOR."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing.connection
import sys
import traceback
from pathlib import Path

from tumbao.components.ingest.component import AudioExampleGen, Executor
from tumbao.schema.mel_spec import MelSpec


def ingest(manifests: str, spec: MelSpec, cache: str, folder: str, flags: list[str]) -> None:
    component = AudioExampleGen(
        manifests=manifests, mel_spec=json.dumps(dataclasses.asdict(spec)), cache=cache, code="c0de"
    )
    outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
    for name, (artifact,) in outputs.items():
        artifact.uri = f"{folder}/{name}"
        Path(artifact.uri).mkdir(parents=True)
    context = Executor.Context(beam_pipeline_args=flags, tmp_dir=folder, unique_id="1")
    Executor(context).Do({}, outputs, component.exec_properties)


if __name__ == "__main__":
    connection = multiprocessing.connection.Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError):
        while True:
            order = connection.recv()
            try:
                ingest(*order)
                connection.send("")
            except Exception:
                connection.send(traceback.format_exc())
