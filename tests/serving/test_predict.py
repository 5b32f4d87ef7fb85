from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tumbao.components.ingest.fragments import read
from tumbao.schema.genres import GENRES
from tumbao.serving.calibration import Calibration
from tumbao.serving.model_info import ASSETS_FOLDER, CLASSIFIER_FILES, DistanceRule, ModelInfo
from tumbao.serving.predict import RUN_MODEL, SongPrediction, TFLiteModel, find_assets

RATE = 22_050
Tone = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def classifier(pushed: Path) -> TFLiteModel:
    return TFLiteModel(pushed)


def classify(model: TFLiteModel, path: Path) -> SongPrediction:
    return model.answer(read(path, model.info.mel))


def tiny_model(fragment: np.ndarray) -> np.ndarray:
    loudness = np.uint8(255 * np.abs(fragment).mean()) / 255 - 0.2
    powers = np.exp(10 * loudness * np.array([-1.0, 0, 0, 1, 0]))
    return powers / powers.sum()


def test_the_newest_version_is_found_from_each_level(pushed: Path, tmp_path: Path) -> None:
    for version in ("9", "10", "10.tmp"):
        shutil.copytree(pushed / "1", tmp_path / version)
    (shutil.copytree(pushed / "1", tmp_path / "11") / "saved_model.pb").unlink()  # half of it is copied
    assert find_assets(tmp_path) == tmp_path / "10" / ASSETS_FOLDER
    assert find_assets(tmp_path / "9") == tmp_path / "9" / ASSETS_FOLDER
    assert find_assets(tmp_path / "9" / ASSETS_FOLDER) == tmp_path / "9" / ASSETS_FOLDER
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / RUN_MODEL).symlink_to("../9")
    assert find_assets(tmp_path / "runs").samefile(tmp_path / "9" / ASSETS_FOLDER)


def test_a_missing_model_raises_an_error_with_its_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", Path(__file__)):
        with pytest.raises(ValueError, match="tumbao run"):
            TFLiteModel(folder)


def test_a_fragment_passes_through_front_end_and_classifier(classifier: TFLiteModel, rng: np.random.Generator) -> None:
    for level in (0.05, 0.4, 1.0):
        fragment = rng.uniform(-level, level, classifier.info.mel.fragment_samples).astype(np.float32)
        np.testing.assert_allclose(classifier.predict(fragment), tiny_model(fragment), atol=0.02)


def test_a_song_has_the_mean_probability_of_its_fragments(classifier: TFLiteModel, tone: Tone, tmp_path: Path) -> None:
    loud, soft = 2 * tone(30), 0.02 * tone(30)
    soundfile.write(tmp_path / "song.wav", np.concatenate([loud, soft, loud, soft[: 5 * RATE]]), RATE, subtype="FLOAT")
    song = classify(classifier, tmp_path / "song.wav")
    assert GENRES[song.answer.genre] == "salsa"
    assert song.answer.votes == (1, 0, 0, 2, 0)
    assert [(f.start_seconds, f.end_seconds) for f in song.fragments] == [(0, 30), (30, 60), (60, 90)]
    expected = np.mean([tiny_model(loud), tiny_model(soft), tiny_model(loud)], axis=0)
    assert song.answer.probabilities == pytest.approx(expected, abs=0.02)
    assert (song.duration_seconds, song.truncated, song.padded) == (95, False, False)


def test_silent_fragments_are_ignored(classifier: TFLiteModel, tone: Tone, tmp_path: Path) -> None:
    loud, nothing = 2 * tone(30), np.zeros(60 * RATE, np.float32)
    soundfile.write(tmp_path / "song.wav", np.concatenate([nothing, loud]), RATE, subtype="FLOAT")
    song = classify(classifier, tmp_path / "song.wav")
    assert (song.silent, song.answer.votes) == (2, (0, 0, 0, 1, 0))
    assert [(one.start_seconds, one.end_seconds) for one in song.fragments] == [(60, 90)]
    assert [(one.start_seconds, one.end_seconds) for one in song.sections] == [(60, 90)]
    assert song.duration_seconds == 90


def test_a_short_song_is_padded_and_keeps_its_length(classifier: TFLiteModel, tone: Tone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.flac", tone(12), RATE)
    song = classify(classifier, tmp_path / "short.flac")
    assert song.padded
    assert [(f.start_seconds, f.end_seconds) for f in song.fragments] == [(0, 12)]


def test_a_truncated_song_is_flagged(classifier: TFLiteModel, tone: Tone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", tone(80), RATE)
    content = (tmp_path / "song.wav").read_bytes()
    (tmp_path / "song.wav").write_bytes(content[: len(content) // 2])
    song = classify(classifier, tmp_path / "song.wav")
    assert song.truncated
    assert len(song.fragments) == 1
    assert song.declared_seconds == pytest.approx(80, abs=0.1)


def test_a_calibrated_model_abstains(pushed: Path, tone: Tone, tmp_path: Path) -> None:
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "model")
    loud, soft = 2 * tone(30), 0.02 * tone(30)
    soundfile.write(tmp_path / "song.wav", np.concatenate([loud, loud, soft]), RATE, subtype="FLOAT")
    expected = np.mean([tiny_model(loud), tiny_model(loud), tiny_model(soft)], axis=0)
    for threshold, confident in ((expected.max() - 0.02, True), (expected.max() + 0.02, False)):
        calibration = Calibration(2.0, threshold, 10, 1)
        dataclasses.replace(ModelInfo.read(assets), calibration=calibration).write(assets)
        song = classify(TFLiteModel(assets), tmp_path / "song.wav")
        assert song.answer.probabilities == pytest.approx(expected, abs=0.02)
        assert (GENRES[song.answer.genre], song.answer.confident) == ("salsa", confident)


def test_a_song_out_of_distribution_has_no_confident_answer(pushed: Path, tone: Tone, tmp_path: Path) -> None:
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "model")
    dataclasses.replace(ModelInfo.read(assets), out_of_distribution=DistanceRule(4.0, 9)).write(assets)
    model = TFLiteModel(assets)
    loud, soft = 2 * tone(30), 0.02 * tone(30)
    for parts, in_distribution, confident in (
        ([loud, soft], [False, True], True),
        ([loud, soft, loud], [False, True, False], False),
        ([soft[: 20 * RATE]], [True], True),
    ):
        soundfile.write(tmp_path / "song.wav", np.concatenate(parts), RATE, subtype="FLOAT")
        song = classify(model, tmp_path / "song.wav")
        assert [fragment.in_distribution for fragment in song.fragments] == in_distribution
        assert song.answer.confident is confident


def test_a_missing_precision_raises_an_error(pushed: Path) -> None:
    with pytest.raises(ValueError, match=r"one of the precisions int8\. Received: 'float16'"):
        TFLiteModel(pushed, precision="float16")


def test_an_incomplete_file_raises_an_error(pushed: Path, tmp_path: Path) -> None:
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, tmp_path / "model")
    (assets / CLASSIFIER_FILES["int8"]).unlink()
    with pytest.raises(ValueError, match=r"expected \d+ bytes, found 0"):
        TFLiteModel(assets)


def test_classification_does_not_load_tensorflow(pushed: Path, tone: Tone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.mp3", tone(31), RATE)
    program = (
        "import sys, tumbao, tumbao.pipeline.classify\n"
        f"with tumbao.Classifier({str(pushed)!r}) as classifier:\n"
        f"    song = classifier.classify({str(tmp_path / 'song.mp3')!r})\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'keras', 'librosa', 'matplotlib'} & set(sys.modules)\n"
        "sys.stdout.write(f'{len(song.fragments)} {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []"
