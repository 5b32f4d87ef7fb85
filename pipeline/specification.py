"""Checks of a compiled pipeline without a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_KINDS: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
}


def faults(specification: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """List the faults of a PipelineSpec (schema 2.1) and of the parameters of a submission, a sentence each.

    Faults are parameters that are missing, unknown or of the wrong type, entry points and artefact types that cannot be
    imported, inputs that no step outputs, and steps that wait for each other.
    """
    tasks = specification["root"]["dag"]["tasks"]
    declared = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    found = list(_parameter_faults(declared, parameters))
    for name, task in tasks.items():
        component = specification["components"][task["componentRef"]["name"]]
        executor = specification["deploymentSpec"]["executors"].get(component.get("executorLabel"), {})
        found += [f"{name}: {fault}" for fault in _entry_faults(executor)]
        found += [f"{name}: {fault}" for fault in _type_faults(component)]
        found += [f"{name}: {fault}" for fault in _input_faults(task, component, specification, declared)]
    found += _order_faults(tasks)
    return found


def _parameter_faults(declared: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[str]:
    for name in parameters.keys() - declared.keys():
        yield f"parameter {name}: expected one of {', '.join(sorted(declared))}"
    for name, one in declared.items():
        kind = one["parameterType"]
        if name not in parameters:
            yield f"parameter {name}: expected a value; it has no default"
        elif not _fits(parameters[name], kind):
            yield f"parameter {name}: expected {kind}, received {parameters[name]!r}"


def _entry_faults(executor: Mapping[str, Any]) -> Iterator[str]:
    container = executor.get("container")
    if not container:
        yield "expected a container that carries it out"
        return
    if not container.get("image"):
        yield "expected a container image"
    command, arguments = container.get("command", []), container.get("args", [])
    if "-m" in command and (fault := _not_importable(command[command.index("-m") + 1])):
        yield fault
    if "--executor_class_path" in arguments:
        path = arguments[arguments.index("--executor_class_path") + 1]
        if fault := _not_importable(*path.rsplit(".", 1)):
            yield fault


def _type_faults(component: Mapping[str, Any]) -> Iterator[str]:
    from tfx.orchestration.kubeflow.v2.compiler_utils import TITLE_TO_CLASS_PATH

    for side in ("inputDefinitions", "outputDefinitions"):
        for key, one in component.get(side, {}).get("artifacts", {}).items():
            title = yaml.safe_load(one["artifactType"]["instanceSchema"])["title"]
            if fault := _not_importable(*TITLE_TO_CLASS_PATH.get(title, title).rsplit(".", 1)):
                yield f"artefact {key}: {fault}"


def _input_faults(
    task: Mapping[str, Any], component: Mapping[str, Any], specification: Mapping[str, Any], declared: Mapping[str, Any]
) -> Iterator[str]:
    inputs = task.get("inputs", {})
    wanted = component.get("inputDefinitions", {})
    for side, source, key in (
        ("artifacts", "taskOutputArtifact", "outputArtifactKey"),
        ("parameters", "taskOutputParameter", "outputParameterKey"),
    ):
        for name in wanted.get(side, {}).keys() - inputs.get(side, {}).keys():
            yield f"expected a value for its input {name}"
        for name, one in inputs.get(side, {}).items():
            if source in one:
                producer = one[source]["producerTask"]
                made = specification["components"].get(producer, {}).get("outputDefinitions", {}).get(side, {})
                if one[source][key] not in made:
                    yield f"its input {name} comes from {producer}, which does not put out {one[source][key]}"
                if producer not in task.get("dependentTasks", []):
                    yield f"its input {name} comes from {producer}, which it does not wait for"
            elif "componentInputParameter" in one:
                if one["componentInputParameter"] not in declared:
                    yield f"its input {name} is a parameter that the pipeline has not"
            elif not _fits(one["runtimeValue"]["constant"], wanted["parameters"][name]["parameterType"]):
                yield f"its input {name} is {one['runtimeValue']['constant']!r}, which is of another kind"


def _order_faults(tasks: Mapping[str, Any]) -> list[str]:
    waiting = {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()}
    unknown = [
        f"{name}: waits for {one}, which there is none of" for name in waiting for one in waiting[name] - tasks.keys()
    ]
    while ready := [name for name, before in waiting.items() if not before & waiting.keys()]:
        for name in ready:
            del waiting[name]
    return unknown + ([f"{', '.join(sorted(waiting))}: wait for each other"] if waiting else [])


def _fits(value: Any, kind: str) -> bool:
    """Check the type of a value; protobuf writes whole numbers as 3.0."""
    whole = kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, _KINDS[kind])


def _not_importable(module: str, name: str = "") -> str:
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        return f"expected a module {module} ({error})"
    return "" if not name or hasattr(found, name) else f"expected {name} in {module}"
