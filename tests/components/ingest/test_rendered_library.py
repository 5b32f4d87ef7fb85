"""A library is rendered once, its features are in the order of its fragments, and it is split with or without leaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tumbao.analysis.compare.features import features
from tumbao.components.ingest import progress
from tumbao.components.ingest.library import scan
from tumbao.components.ingest.records import decode_image
from tumbao.components.ingest.rendered_library import RenderedLibrary, render_library
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.colormap_inverse import levels

GENRES = ("cumbia", "salsa")
pytestmark = pytest.mark.usefixtures("scan_in_process", "shared_render_workers")


@pytest.fixture(scope="module")
def rendered(
    tmp_path_factory: pytest.TempPathFactory, write_song: Callable[..., Path], small_spec: MelSpec
) -> tuple[RenderedLibrary, Path]:
    """Render songs of 1, 2 and 3 fragments in each genre, one of them twice, and a file that is no song."""
    root = tmp_path_factory.mktemp("library")
    for genre in GENRES:
        for fragments in (1, 2, 3):
            seconds = fragments * small_spec.fragment_seconds + 0.1 * (genre == "salsa")
            write_song(root / "music" / genre / f"{fragments}.wav", seconds)
    (root / "music" / "salsa" / "broken.wav").write_bytes(b"no sound")
    cache = root / "cache"
    (cache / "ab").mkdir(parents=True)
    (cache / "ab" / "ab12_0_.zip.0123.unfinished").write_bytes(b"PK")
    catalog = scan(root / "music", GENRES, small_spec)
    return render_library(catalog, GENRES, small_spec, str(cache)), root


def test_all_fragments_are_listed_and_other_files_are_rejected(
    rendered: tuple[RenderedLibrary, Path],
) -> None:
    library, _ = rendered
    rows = list(zip(library.songs, library.numbers.tolist(), library.labels.tolist(), strict=True))
    assert rows == [
        (f"{genre}/{fragments}.wav", number, label)
        for label, genre in enumerate(GENRES)
        for fragments in (1, 2, 3)
        for number in range(fragments)
    ]
    assert [(one.song, one.reason) for one in library.rejected] == [("salsa/broken.wav", "unsupported")]


def test_unfinished_files_in_the_cache_are_left(rendered: tuple[RenderedLibrary, Path]) -> None:
    assert len(list(rendered[1].glob("cache/*/*.unfinished"))) == 1


def test_images_are_in_the_order_of_the_fragments(rendered: tuple[RenderedLibrary, Path], small_spec: MelSpec) -> None:
    images = [decode_image(png) for png in rendered[0].images()]
    assert len(images) == 12
    assert {image.shape for image in images} == {small_spec.image_shape}
    assert len({image.tobytes() for image in images}) > 6


def test_features_are_in_the_order_of_the_fragments_and_leave_no_file(
    rendered: tuple[RenderedLibrary, Path], small_spec: MelSpec, tmp_path: Path
) -> None:
    library, _ = rendered
    backbone = Backbone("levels", small_spec, lambda weights, policy: levels(small_spec))
    reports: list[tuple[str, int, int]] = []
    with progress.listen(lambda *step: reports.append(step)):
        found, *masked = features(library, backbone, None, "float32", copies=2, folder=tmp_path)
    assert (reports[0][1:], reports[-1][1:]) == ((0, 36), (36, 36))
    assert not list(tmp_path.iterdir())
    expected = levels(small_spec)(np.stack([decode_image(png) for png in library.images()])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    for copy in masked:
        changed = np.asarray(copy != found)
        assert 0 < changed.mean() < 0.6
        assert (np.asarray(copy)[changed] == 0).all()
    assert (masked[0] != masked[1]).any()


def test_a_library_of_silence_is_refused(tmp_path: Path, write_song: Callable[..., Path], small_spec: MelSpec) -> None:
    for genre in GENRES:
        write_song(tmp_path / genre / "quiet.wav", small_spec.fragment_seconds + len(genre), gain=0.0)
    catalog = scan(tmp_path, GENRES, dataclasses.replace(small_spec))
    with pytest.raises(ValueError, match="at least one fragment that is not silent"):
        render_library(catalog, GENRES, small_spec, str(tmp_path / "cache"))
