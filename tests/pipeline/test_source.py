"""The digest of a component's source covers its imports, and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tumbao
from tumbao.pipeline.source import backbone_cache, outdated_caches, song_cache, source_digest
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.backbones import BACKBONES, RHYTHM
from tumbao.trainer.weights import WeightsFile

Digest = Callable[..., str]

INGEST, FEATURES = "tumbao.components.ingest.component", "tumbao.components.backbone_features"
TRAINER, CARD = "tumbao.trainer.run", "tumbao.components.model_card.component"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "tumbao"
    return Path(shutil.copytree(tumbao.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__", "web")))


@pytest.fixture(scope="module")
def digest(tree: Path) -> Digest:
    """Load `source_digest` from the copy, whose files it then reads."""
    spec = importlib.util.spec_from_file_location("copied_source", tree / "pipeline" / "source.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.source_digest.__wrapped__


def append_a_comment(file: Path) -> None:
    file.write_text(file.read_text() + "# a comment\n")


def test_outputs_of_backbones_are_stored_by_what_they_depend_on(tmp_path: Path) -> None:
    weights = WeightsFile(tmp_path / "a.h5", "here", "abc")
    folders = {
        backbone_cache(str(tmp_path), *one)
        for one in (
            (BACKBONES["vgg16"], weights, "float32"),
            (BACKBONES["vgg16"], weights, "mixed_bfloat16"),
            (BACKBONES["vgg16"], WeightsFile(None, "random", None), "float32"),
            (BACKBONES["vgg16-avg"], weights, "float32"),
        )
    }
    assert len(folders) == 4
    assert backbone_cache(str(tmp_path), RHYTHM, WeightsFile(None, "none", None), "float32") == ""
    assert backbone_cache("gs://bucket/root", BACKBONES["vgg16"], weights, "float32") == ""
    songs = song_cache(str(tmp_path), MelSpec())
    for folder in (*folders, songs, str(tmp_path / "songs/old/1"), str(tmp_path / "backbone_outputs/old/1")):
        Path(folder).mkdir(parents=True)
    assert sorted(outdated_caches(tmp_path)) == [tmp_path / "backbone_outputs/old", tmp_path / "songs/old"]


def test_a_copy_has_the_same_digest(digest: Digest) -> None:
    assert digest(INGEST) == source_digest(INGEST)
    assert len(f"{int(digest(INGEST), 16):016x}") == 16


@pytest.mark.parametrize(
    ("module", "file", "changes"),
    [
        (INGEST, "components/ingest/mel.py", True),
        (INGEST, "schema/record.py", True),  # through records
        (INGEST, "components/ingest/splits.py", True),  # through library
        (TRAINER, "components/ingest/mel.py", True),  # through signatures
        ("tumbao.components.export", "components/ingest/mel.py", True),  # imported inside a function of serving.tflite
        (CARD, "components/model_card/template.md.j2", True),
        (INGEST, "trainer/model.py", False),
        (FEATURES, "components/ingest/splits.py", False),
        (TRAINER, "components/model_card/template.md.j2", False),
    ],
)
def test_only_changes_of_dependencies_change_the_digest(
    tree: Path, digest: Digest, module: str, file: str, changes: bool
) -> None:
    before = digest(module)
    append_a_comment(tree / file)
    assert (digest(module) != before) == changes


def test_modules_are_found_through_cycles_and_every_kind_of_import(tree: Path, digest: Digest) -> None:
    for name, text in {
        "first.py": "import tumbao.second\n",
        "second.py": "def late():\n    from tumbao import third\n",
        "third.py": "if False:\n    import tumbao.first\n    import tumbao.fourth as four\n",
        "fourth.py": "import numpy\n",
    }.items():
        (tree / name).write_text(text)
    seen = {digest("tumbao.first")}
    for name in ("first", "second", "third", "fourth"):
        append_a_comment(tree / f"{name}.py")
        seen.add(digest("tumbao.first"))
    assert len(seen) == 5


def test_modules_come_in_any_order_and_from_the_package_only() -> None:
    genres, mel = "tumbao.schema.genres", "tumbao.schema.mel_spec"
    assert source_digest(genres, mel) == source_digest(mel, genres)
    assert len({source_digest(genres, mel), source_digest(genres), source_digest(mel)}) == 3
    for name in ("tumbao.nowhere", "numpy", "tumbaox", "tumbao.schema.record.LABEL"):
        with pytest.raises(ValueError, match=f"Expected a module of tumbao. Received: '{name}'"):
            source_digest(genres, name)
