from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.serving.chromium import open_tab
from tumbao.components.ingest.library import CATALOGS, LIBRARY_FILE, Catalog, scan, write_manifests
from tumbao.components.ingest.records import decode_image
from tumbao.components.ingest.rendered_library import RenderedLibrary, render_library
from tumbao.schema.errors import UserError
from tumbao.serving.browser import BrowserUnavailableError, find_chromium
from tumbao.serving.explain import library_context as module
from tumbao.serving.explain import page as page_module
from tumbao.serving.explain.library_context import (
    LibraryContext,
    QueryFragment,
    embedding_map,
    library_context,
    nearest,
    training_side,
    typical,
)
from tumbao.serving.explain.network import Network
from tumbao.serving.model_info import ModelInfo

SONGS = 4

Drawn = tuple[Catalog, RenderedLibrary, Path]


@pytest.fixture(scope="module")
def rendered(tiny: Network, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Render noise in three colours, four songs of two fragments each."""
    root = tmp_path_factory.mktemp("explain") / "music"
    rng, spec = np.random.default_rng(6), tiny.spec
    for width, genre in enumerate(tiny.genres, start=1):
        (root / genre).mkdir(parents=True)
        for number in range(SONGS):
            white = rng.standard_normal(2 * spec.fragment_samples)
            sound = 0.1 * np.convolve(white, np.ones(3 * width) / width, "same").astype(np.float32)
            soundfile.write(root / genre / f"{number}.wav", sound, spec.sample_rate_hz)
    (root / LIBRARY_FILE).write_text('{"synthetic": true}')
    catalog = scan(root, tiny.genres, spec)
    return catalog, render_library(catalog, tiny.genres, spec, str(root.parent / "cache")), root


def trained(info: ModelInfo, catalog: Catalog, workspace: Path, split_by: str = "song") -> ModelInfo:
    """Split the library in a workspace; return the description of a model that was trained on it."""
    options: dict[str, Any] = {"genres": info.genres, "split_by": split_by, "seed": 7, "spec": info.mel}
    manifests = write_manifests(catalog, workspace / CATALOGS, **options)
    data = dataclasses.replace(info.training_data, catalog_digest=manifests.name)
    return dataclasses.replace(info, training_data=data)


@pytest.fixture(scope="module")
def context(tiny: Network, rendered: Drawn, tmp_path_factory: pytest.TempPathFactory) -> LibraryContext:
    catalog, library, root = rendered
    folder = tmp_path_factory.mktemp("visible")
    images = [decode_image(png) for png in library.images()]
    queries = [
        QueryFragment("new <b>.mp3", root / "new.mp3", 30.0, images[3]),
        QueryFragment("own", root / "salsa/1.wav", 4.0, images[11]),
    ]
    info = trained(tiny.info, catalog, folder)
    return library_context(dataclasses.replace(tiny, info=info), catalog, library, queries, folder)


@pytest.fixture(scope="module")
def page(context: LibraryContext, tiny: Network) -> str:
    return str(page_module.neighbours_section(context, tiny.spec))


@pytest.mark.parametrize("split_by", ["song", "fragment"])
def test_the_training_fragments_are_those_of_the_run(
    tiny: Network, rendered: Drawn, tmp_path: Path, split_by: str
) -> None:
    catalog, library, _ = rendered
    training = training_side(trained(tiny.info, catalog, tmp_path, split_by), catalog, library, tmp_path)
    assert training is not None
    assert training.sum() == 3 * (2 * SONGS - (4 if split_by == "song" else 2))
    sides = {(song, bool(side)) for song, side in zip(library.songs, training, strict=True)}
    assert (len(sides) == 3 * SONGS) is (split_by == "song")


def test_another_library_is_not_recognised(tiny: Network, rendered: Drawn, tmp_path: Path) -> None:
    catalog, library, _ = rendered
    info = trained(tiny.info, catalog, tmp_path)
    assert training_side(tiny.info, catalog, library, tmp_path) is None
    other = dataclasses.replace(catalog, songs=tuple(dataclasses.replace(one, sha256="0") for one in catalog.songs))
    assert training_side(info, other, library, tmp_path) is None


def test_neighbours_exclude_the_song_itself(context: LibraryContext) -> None:
    assert context.training_known
    assert context.positions.shape == (2 * 3 * SONGS + 2, 2)
    np.testing.assert_allclose(context.positions[3], context.positions[-2], atol=0.15)
    first, own = page_module._neighbours(context)
    assert "salsa/1.wav" not in {context.library.songs[row] for row, _ in own}
    assert all(context.training[row] for row, _ in [*first, *own])
    assert len(own) == page_module.NEIGHBOURS


def test_all_fragments_count_as_training_where_the_run_is_unknown(
    tiny: Network, rendered: Drawn, tmp_path: Path
) -> None:
    catalog, library, _ = rendered
    found = library_context(tiny, catalog, library, [], tmp_path)
    assert not found.training_known
    assert found.training.all()
    assert found.query_activations is None


def test_a_large_library_is_sampled_evenly(
    tiny: Network, rendered: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, library, _ = rendered
    monkeypatch.setattr(module, "FRAGMENTS", 9)
    found = library_context(tiny, catalog, library, [], tmp_path)
    assert len(found.library.songs) == len(found.activations.vectors) == 9
    assert found.left_out == 15
    assert set(found.library.labels) == {0, 1, 2}
    words = text(str(page_module.neighbours_section(found, tiny.spec)))
    assert "15 fragments are left out" in words
    assert "The neighbours below are the nearest of these" in words
    assert "is not the library that this model was trained on" in words


def test_a_library_of_other_genres_raises_an_error(tiny: Network, rendered: Drawn, tmp_path: Path) -> None:
    catalog, library, _ = rendered
    other = dataclasses.replace(library, genres=("polka", "salsa", "waltz"))
    with pytest.raises(ValueError, match=r"model's genres, cumbia, salsa, vallenato\. Received: polka, salsa, waltz"):
        library_context(tiny, catalog, other, [], tmp_path)


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def test_the_page_has_every_fragment_and_its_audio(page: str, context: LibraryContext, tiny: Network) -> None:
    count = len(context.library.songs)
    assert page.count('class="point ') == count + 2
    assert page.count('class="ring"') == len(context.mistakes)
    sounds = re.findall(r'<audio[^>]*data-row="(\d+)"[^>]*src="data:audio/mpeg;base64,([^"]*)"', page)
    assert {int(row) for row, _ in sounds} == set(range(count))
    content = base64.b64decode(sounds[0][1])
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(tiny.spec.fragment_seconds, abs=0.3)
    assert f"{count} of {count} fragments can be played" in text(page)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("synthetic library") == 2


PROBE = """
const results = [], legend = document.querySelectorAll(".map-legend button");
const field = document.getElementById("map-field");
const press = (key) => field.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const visible = (one) => getComputedStyle(one).display !== "none";
const shown = () => [...document.querySelectorAll(".point")].filter(visible).length;
results.push(shown()); legend[0].click(); results.push(shown()); legend[0].click(); results.push(shown());
press("ArrowRight"); const first = document.getElementById("map-text").textContent; press("ArrowDown");
results.push(first.includes(" from ") && first !== document.getElementById("map-text").textContent);
press("Enter"); results.push(document.getElementById("map-player").src.startsWith("data:audio/mpeg"));
results
"""


def test_the_map_works_in_a_browser(page: str, tmp_path: Path) -> None:
    try:
        program = find_chromium()
    except BrowserUnavailableError as error:
        pytest.skip(f"the page is not opened in a browser: {error}")
    file = tmp_path / "page.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{page}</body>", "utf-8")
    with open_tab(program) as tab:
        tab.open(file.as_uri())
        assert tab.run(PROBE) == [26, 18, 26, True, True]
        assert tab.errors == []


NAMES = ("a", "a", "b", "c", "d")
VECTORS = np.array([[1, 0], [3, 0.1], [1, 1], [0, 5], [0, 0]], np.float32)


def test_nearest_ignores_lengths_and_lists_a_song_once() -> None:
    query, usable = np.array([100.0, 0.0], np.float32), np.ones(5, bool)
    found = nearest(query, VECTORS, NAMES, 3, usable)
    assert [row for row, _ in found] == [0, 2, 3]
    assert [distance for _, distance in found] == pytest.approx([0, 1 - 0.5**0.5, 1])
    usable[0] = False
    assert [row for row, _ in nearest(query, VECTORS, NAMES, 9, usable)] == [1, 2, 3, 4]
    assert nearest(query, VECTORS, NAMES, 2, np.zeros(5, bool)) == []


def test_the_typical_fragment_is_nearest_to_the_mean() -> None:
    vectors = np.array([[1, 0], [1, 0.4], [1, 1], [0, 1]], np.float32)
    labels = np.array([0, 0, 0, 1])
    assert [typical(vectors, labels, genre) for genre in range(3)] == [1, 3, None]


def test_too_few_fragments_raise_an_error() -> None:
    with pytest.raises(UserError, match=r"at least 4 fragments.*Received: 3"):
        embedding_map(VECTORS[:3])
