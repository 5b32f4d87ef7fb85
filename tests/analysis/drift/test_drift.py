"""Drift: similar music has none, changed music drifts in the right measure, and every new file is accounted for."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.pages import assert_self_contained
from tumbao.analysis.drift import page
from tumbao.analysis.drift.descriptors import (
    SongDescriptors,
    TrainingData,
    describe,
    measure_new_songs,
    measure_training,
)
from tumbao.analysis.drift.page import (
    FARTHEST,
    FIGURES,
    NEW_STATISTICS,
    PAGE,
    SHOWN_DESCRIPTORS,
    TRAINING_STATISTICS,
    Comparison,
    compare,
    histogram,
    run_drift,
)
from tumbao.analysis.songs import statistics_of
from tumbao.components.ingest import progress
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.schema.mel_spec import MelSpec

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
RATE = 8_000
ATTACK = "<script>alert('1')<"


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "N_PERMUTATIONS", 19)  # the fewest whose 95th percentile is defined


def compose(rng: np.random.Generator, fragments: int = 2, speed: float = 1.0) -> np.ndarray:
    """Make a song: plucked tones and a bass drum at the song's own tempo and pitch, over faint noise."""
    samples = round((4 * fragments + 0.5) * RATE)
    song = 3e-3 * rng.standard_normal(samples)
    period, pitch = rng.uniform(0.4, 0.6) / speed, rng.uniform(300, 500)
    for begin in (np.arange(0, samples / RATE - 0.4, period) * RATE).astype(int):
        time = np.arange(round(0.3 * RATE)) / RATE
        hertz = pitch * rng.choice([1, 1.25, 1.5, 2])
        tone = sum(np.sin(2 * np.pi * hertz * part * time) / part for part in range(1, 9))
        song[begin : begin + len(time)] += np.exp(-12 * time) * tone
        song[begin : begin + len(time)] += np.exp(-20 * time) * np.sin(2 * np.pi * 70 * time)
        song[begin : begin + len(time)] += np.exp(-60 * time) * rng.standard_normal(len(time))
    return 0.1 * song.astype(np.float32)


