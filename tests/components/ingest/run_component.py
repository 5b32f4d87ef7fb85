"""Run AudioExampleGen as a runner does, without TFX's metadata."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tumbao.components.ingest.component import AudioExampleGen
from tumbao.schema.mel_spec import MelSpec

FLAGS = ("--runner=FnApiRunner", "--sdk_container_image=none")
Executor = AudioExampleGen.EXECUTOR_SPEC.executor_class


def run_component(
    manifests: str | Path, spec: MelSpec, cache: str | Path, folder: str | Path, flags: Sequence[str] = FLAGS
) -> dict[str, list[Any]]:
    """Write the outputs below a folder; return the artefacts."""
    component = AudioExampleGen(
        manifests=str(manifests), mel_spec=json.dumps(dataclasses.asdict(spec)), cache=str(cache), code="c0de"
    )
    outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
    for name, (artifact,) in outputs.items():
        artifact.uri = f"{folder}/{name}"
        Path(artifact.uri).mkdir(parents=True)
    context = Executor.Context(beam_pipeline_args=list(flags), tmp_dir=str(folder), unique_id="1")
    Executor(context).Do({}, outputs, component.exec_properties)
    return outputs
