"""Limits of size: functions, parameters, docstrings, and no circle of imports. `make lint` runs this file too."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import FILES, ROOT, imports, module_name

LINES, PARAMETERS = 60, 8
"""Limits of a function."""

LONG_LINES = 90
"""Limit of the commands, which declare their options, and of the graph, which lists its components."""

DOCSTRING_SHARE = 0.2
"""Limit of the docstrings' share of all lines."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions(file: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, Function):
            yield node


def is_long_by_nature(file: Path, function: Function) -> bool:
    """Tell whether a function is a command, the graph, or a component of TFX, whose parameters are its interface."""
    names = {ast.unparse(decorator) for decorator in function.decorator_list}
    return relative(file).startswith(("pipeline/commands/", "pipeline/graph.py")) or any(
        name.startswith("tfx.dsl.components.component") for name in names
    )


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_functions_are_short(file: Path) -> None:
    for function in functions(file):
        if is_long_by_nature(file, function):
            first, limit = function.body[bool(ast.get_docstring(function))], LONG_LINES
        else:
            first, limit = function, LINES
        assert (function.end_lineno or 0) - first.lineno < limit, function.name


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_functions_have_few_parameters(file: Path) -> None:
    for function in functions(file):
        arguments = function.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        few = len([name for name in names if name not in {"self", "cls"}]) <= PARAMETERS
        assert few or is_long_by_nature(file, function), function.name


def test_docstrings_are_at_most_a_fifth_of_the_lines() -> None:
    lines = docstrings = 0
    for file in FILES:
        tree = ast.parse(file.read_bytes())
        lines += len(file.read_text("utf-8").splitlines())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                docstrings += (node.end_lineno or node.lineno) - node.lineno + 1
    assert docstrings / lines <= DOCSTRING_SHARE


def test_no_module_imports_itself_through_others() -> None:
    names = {module_name(file) for file in FILES}
    graph = {
        module_name(file): {
            found
            for name in imports(file)
            for found in (name, name.rpartition(".")[0])
            if found in names and found != module_name(file)
        }
        for file in FILES
    }
    graphlib.TopologicalSorter(graph).prepare()