def low_passed(song: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(song)
    return np.fft.irfft(np.where(np.fft.rfftfreq(len(song), 1 / RATE) < 800, spectrum, 1e-3 * spectrum), len(song))


def noisy(song: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return song + 0.05 * rng.standard_normal(len(song))


def quieter(song: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.05 * song


def unchanged(song: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return song


def measure(name: str, song: np.ndarray, spec: MelSpec, genre: str = "") -> SongDescriptors:
    """Measure a song as the product does, without a file."""
    count = len(song) // spec.fragment_samples
    fragments = song[: count * spec.fragment_samples].reshape(count, -1).astype(np.float32)
    levels = mel_levels(fragments, spec).numpy()
    values = np.array([describe(image, spec) for image in levels])
    return SongDescriptors(name, "", genre, len(song) / RATE, False, False, 4.0 * np.arange(count), values)


def songs(
    count: int, seed: int, spec: MelSpec, change: Change = unchanged, speed: float = 1.0
) -> list[SongDescriptors]:
    rng = np.random.default_rng(seed)
    return [measure(f"{seed}-{n}", change(compose(rng, 2 + n % 2, speed), rng), spec) for n in range(count)]


@pytest.fixture(scope="module")
def trained(small_spec: MelSpec) -> list[SongDescriptors]:
    return songs(40, 1, small_spec)


def drifted(result: Comparison) -> list[str]:
    return [measure.descriptor.name for measure in result.drifted]


def test_quieter_music_of_the_same_kind_does_not_drift(trained: list[SongDescriptors], small_spec: MelSpec) -> None:
    assert drifted(compare(trained, songs(15, 2, small_spec, quieter), ())) == []


@pytest.mark.parametrize(
    ("change", "speed", "name", "rises"),
    [
        (low_passed, 1.0, "spectral_centroid", False),
        (unchanged, 1.8, "bass_modulation", True),
    ],
)
def test_changed_music_drifts_in_the_right_measure(
    change: Change, speed: float, name: str, rises: bool, trained: list[SongDescriptors], small_spec: MelSpec
) -> None:
    result = compare(trained, songs(15, 3, small_spec, change, speed), ())
    (measure,) = (one for one in result.measures if one.descriptor.name == name)
    assert measure.drifted
    assert measure.distance > measure.threshold
    assert (measure.new > measure.training) == rises
    assert "truncated" not in drifted(result)


def test_genres_are_compared_only_if_the_model_knows_all_of_them(trained: list[SongDescriptors]) -> None:
    def of(*genres: str) -> list[SongDescriptors]:
        return [dataclasses.replace(song, genre=genre) for song, genre in zip(trained, genres, strict=False)]

    training, known = of(*["salsa", "cumbia"] * 4), ["cumbia", "salsa"]
    assert "genre" not in page._table(training, of("salsa", ""), known)
    tables = (page._table(songs_, [], known) for songs_ in (training, of(*["salsa"] * 3, "cumbia")))
    before, after = (table[["genre", "padded"]] for table in tables)
    distances, found = page._validate(statistics_of(before), statistics_of(after), {"genre": 0.2, "padded": 0.2})
    assert (distances, found) == ({"genre": 0.25, "padded": 0.0}, {"genre"})
    measure = page._measure("genre", before["genre"], after["genre"], 0.25, 0.2, True)
    assert (measure.training, measure.new) == (0.5, 0.75 if measure.category == "salsa" else 0.25)
    padded = page._measure("padded", before["padded"], after["padded"], 0.0, 0.2, False)
    assert (padded.category, padded.training, padded.new) == ("padded", 0.0, 0.0)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, small_spec: MelSpec) -> TrainingData:
    """Write what ingest leaves of 12 songs: ten in the training split, one of them padded."""
    root = tmp_path_factory.mktemp("artefacts")
    (root / "examples" / "Split-train").mkdir(parents=True)
    rng, lines = np.random.default_rng(5), []
    with tf.io.TFRecordWriter(str(root / "examples" / "Split-train" / "data.gz"), "GZIP") as writer:
        for number in range(12):
            song, split = f"salsa/{number}.wav", "train" if number < 10 else "test"
            fragments = compose(rng)[: 8 * RATE].reshape(2, -1)
            lines.append(
                {"song": song, "genre": "salsa", "split": split, "fragments": 2, "padded": number == 3}
                | {"truncated": False, "seconds": 8.5}
            )
            for index, levels in enumerate(mel_levels(fragments, small_spec).numpy() if split == "train" else ()):
                png = to_png(levels, palette(small_spec))
                about = {"label": 0, "genre": "salsa", "song": song, "fragment": index, "padded": number == 3}
                writer.write(to_example(png, start_seconds=4.0 * index, **about).SerializeToString())  # type: ignore[arg-type] # one dict of several types
    (root / "ingested.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ingested = str(root / "ingested.jsonl")
    return TrainingData("run 1", "shelf", False, ("salsa",), small_spec, str(root / "examples"), ingested)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight noisy songs in a plain folder without genres, and files that are refused, each for another reason."""
    root = tmp_path_factory.mktemp("radio") / f"new {ATTACK}"
    (root / "monday").mkdir(parents=True)
    rng = np.random.default_rng(6)
    for number in range(7):
        soundfile.write(root / f"{number}.wav", noisy(compose(rng), rng), RATE)
    soundfile.write(root / "monday" / f"{ATTACK}.wav", noisy(compose(rng), rng), RATE)
    shutil.copy(root / "0.wav", root / "monday" / "copy.wav")
    soundfile.write(root / "short.wav", compose(rng)[:RATE], RATE)
    soundfile.write(root / "silent.wav", np.zeros(5 * RATE), RATE)
    (root / "text.mp3").write_text("no song")
    return root


def test_records_are_measured_like_their_audio(training: TrainingData, small_spec: MelSpec) -> None:
    measured, count = measure_training(training)
    assert count == len(measured) == 10
    assert [song.song for song in measured if song.padded] == ["salsa/3.wav"]
    first = next(song for song in measured if song.song == "salsa/0.wav")
    np.testing.assert_allclose(first.values, measure("", compose(np.random.default_rng(5)), small_spec).values)
    assert first.starts.tolist() == [0.0, 4.0]


def test_padded_truncated_and_silent_parts_are_treated_as_in_ingest(tmp_path: Path, small_spec: MelSpec) -> None:
    song = compose(np.random.default_rng(9), 3)
    soundfile.write(tmp_path / "gap.wav", np.where(np.abs(np.arange(len(song)) / RATE - 6) <= 2, 0, song), RATE)
    soundfile.write(tmp_path / "padded.wav", song[: round(3.5 * RATE)], RATE)
    soundfile.write(tmp_path / "whole.wav", song, RATE)
    (tmp_path / "breaks off.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[: 2 * 9 * RATE])
    measured = {song.song: song for song in measure_new_songs(tmp_path, "auto", small_spec).songs}
    assert {name: song.starts.tolist() for name, song in measured.items()} == {
        "gap.wav": [0, 8],
        "padded.wav": [0],
        "whole.wav": [0, 4, 8],
        "breaks off.wav": [0, 4],
    }
    assert [name for name, song in measured.items() if song.padded] == ["padded.wav"]
    assert [name for name, song in measured.items() if song.truncated] == ["breaks off.wav"]


def test_a_list_needs_no_genres(tmp_path: Path, small_spec: MelSpec) -> None:
    soundfile.write(tmp_path / "one.wav", compose(np.random.default_rng(8), 3), RATE)
    (tmp_path / "songs.csv").write_text("file_name,start,end\none.wav,,\none.wav,4,12\ngone.wav,,\n")
    found = measure_new_songs(tmp_path / "songs.csv", "auto", small_spec)
    assert [song.starts.tolist() for song in found.songs] == [[0, 4, 8], [4, 8]]
    assert [(one.song, one.reason) for one in found.rejected] == [("gone.wav", "unreadable")]


@pytest.fixture(scope="module")
def written(training: TrainingData, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    last: dict[str, tuple[int, int]] = {}
    with (
        pytest.MonkeyPatch.context() as patch,
        progress.listen(lambda step, done, total: last.update({step: (done, total)})),
    ):
        patch.setattr(page, "N_PERMUTATIONS", 19)
        _, result = run_drift(training, library, out, "auto")
    assert result
    assert drifted(result)
    assert last == {
        "catalog": (12, 12),
        "measure": (9, 9),
        "read records": (20, 20),
        "permute": (19, 19),
    }
    return out


def test_every_new_file_is_measured_or_rejected_with_its_reason(written: Path) -> None:
    figures = json.loads((written / FIGURES).read_text("utf-8"))
    assert {one["song"]: one["reason"] for one in figures["rejected"]} == {
        "monday/copy.wav": "duplicate",
        "short.wav": "too short",
        "silent.wav": "silent",
        "text.mp3": "unsupported",
    }
    assert len(figures["songs"]) == figures["new"]["songs"] == 8
    assert figures["drift"] is True
    assert figures["training"] == {
        "run": "run 1",
        "library": "shelf",
        "synthetic": False,
        "songs": 10,
        "songs_compared": 10,
        "fragments": 20,
    }
    (flatness,) = (one for one in figures["measures"] if one["name"] == "spectral_flatness")
    assert flatness["drift"]
    page = html.unescape((written / PAGE).read_text("utf-8"))
    for one in figures["rejected"]:
        assert f'<td class="path">{one["song"]}</td><td>{one["reason"]}</td><td class="path">{one["detail"]}' in page


def test_statistics_are_for_tfdv(written: Path) -> None:
    import tensorflow_data_validation as tfdv

    for name, rows in ((TRAINING_STATISTICS, 20), (NEW_STATISTICS, 16)):
        (dataset,) = tfdv.load_statistics(str(written / name)).datasets
        assert dataset.num_examples == rows
        assert {"bass_modulation", "seconds"} <= {feature.path.step[0] for feature in dataset.features}


def test_the_page_shows_examples_needs_only_its_files_and_escapes_names(written: Path) -> None:
    page = (written / PAGE).read_text("utf-8")
    assert_self_contained(page, ATTACK, FIGURES, TRAINING_STATISTICS, NEW_STATISTICS)
    songs = re.findall(r'<td class="path">([^<]*)</td><td class="n">0:0[04]</td>', page)
    assert len(songs) == SHOWN_DESCRIPTORS * FARTHEST
    assert len(set(songs[:FARTHEST])) == FARTHEST


def test_without_a_measurable_song_only_the_reasons_are_written(training: TrainingData, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "text.mp3").write_text("no song")
    assert run_drift(training, tmp_path / "songs", tmp_path / "out", "auto")[1] is None
    figures = json.loads((tmp_path / "out" / FIGURES).read_text("utf-8"))
    assert figures["drift"] is None
    assert [one["reason"] for one in figures["rejected"]] == ["unsupported"]
    assert not (tmp_path / "out" / PAGE).exists()


def test_histograms_hold_every_value_on_one_scale() -> None:
    bars = histogram(np.linspace(0, 1, 1_000), np.full(10, 0.5))
    assert (bars.low, bars.high) == pytest.approx((0.005, 0.995))
    heights = [90 - float(point.split(",")[1]) for point in bars.training.split()]
    assert max(heights) == pytest.approx(90 * 0.05, abs=0.5)  # 20 even bars beside one that holds everything
    assert max(90 - float(point.split(",")[1]) for point in bars.new.split()) == 90
    assert histogram(np.zeros(3), np.zeros(2)).low == -0.5


def test_thresholds_allow_for_chance_and_for_small_differences() -> None:
    chance = np.array([[0.01, 0.10, 0.0], [0.01, 0.20, 0.0]] * 50)[:99]
    thresholds = page._thresholds(chance, ["bass_modulation", "seconds", "padded"])
    assert thresholds["bass_modulation"] == page.SMALLEST_JSD
    assert thresholds["seconds"] == pytest.approx(0.2)
    assert thresholds["padded"] == page.SMALLEST_SHARE
