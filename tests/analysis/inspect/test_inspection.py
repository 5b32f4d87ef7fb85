"""The inspection of a library: every file is accounted for, figures are right, and names are escaped."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import soundfile
from PIL import Image

from tests.pages import assert_self_contained
from tests.sounds import decode
from tumbao.analysis.inspect.page import (
    BARS,
    PICTURES_PER_GENRE,
    STATISTICS_FILE,
    Inspection,
    artists,
    histogram,
    inspect_library,
    run_inspect,
    song_table,
)
from tumbao.components.ingest import progress
from tumbao.components.ingest.mel import mel_image
from tumbao.schema.mel_spec import MelSpec

WriteSong = Callable[..., Path]
ATTACK = "<script>alert('1')<"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong) -> Path:
    """Salsa with eight usable songs and a copy; cumbia without any; trova with one that breaks off; a loose file."""
    root = tmp_path_factory.mktemp("shelves") / f"my {ATTACK} library"
    for number in range(7):
        write_song(root / "salsa" / f"{number}.wav", 5 + number)
    write_song(root / "salsa" / f"{ATTACK}.wav", 5)
    shutil.copy(root / "salsa" / "0.wav", root / "salsa" / "copy.wav")
    write_song(root / "cumbia" / "short.wav", 1)
    write_song(root / "cumbia" / "silent.wav", 6, gain=0)
    (root / "cumbia" / "text.mp3").write_text("no song")
    broken = write_song(root / "trova" / "broken.wav", 10)
    broken.write_bytes(broken.read_bytes()[: 8_000 * 2 * 6 + 44])
    write_song(root / "loose.wav", 5)
    return root


@pytest.fixture(scope="module")
def inspection(library: Path, small_spec: MelSpec) -> Inspection:
    return inspect_library(library, (), "auto", small_spec)


@pytest.fixture(scope="module")
def inspected(library: Path, tmp_path_factory: pytest.TempPathFactory, small_spec: MelSpec) -> Path:
    """Write the page of the library; progress reaches the end of each step."""
    out, last = tmp_path_factory.mktemp("page") / "new" / "folder", dict[str, tuple[int, int]]()
    with progress.listen(lambda step, done, total: last.update({step: (done, total)})):
        assert run_inspect(library, out, (), "auto", lambda line: None, small_spec) == 0
    assert last == {"catalog": (14, 14), "measure": (10, 10)}
    assert sorted(file.name for file in out.iterdir()) == ["index.html", "statistics.pbtxt"]
    return out


@pytest.fixture(scope="module")
def page(inspected: Path) -> str:
    return (inspected / "index.html").read_text("utf-8")


def write(path: Path, samples: np.ndarray, rate: int = 8_000, **form: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **form)
    return path


def test_every_file_is_usable_or_rejected_with_its_reason(inspection: Inspection) -> None:
    assert inspection.found == 14
    assert {item.song: item.reason for item in inspection.rejected} == {
        "cumbia/short.wav": "too short",
        "cumbia/silent.wav": "silent",  # which only decoding finds out
        "cumbia/text.mp3": "unsupported",
        "loose.wav": "unknown genre",
        "salsa/copy.wav": "duplicate",
    }
    assert len({song.song.song for song in inspection.songs} | {item.song for item in inspection.rejected}) == 14


def test_genres_without_a_usable_song_are_listed(page: str) -> None:
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td class="n">(\d+)</td><td class="n">(\d+)</td>', page)
    assert rows == [("cumbia", "0", "3"), ("salsa", "8", "1"), ("trova", "1", "0")]


def test_chosen_genres_reject_the_others(library: Path, small_spec: MelSpec) -> None:
    inspection = inspect_library(library, ["trova", "tango"], "folder", small_spec)
    assert inspection.genres == ("trova", "tango")
    assert [song.song.genre for song in inspection.songs] == ["trova"]
    assert {item.reason for item in inspection.rejected} == {"unknown genre"}
    assert inspection.found == 14


def test_a_truncated_song_counts_as_far_as_it_decodes(inspection: Inspection) -> None:
    (broken,) = (song for song in inspection.songs if song.truncated)
    assert broken.song.song == "trova/broken.wav"
    assert broken.song.seconds == pytest.approx(10, abs=0.01)
    assert broken.seconds == pytest.approx(6, abs=0.01)


def test_the_whole_song_is_measured_and_its_middle_shown(tmp_path: Path, small_spec: MelSpec) -> None:
    loud = np.full(4 * 8_000, 0.5) * np.where(np.arange(4 * 8_000) % 40 < 20, 1, -1)
    write(tmp_path / "salsa" / "one.wav", np.concatenate([loud / 10, loud, loud / 10]), subtype="FLOAT")
    (song,) = inspect_library(tmp_path, (), "auto", small_spec).songs
    assert song.picture_seconds == 4.0
    assert song.rms_dbfs == pytest.approx(10 * np.log10((0.25 + 2 * 0.0025) / 3), abs=0.01)
    assert song.peak_dbfs == pytest.approx(20 * np.log10(0.5), abs=0.01)


def test_added_silence_is_not_measured(tmp_path: Path, small_spec: MelSpec) -> None:
    write(tmp_path / "salsa" / "one.wav", np.resize([0.5, -0.5], round(3.2 * 8_000)), subtype="FLOAT")
    (song,) = inspect_library(tmp_path, (), "auto", small_spec).songs
    assert song.padded
    assert song.rms_dbfs == pytest.approx(20 * np.log10(0.5), abs=0.01)


def test_the_same_recording_in_another_encoding_is_a_duplicate(tmp_path: Path, rng: np.random.Generator) -> None:
    spec = MelSpec()
    levels = np.repeat(rng.uniform(0, 1, (80, 24)), 11_025, axis=0)  # tones, twice a second at other levels
    tones = np.sin(2 * np.pi * np.outer(np.arange(len(levels)) / 22_050, np.geomspace(110, 7_000, 24)))
    sound = 0.04 * (levels * tones).sum(axis=1)
    write(tmp_path / "salsa" / "one.wav", sound, 22_050)
    write(tmp_path / "salsa" / "two.mp3", sound / 2, 22_050)
    inspection = inspect_library(tmp_path, (), "auto", spec)
    assert [song.song.song for song in inspection.songs] == ["salsa/one.wav"]
    (copy,) = inspection.rejected
    assert (copy.song, copy.reason) == ("salsa/two.mp3", "duplicate")
    assert copy.detail == "the same recording as salsa/one.wav, encoded or cut differently"
    assert copy.duplicate_of == "salsa/one.wav"


def test_a_part_of_a_file_is_measured_alone(tmp_path: Path, small_spec: MelSpec) -> None:
    write(tmp_path / "all.wav", np.repeat([0.5, 0.25], 8 * 8_000) * np.resize([1, -1], 16 * 8_000))
    (tmp_path / "songs.csv").write_text(
        "file_name,genre,song,start,end\nall.wav,salsa,one,0,8\nall.wav,salsa,two,8,16\n"
    )
    one, two = inspect_library(tmp_path / "songs.csv", (), "auto", small_spec).songs
    assert (one.seconds, two.seconds) == (8, 8)
    assert (one.picture_seconds, two.picture_seconds) == (4, 12)
    assert one.rms_dbfs - two.rms_dbfs == pytest.approx(20 * np.log10(2), abs=0.01)


def test_formats_come_from_the_content(tmp_path: Path, small_spec: MelSpec, rng: np.random.Generator) -> None:
    noise = rng.uniform(-0.5, 0.5, (5 * 16_000, 2))
    write(tmp_path / "salsa" / "a.mp3", noise, 16_000, format="FLAC")
    write(tmp_path / "salsa" / "b.bin", noise[:, :1] / 2, 22_050, format="WAV", subtype="PCM_24")
    songs = inspect_library(tmp_path, (), "auto", small_spec).songs
    assert [(song.audio_format, song.sample_rate_hz, song.channels) for song in songs] == [
        ("FLAC, Signed 16 bit PCM", 16_000, 2),
        ("WAV, Signed 24 bit PCM", 22_050, 1),
    ]


def test_spellings_of_an_artist_are_counted_together(
    tmp_path: Path, small_spec: MelSpec, write_song: WriteSong
) -> None:
    rows = [("salsa", "Diomedes Díaz"), ("cumbia", "DIOMEDES DIAZ"), ("salsa", "Diomedes Díaz"), ("salsa", "")]
    names = [write_song(tmp_path / f"{number}.wav", 4 + number).name for number in range(4)]
    lines = [f"{name},{genre},{artist}" for name, (genre, artist) in zip(names, rows, strict=True)]
    (tmp_path / "songs.csv").write_text("\n".join(["file_name,genre,artist", *lines]), "utf-8")
    found = artists(song_table(inspect_library(tmp_path / "songs.csv", (), "auto", small_spec).songs))
    assert list(found.itertuples(index=False)) == [("Diomedes Díaz", 3, 4 + 5 + 6, "cumbia, salsa")]


@pytest.mark.parametrize("longest", [80.0, 36_000.0])
def test_the_bars_hold_every_value(longest: float) -> None:
    values = [*np.linspace(61, 79, 60), longest]
    found = histogram(pd.DataFrame({"genre": ["salsa", *["cumbia"] * 60], "seconds": values}), "seconds")
    assert found["edges"][0] <= 61
    assert len(found["edges"]) <= BARS + 1
    assert {genre: sum(counts) for genre, counts in found["counts"].items()} == {"salsa": 1, "cumbia": 60}
    assert found["beyond"] == (longest == 36_000)


def test_pictures_are_the_input_of_the_network(library: Path, page: str, small_spec: MelSpec) -> None:
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)"[^>]* alt="Mel image of ([^"]+), (\w+), from', page)
    assert [genre for _, _, genre in found].count("salsa") == PICTURES_PER_GENRE
    assert [genre for _, _, genre in found].count("trova") == 1
    shown = {html.unescape(song): base64.b64decode(png) for png, song, _ in found}
    samples = decode(library / "salsa" / "2.wav", small_spec.sample_rate_hz).samples
    middle = samples[: small_spec.fragment_samples]
    picture = np.asarray(Image.open(io.BytesIO(shown["salsa/2.wav"])).convert("RGB"))
    np.testing.assert_array_equal(picture, mel_image(middle[None], small_spec)[0].numpy())


def test_the_page_lists_every_rejected_file(page: str, inspection: Inspection) -> None:
    text = html.unescape(page).replace("\N{NO-BREAK SPACE}", " ")
    assert "14 found = 9 usable + 5 rejected" in text
    for item in inspection.rejected:
        assert f'<td class="path">{item.song}</td><td>{item.reason}</td><td class="path">{item.detail}</td>' in text
    assert "the same bytes as salsa/0.wav" in text
    assert not re.search(r"(\d+ s) of \1 can be decoded", text)
    assert "truncated: 6.0 s of 10 s can be decoded" in text


def test_the_page_needs_only_the_statistics_and_escapes_names(page: str) -> None:
    assert_self_contained(page, ATTACK, STATISTICS_FILE)
    assert f'<a href="{STATISTICS_FILE}">' in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_a_synthetic_library_is_labelled_everywhere(
    tmp_path: Path, small_spec: MelSpec, write_song: WriteSong, page: str
) -> None:
    write_song(tmp_path / "songs" / "salsa" / "one.wav", 5)
    (tmp_path / "songs" / "library.json").write_text('{"synthetic": true}')
    lines: list[str] = []
    assert run_inspect(tmp_path / "songs", tmp_path / "page", (), "auto", lines.append, small_spec) == 0
    labelled = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "Composed, synthetic songs" in labelled
    for element in (r"<h1>.*</h1>", r"<h2.*</h2>", r"<svg[^>]*>", r"<img[^>]*>"):
        found = re.findall(element, labelled)
        assert found
        assert all("synthetic library" in part for part in found)
    assert lines[0] == "found 1 = usable 1 + rejected 0; 0.0 h in 1 genres (synthetic library)"
    assert "synthetic library" not in page


def test_a_library_without_a_usable_song_has_a_page_too(tmp_path: Path, small_spec: MelSpec) -> None:
    (tmp_path / "songs" / "salsa").mkdir(parents=True)
    (tmp_path / "songs" / "salsa" / "one.mp3").touch()
    assert run_inspect(tmp_path / "songs", tmp_path / "page", (), "auto", lambda line: None, small_spec) == 1
    assert "1 found = 0 usable + 1 rejected" in (tmp_path / "page" / "index.html").read_text("utf-8")
    assert [file.name for file in (tmp_path / "page").iterdir()] == ["index.html"]
    (tmp_path / "songs" / "salsa" / "one.mp3").unlink()
    assert run_inspect(tmp_path / "songs", tmp_path / "page", (), "auto", lambda line: None, small_spec) == 1
    assert "0 found = 0 usable + 0 rejected" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_tfdv_loads_the_statistics_of_every_song(inspected: Path, inspection: Inspection) -> None:
    import tensorflow_data_validation as tfdv

    (dataset,) = tfdv.load_statistics(str(inspected / STATISTICS_FILE)).datasets
    features = {feature.path.step[0]: feature for feature in dataset.features}
    assert dataset.num_examples == len(inspection.songs)
    seconds = features["seconds"].num_stats
    assert (seconds.min, seconds.max) == (5, 11)
    genres = {bucket.label: bucket.sample_count for bucket in features["genre"].string_stats.rank_histogram.buckets}
    assert genres == {"salsa": 8, "trova": 1}
    assert features["truncated"].num_stats.mean == pytest.approx(1 / 9)
    assert set(features) == {
        *("genre", "artist", "audio_format", "seconds", "sample_rate_hz", "channels", "audio_tracks"),
        *("rms_dbfs", "peak_dbfs", "truncated", "padded"),
    }
