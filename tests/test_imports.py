"""Who may import what: adapters alone import TFX and Beam, the edge imports next to nothing, and all go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tumbao

ROOT = Path(tumbao.__path__[0])
FILES = sorted(file for package in ROOT.iterdir() if package.is_dir() for file in package.rglob("*.py"))

ADAPTERS = {
    "components/served_baseline.py",
    "components/anomaly_gate.py",
    "components/song_gate.py",
    "components/evaluator.py",
    "components/export.py",
    "components/final_model.py",
    "components/backbone_features.py",
    "components/ingest/component.py",
    "components/ingest/transform.py",
    "components/mobile_check.py",
    "components/model_card/component.py",
    "components/pusher.py",
    "components/song_evaluation.py",
    "components/tuner.py",
    "pipeline/cloud.py",
    "pipeline/execution.py",
    "pipeline/graph.py",
    "pipeline/metadata.py",
    "pipeline/report.py",
    "pipeline/resolve.py",
    "trainer/run.py",
}
"""The only files that import `ORCHESTRATION`."""

ORCHESTRATION = {"tfx", "apache_beam", "tensorflow_model_analysis", "ml_metadata"}

HEAVY = {"tensorflow", "tfx", "apache_beam", "keras", "matplotlib", "librosa", "jinja2"}
"""What must not be loaded to classify a song or to print a help text."""

LAYERS = (
    "tumbao.__version__",
    "tumbao.schema",
    "tumbao.components.ingest",
    "tumbao.datasets",
    "tumbao.serving",
    "tumbao.trainer",
    "tumbao.components",
    "tumbao.serving.explain",
    "tumbao.analysis",
    "tumbao.pipeline",
)
"""A module imports from its own layer and from those before it."""


def imports(file: Path) -> Iterator[str]:
    """Give the full name of everything that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def layer(module: str) -> int:
    """Place a module: the longest name of a layer that it begins with."""
    fitting = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    return LAYERS.index(max(fitting, key=len))


def module_name(file: Path) -> str:
    return ".".join(["tumbao", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def test_only_the_adapters_import_tfx_and_beam() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for file in FILES
        if ORCHESTRATION & {name.partition(".")[0] for name in imports(file)}
    }
    assert found == ADAPTERS


@pytest.mark.parametrize("file", [file for file in FILES if module_name(file) != "tumbao"], ids=module_name)
def test_imports_go_one_way(file: Path) -> None:
    own = layer(module_name(file))
    against = [name for name in imports(file) if name.startswith("tumbao.") and layer(name) > own]
    assert not against


def test_the_schema_needs_nothing_of_ours_and_no_tensorflow() -> None:
    names = {name for file in (ROOT / "schema").glob("*.py") for name in imports(file)}
    assert {name for name in names if name.startswith("tumbao.")} <= {
        "tumbao.schema.record",
        "tumbao.schema.hierarchy.SEPARATOR",
    }
    assert not HEAVY & {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_are_absolute_and_packages_are_empty(file: Path) -> None:
    """The source digest follows absolute imports and does not look into packages."""
    assert not [name for name in imports(file) if name.startswith(".")]
    if file.name == "__init__.py" and file.parent != ROOT:
        (docstring,) = ast.parse(file.read_bytes()).body
        assert isinstance(docstring, ast.Expr)


@pytest.mark.parametrize(
    "module",
    [
        "tumbao.pipeline.cli",
        "tumbao.serving.predict",
        "tumbao.serving.server.api",
        "tumbao.pipeline.classify",
        "tumbao.pipeline.doctor",
        "tumbao.components.ingest.library",
        "tumbao.pipeline.config",
    ],
)
def test_the_edge_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; sys.stdout.write(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    assert not HEAVY & set(loaded)
