"""The digest of a step's source follows its imports, and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tumbao
from tumbao.pipeline.source import source_digest

Digest = Callable[..., str]


def load(tree: Path) -> Digest:
    """Load `source_digest` from a copy of the package, whose files it then reads."""
    spec = importlib.util.spec_from_file_location("copied_source", tree / "pipeline" / "source.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.source_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy our package."""
    return Path(shutil.copytree(tumbao.__path__[0], tmp_path / "tumbao", ignore=shutil.ignore_patterns("__pycache__")))


def append_a_comment(file: Path) -> None:
    file.write_text(file.read_text() + "# another word\n")


INGEST = "tumbao.components.ingest.component"


def test_a_copy_elsewhere_has_the_same_digest(tree: Path) -> None:
    digest = load(tree)(INGEST)
    assert digest == source_digest(INGEST)
    assert len(digest) == 16
    assert int(digest, 16) >= 0


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        (INGEST, "components/ingest/component.py"),
        (INGEST, "components/ingest/mel.py"),  # from tumbao.components.ingest import mel
        (INGEST, "components/ingest/fragments.py"),
        (INGEST, "schema/mel_spec.py"),
        (INGEST, "schema/record.py"),  # through records
        (INGEST, "components/ingest/splits.py"),  # through catalog
        ("tumbao.components.backbone_features", "trainer/vgg16.py"),
        ("tumbao.components.backbone_features", "trainer/weights.py"),  # through backbone
        ("tumbao.trainer.run", "serving/signatures.py"),
        ("tumbao.trainer.run", "components/ingest/mel.py"),  # through signatures
        ("tumbao.components.export", "components/ingest/mel.py"),  # imported inside a function of serving.tflite
        ("tumbao.components.model_card.component", "components/model_card/template.md.j2"),
    ],
)
def test_a_change_in_what_it_depends_on_changes_it(tree: Path, module: str, changed: str) -> None:
    digest = load(tree)
    before = digest(module)
    append_a_comment(tree / changed)
    assert digest(module) != before


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        (INGEST, "trainer/model.py"),
        (INGEST, "analysis/report/page.py"),
        (INGEST, "pipeline/source.py"),
        ("tumbao.components.backbone_features", "trainer/model.py"),
        ("tumbao.components.backbone_features", "components/ingest/splits.py"),
        ("tumbao.trainer.run", "components/ingest/library.py"),
        ("tumbao.trainer.run", "components/model_card/template.md.j2"),
        ("tumbao.trainer.run", "components/mobile_check.py"),
    ],
)
def test_a_change_elsewhere_does_not(tree: Path, module: str, changed: str) -> None:
    digest = load(tree)
    before = digest(module)
    append_a_comment(tree / changed)
    assert digest(module) == before


def test_modules_are_found_in_a_circle_and_through_every_kind_of_import(tree: Path) -> None:
    for name, text in {
        "first.py": "import tumbao.second\n",
        "second.py": "def late():\n    from tumbao import third\n",
        "third.py": "if False:\n    import tumbao.first\n    import tumbao.fourth as four\n",
        "fourth.py": "import numpy\n",
    }.items():
        (tree / name).write_text(text)
    digest = load(tree)
    seen = {digest("tumbao.first")}
    for name in ("first", "second", "third", "fourth"):
        append_a_comment(tree / f"{name}.py")
        seen.add(digest("tumbao.first"))
    assert len(seen) == 5


def test_several_modules_count_together_in_any_order() -> None:
    genres, mel = "tumbao.schema.genres", "tumbao.schema.mel_spec"
    assert source_digest(genres, mel) == source_digest(mel, genres)
    assert len({source_digest(genres, mel), source_digest(genres), source_digest(mel)}) == 3


@pytest.mark.parametrize("name", ["tumbao.nowhere", "numpy", "tumbaox", "tumbao.schema.record.LABEL"])
def test_what_is_no_module_of_ours_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected a module of tumbao. Received: '{name}'"):
        source_digest("tumbao.schema.genres", name)
