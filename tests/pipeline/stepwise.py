"""Carries out a compiled pipeline from its file alone: each step's container command as a process, with file paths.

It does what Kubeflow's and Vertex AI's machinery does between the steps: resolves inputs and parameters, names places
for outputs, and takes each step's `executor_output.json` for what it put out.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import runpy
from pathlib import Path
from typing import Any

import yaml

from tests.forks import run_forked

AT_ONCE = 2


class Stepwise:
    def __init__(self, file: Path, parameters: dict[str, Any], root: Path) -> None:
        self.specification = yaml.safe_load(file.read_text("utf-8"))
        self.parameters = parameters
        self.root = root
        self.outputs: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Run every step once all it depends on is done; the first that fails ends it."""
        waiting: dict[str, Any] = dict(self.specification["root"]["dag"]["tasks"])
        running: dict[concurrent.futures.Future[dict[str, Any]], str] = {}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            while waiting or running:
                for name in [one for one, task in waiting.items() if self._ready(task)]:
                    running[pool.submit(self._step, name, waiting.pop(name))] = name
                assert running, f"nothing can run of {waiting.keys()}"
                for done in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                    self.outputs[running.pop(done)] = done.result()

    def uri(self, task: str, key: str) -> Path:
        return Path(self.outputs[task]["artifacts"][key]["artifacts"][0]["uri"])

    def _ready(self, task: dict[str, Any]) -> bool:
        return all(name in self.outputs for name in task.get("dependentTasks", []))

    def _step(self, name: str, task: dict[str, Any]) -> dict[str, Any]:
        component = self.specification["components"][task["componentRef"]["name"]]
        container = self.specification["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        folder = self.root / name
        folder.mkdir(parents=True)
        order = {"inputs": self._inputs(task), "outputs": self._outputs(name, folder, component)}
        asked = json.dumps(order)
        command = [*container["command"], *(asked if one == "{{$}}" else one for one in container["args"])]
        assert command[:2] == ["python", "-m"]
        main = functools.partial(runpy.run_module, command[2], run_name="__main__", alter_sys=True)
        log = folder / "log.txt"
        code = run_forked(main, command[3:], folder, log, log)
        assert code == 0, f"{name}:\n{log.read_text('utf-8', 'replace')[-4_000:]}"
        put_out: dict[str, Any] = json.loads((folder / "executor_output.json").read_text("utf-8"))
        for key, one in put_out.get("artifacts", {}).items():  # the machinery knows the types from the specification
            one["artifacts"][0]["type"] = component["outputDefinitions"]["artifacts"][key]["artifactType"]
        return put_out

    def _inputs(self, task: dict[str, Any]) -> dict[str, Any]:
        inputs = task.get("inputs", {})
        artifacts, values = {}, {}
        for key, one in inputs.get("artifacts", {}).items():
            source = one["taskOutputArtifact"]
            artifacts[key] = self.outputs[source["producerTask"]]["artifacts"][source["outputArtifactKey"]]
        for key, one in inputs.get("parameters", {}).items():
            if "componentInputParameter" in one:
                values[key] = self.parameters[one["componentInputParameter"]]
            elif "taskOutputParameter" in one:
                source = one["taskOutputParameter"]
                values[key] = self.outputs[source["producerTask"]]["parameterValues"][source["outputParameterKey"]]
            else:
                values[key] = one["runtimeValue"]["constant"]
        return {"artifacts": artifacts, "parameterValues": values}

    def _outputs(self, name: str, folder: Path, component: dict[str, Any]) -> dict[str, Any]:
        declared = component.get("outputDefinitions", {})
        artifacts = {
            key: {"artifacts": [{"name": f"{name}/{key}", "uri": str(folder / key), "type": one["artifactType"]}]}
            for key, one in declared.get("artifacts", {}).items()
        }
        parameters = {key: {"outputFile": str(folder / f"{key}.txt")} for key in declared.get("parameters", {})}
        return {
            "artifacts": artifacts,
            "parameters": parameters,
            "outputFile": str(folder / "executor_output.json"),
        }
