"""Carries out a compiled pipeline from its file alone: each step's container command as a process, with file paths.

It does what Kubeflow's and Vertex AI's machinery does between the steps: resolves inputs and parameters, names places
for outputs, and takes each step's `executor_output.json` for what it put out.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

AT_ONCE = 2

# Imports TFX once, which takes seconds, and forks a process for each step; TensorFlow has not begun to work by then.
FORK_SERVER = """
import json, os, runpy, sys, threading, traceback
import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor
import tumbao.pipeline.graph

answering = threading.Lock()

def answer(number, pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with answering:
        print(number, code, flush=True)

for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid:
        threading.Thread(target=answer, args=(order["number"], pid)).start()
        continue
    code = 1
    try:
        os.chdir(order["folder"])
        with open(order["log"], "wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        module, *sys.argv[1:] = order["arguments"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
"""


class ForkServer:
    """Runs modules in forks of one process that has imported TFX."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", FORK_SERVER],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lock = threading.Lock()
        self._codes: list[concurrent.futures.Future[int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, arguments: list[str], folder: Path) -> tuple[int, str]:
        """Run `python -m *arguments` in a folder; give its exit code and output."""
        code: concurrent.futures.Future[int] = concurrent.futures.Future()
        log = folder / "log.txt"
        with self._lock:
            assert self._process.stdin
            order = {"number": len(self._codes), "arguments": arguments, "folder": str(folder), "log": str(log)}
            self._codes.append(code)
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return code.result(), log.read_text("utf-8", "replace")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()  # type: ignore[union-attr] # a pipe

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            number, code = map(int, line.split())
            self._codes[number].set_result(code)
        for waiting in self._codes:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                waiting.set_exception(RuntimeError("The fork server ended."))


class Stepwise:
    """A run of a compiled pipeline."""

    def __init__(self, file: Path, parameters: dict[str, Any], root: Path) -> None:
        self.specification = yaml.safe_load(file.read_text("utf-8"))
        self.parameters = parameters
        self.root = root
        self.outputs: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Run every step once all it depends on is done; the first that fails ends it."""
        waiting: dict[str, Any] = dict(self.specification["root"]["dag"]["tasks"])
        running: dict[concurrent.futures.Future[dict[str, Any]], str] = {}
        self._server = ForkServer()
        with contextlib.closing(self._server), concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            while waiting or running:
                for name in [one for one, task in waiting.items() if self._ready(task)]:
                    running[pool.submit(self._step, name, waiting.pop(name))] = name
                assert running, f"nothing can run of {waiting.keys()}"
                for done in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                    self.outputs[running.pop(done)] = done.result()

    def uri(self, task: str, key: str) -> Path:
        """Tell where an output lies."""
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
        code, output = self._server.run(command[2:], folder)
        assert code == 0, f"{name}:\n{output[-4_000:]}"
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
