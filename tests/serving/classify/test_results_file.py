from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.components.ingest.test_tables import NAMES, encodable
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.serving.classify import formats
from tumbao.serving.classify.batch import Answer
from tumbao.serving.classify.formats import Csv, JsonLines, ResultsFile, open_results
from tumbao.serving.classify.playlists import write_playlists
from tumbao.serving.classify.tags import Outcome, Tagging
from tumbao.serving.model_info import ASSETS_FOLDER, ModelInfo

Open = Callable[[Path], AbstractContextManager[ResultsFile]]
PATHS = st.lists(NAMES.map(encodable), min_size=1, max_size=4, unique=True)


@pytest.fixture(scope="module", params=[JsonLines, Csv])
def results(pushed: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open a file of answers; song files count as unchanged."""
    info = ModelInfo.read(pushed / "1" / ASSETS_FOLDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "stamp", lambda _: (10, 20))
        yield lambda path: open_results(path, request.param(info, "model"), "model")


def answer(path: str) -> Answer:
    return Answer(AudioSegment(path), (10, 20), AudioError(path, Reason.SILENT, f"is silent, {path}"))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(names=PATHS, data=st.data())
def test_a_truncated_file_loses_only_the_last_answer(
    results: Open, tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    out = tmp_path_factory.mktemp("out") / "answers"
    ends = []
    with results(out) as file:
        for name in names:
            file.append(answer(name))
            ends.append(out.stat().st_size)
    whole = out.read_bytes()
    with results(out) as file:
        assert all(file.find(AudioSegment(name)) for name in names)
        file.amend(AudioSegment(names[0]), {"tag": "written"})
    with results(out) as file:
        assert [bool(file.find(AudioSegment(name))) for name in names] == [True] * len(names)
    cut = data.draw(st.integers(ends[0], len(whole)))
    out.write_bytes(whole[:cut])
    with results(out) as file:
        assert [bool(file.find(AudioSegment(name))) for name in names] == [end <= cut for end in ends]
        for name, end in zip(names, ends, strict=True):
            if end > cut:
                file.append(answer(name))
    assert out.read_bytes() == whole


def test_zeros_after_a_crash_are_overwritten(results: Open, tmp_path: Path) -> None:
    out = tmp_path / "answers"
    with results(out) as file:
        file.append(answer("a"))
        file.append(answer("b"))
        whole = out.read_bytes()
    out.write_bytes(whole[:-10] + b"\0" * 100)  # the file's length reached the disk, its end did not
    with results(out) as file:
        assert file.find(AudioSegment("a"))
        assert file.find(AudioSegment("b")) is None
        file.append(answer("b"))
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        *(b"my diary", b"my diary\n", b"[1]", b'{"path": "a"}', b'{"path": "a"}\n', b"1", b"\xff\xfe", b"a,b\n1,2\n"),
        b'{"path": "a", "part_start_seconds": 0, "part_end_seconds": null, "file_bytes": 1, "file_modified_us": 1, '
        b'"model": "m", "synthetic_training_data": true, "decision": "", "error": "none"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_other_content_raises_an_error_and_is_unchanged(results: Open, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "answers"
    out.write_bytes(content)
    message = r"Expected results of an earlier .* Choose another file, or move this one"
    with pytest.raises(ValueError, match=message), results(out):
        pass
    assert out.read_bytes() == content


def test_a_file_with_the_longest_name_is_rewritten(results: Open, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 255)
    for _ in range(2):
        with results(out) as file:
            file.append(answer("a"))
            file.append(dataclasses.replace(answer("a"), tagging=Tagging(Outcome.FAILED, "has \udcff in it")))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(names=PATHS, genre=NAMES.map(encodable))
def test_playlists_and_left_out_songs_are_complete(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], genre: str
) -> None:
    folder = tmp_path_factory.mktemp("playlists")
    songs = [str(folder / name) for name in names]
    left_out = write_playlists(folder, [genre], [(song, genre, 1.0) for song in songs])
    (playlist,) = folder.iterdir()
    lines = playlist.read_bytes().decode().removesuffix("\n").split("\n")
    assert lines[0] == "#EXTM3U"
    played = [os.path.normpath(folder / line.strip()) for line in lines[1:] if not line.startswith("#")]
    assert len(lines) == 1 + 2 * len(played)
    assert sorted([*played, *left_out]) == sorted(songs)


def test_reasons_for_leaving_songs_out_of_playlists(tmp_path: Path) -> None:
    names = ["a\nb", "a\rb", "a\udcff", "a\u2028", "a ", " a", "a\u2028b", "#a", "\x85a"]
    left_out = write_playlists(tmp_path, ["salsa"], [(str(tmp_path / name), "salsa", 1.0) for name in names])
    assert [left_out.get(str(tmp_path / name), "").partition("path ")[2] for name in names] == [
        *(["contains a line break; rename it"] * 2),
        "is not in UTF-8; rename it",
        *(["ends with a space; rename it"] * 2),
        *([""] * 4),
    ]
