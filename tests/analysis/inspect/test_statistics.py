"""TFDV's statistics of a library: TFDV loads them, the page links them, and their view says what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tumbao.analysis.inspect.library import Inspection, inspect_library
from tumbao.analysis.inspect.page import STATISTICS_FILE, VIEW_FILE, run_inspect
from tumbao.analysis.inspect.summary import song_table
from tumbao.analysis.tfdv_statistics import VIEW_NEEDS, statistics_of, write_statistics
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]
ATTACK = "<script>alert('1')<"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong) -> Path:
    """Five songs of salsa, of 5 to 9 s, and one of trova that is shorter than a fragment."""
    root = tmp_path_factory.mktemp("shelves") / f"my {ATTACK} library"
    for number in range(5):
        write_song(root / "salsa" / f"{number}.wav", 5 + number)
    write_song(root / "trova" / "short.wav", 3.5)
    return root


@pytest.fixture(scope="module")
def inspection(library: Path, small_spec: MelSpec) -> Inspection:
    return inspect_library(library, (), "auto", small_spec)


def test_tfdv_loads_the_statistics_of_every_song(inspection: Inspection, tmp_path: Path) -> None:
    import tensorflow_data_validation as tfdv

    write_statistics(statistics_of(song_table(inspection.songs)), tmp_path / STATISTICS_FILE)
    (dataset,) = tfdv.load_statistics(str(tmp_path / STATISTICS_FILE)).datasets
    features = {feature.path.step[0]: feature for feature in dataset.features}
    assert dataset.num_examples == 6
    seconds = features["seconds"].num_stats
    assert (seconds.min, seconds.max) == (3.5, 9)
    assert features["sample_rate_hz"].num_stats.mean == 8_000
    genres = {bucket.label: bucket.sample_count for bucket in features["genre"].string_stats.rank_histogram.buckets}
    assert genres == {"salsa": 5, "trova": 1}
    assert features["padded"].num_stats.mean == pytest.approx(1 / 6)
    assert set(features) == {
        *("genre", "artist", "audio_format", "seconds", "sample_rate_hz", "channels", "audio_tracks"),
        *("rms_dbfs", "peak_dbfs", "truncated", "padded"),
    }


def test_the_page_links_the_statistics_and_says_what_their_view_needs(
    library: Path, tmp_path: Path, small_spec: MelSpec
) -> None:
    run_inspect(library, tmp_path, (), "auto", lambda line: None, small_spec)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert f'<a href="{STATISTICS_FILE}">' in page
    assert f'<a href="{VIEW_FILE}">' in page
    assert "without a network it is empty" in page
    view = (tmp_path / VIEW_FILE).read_text("utf-8")
    assert set(re.findall(r"https?://([^/]+)/", view)) == set(VIEW_NEEDS.split(" and "))
    assert STATISTICS_FILE in view
    assert ATTACK not in view
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;" in view


def test_without_a_usable_song_there_are_no_statistics(tmp_path: Path, small_spec: MelSpec) -> None:
    (tmp_path / "songs" / "salsa").mkdir(parents=True)
    run_inspect(tmp_path / "songs", tmp_path / "page", (), "auto", lambda line: None, small_spec)
    assert [file.name for file in (tmp_path / "page").iterdir()] == ["index.html"]
    assert "statistics" not in (tmp_path / "page" / "index.html").read_text("utf-8").lower()
