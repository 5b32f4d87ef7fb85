from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.serving.explain.planted import PLANTED, click_listener
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.mel import palette
from tumbao.serving.explain import attribution_report
from tumbao.serving.explain.attribution_report import (
    CAM,
    GRADIENTS,
    OCCLUSION,
    AttributionReport,
    Region,
    attribute_genre,
)
from tumbao.serving.explain.inversion import mel_image_levels
from tumbao.serving.explain.network import Network, load
from tumbao.serving.explain.page import attribution_section, hertz, verdict
from tumbao.serving.model_info import DistanceRule
from tumbao.serving.page import height_of
from tumbao.trainer.colormap_inverse import levels as frames_of

Push = Callable[..., Path]


def fragment(index: int, clicks: int, silent: bool = False) -> Fragment:
    """Make a quiet tone with clicks, which `click_listener` assigns to genre 1."""
    seconds = np.arange(PLANTED.fragment_samples) / PLANTED.sample_rate_hz
    samples = 0.05 * np.sin(2 * np.pi * 500 * seconds)
    for click in range(clicks):
        begin = round((click + 0.5) / clicks * len(samples))
        samples[begin : begin + 40] += 0.8 * (-1.0) ** np.arange(len(samples[begin : begin + 40]))
    return Fragment(index, (0 if silent else 1) * samples.astype(np.float32), silent, len(samples))


@pytest.fixture(scope="module")
def network(push: Push) -> Network:
    return load(push(click_listener(), PLANTED))


@pytest.fixture(scope="module")
def explained(network: Network) -> AttributionReport:
    items = [fragment(0, 2), fragment(1, 0, silent=True), fragment(2, 12), fragment(3, 5)]
    return attribute_genre(network, "<b>&.mp3", items, seed=1)


def test_the_decisive_fragment_has_the_most_evidence(network: Network, explained: AttributionReport) -> None:
    assert [piece.start_seconds for piece in explained.fragments] == [0, 8, 12]
    assert network.genres[explained.answer.genre] == "salsa"
    assert explained.decisive == 1 == int(np.argmax([piece.evidence for piece in explained.fragments]))
    np.testing.assert_array_equal(explained.original, fragment(2, 12).samples)
    assert {method.name for method in explained.methods} == {OCCLUSION, GRADIENTS, CAM}
    gains = [method.faithfulness.gain for method in explained.methods]
    assert gains == sorted(gains, reverse=True)
    assert all(piece.map is not None and piece.map.shape == (60, 80) for piece in explained.fragments)


def test_the_best_map_is_better_than_chance(explained: AttributionReport) -> None:
    best, chance = explained.methods[0].faithfulness, explained.random
    assert best.deletion_area < min(one.deletion_area for one in chance)
    assert verdict(explained, best.gain).startswith("better than chance")
    assert explained.limit > max(one.gain for one in chance)
    assert verdict(explained, explained.limit) == "no better than chance"


def test_only_some_fragments_of_a_long_song_have_maps(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution_report, "MOST_FRAGMENTS", 2)
    long = attribute_genre(network, "long.mp3", [fragment(0, 2), fragment(1, 12), fragment(2, 5)], seed=1)
    assert [piece.map is not None for piece in long.fragments] == [False, True, True]
    page = attribution_section([long], network)
    assert (
        "3 fragments" in page
        and "The song is long: only the 2 fragments with the most evidence for salsa are shown." in page
    )


def test_a_network_of_frames_is_explained_without_grad_cam(push: Push) -> None:
    frames = frames_of(PLANTED)
    mean = keras.layers.GlobalAveragePooling1D()(frames.output)
    dense = keras.layers.Dense(3, "softmax", kernel_initializer=keras.initializers.GlorotUniform(5))
    network = load(push(keras.Model(frames.input, dense(mean)), PLANTED))
    explained = attribute_genre(network, "frames.mp3", [fragment(0, 3), fragment(1, 9)], seed=1)
    assert {method.name for method in explained.methods} == {OCCLUSION, GRADIENTS}
    assert all(piece.map is None for piece in explained.fragments)
    page = attribution_section([explained], network)
    assert (
        "Grad-CAM is not available: no layer of this model has spatial output. Only the fragment" in page
        and "Grad-CAM over" not in page
    )


def test_a_network_without_gradients_is_explained_by_occlusion_alone(push: Push) -> None:
    images = keras.Input(PLANTED.image_shape)
    frames = frames_of(PLANTED)(images)
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling1D()(frames))
    network = load(push(keras.Model(images, outputs), PLANTED))
    explained = attribute_genre(network, "frames.mp3", [fragment(0, 3)], seed=1)
    assert [method.name for method in explained.methods] == [OCCLUSION]
    assert "the model has no gradient with respect to the image" in attribution_section([explained], network)


def test_the_page_shows_images_players_curves_and_numbers(network: Network, explained: AttributionReport) -> None:
    page = attribution_section([explained], network)
    for tag, count in {"section": 1, "audio": 3, "image": 3 + 3, "tr": 1 + 3 + 1 + 1}.items():
        assert len(re.findall(f"<{tag}[ >]", page)) == count
    assert page.count("time in the song; frequency in kHz") == 3 + 3
    assert page.count(">0:08</text>") >= 2  # where a fragment begins, and where the one before it ends
    assert f"Random, mean of {attribution_report.RANDOM_MAPS}" in page and "limit of chance" in page
    assert "which the best of 3 random orders would exceed in at most 5.0" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "&lt;b&gt;&amp;.mp3" in page and "<b>&.mp3" not in page
    assert f"{explained.methods[0].faithfulness.deletion_area:.1f}" in page and "synthetic library" in page


def test_the_page_states_doubts(network: Network, explained: AttributionReport) -> None:
    unsure = dataclasses.replace(explained, answer=dataclasses.replace(explained.answer, confident=False))
    chance = dataclasses.replace(explained, random=tuple(method.faithfulness for method in explained.methods))
    for report, unconfident, untrusted in ((explained, False, False), (unsure, True, False), (chance, False, True)):
        page = attribution_section([report], network)
        assert ("The model is not confident" in page) is unconfident
        assert ("Do not trust these maps" in page) is untrusted


class Knowing(Network):
    """A network with a distance: that of the image's mean from a planted one."""

    usual = 0.0

    def distance(self, image: np.ndarray) -> float:
        return abs(float(image.mean()) - self.usual)


def test_a_song_out_of_distribution_is_not_confident(network: Network) -> None:
    usual = fragment(0, 12)
    Knowing.usual = float(palette(PLANTED)[mel_image_levels(usual.samples, PLANTED)].mean())
    rule = DistanceRule(10.0, 9)
    knowing = Knowing(dataclasses.replace(network.info, out_of_distribution=rule), network.model)
    noise = np.random.default_rng(1).normal(0, 0.2, len(usual.samples)).astype(np.float32)
    strange = dataclasses.replace(usual, samples=noise)
    for model, song, confident in ((network, [strange], True), (knowing, [usual], True), (knowing, [strange], False)):
        assert attribute_genre(model, "song.wav", song, seed=1).answer.confident is confident


@pytest.mark.parametrize(("hz", "written"), [(0, "0 Hz"), (437.2, "440 Hz"), (1_124, "1.1 kHz"), (11_025, "11 kHz")])
def test_frequencies_are_formatted_with_two_digits(hz: float, written: str) -> None:
    assert hertz(hz).replace("\N{NO-BREAK SPACE}", " ") == written


RATE = PLANTED.sample_rate_hz
SECONDS = np.arange(PLANTED.fragment_samples) / RATE


def level_db(samples: np.ndarray, hz: float) -> float:
    """Measure how loud a frequency is, in dB of a sine of amplitude 1."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / RATE)
    return 20 * np.log10(2 * abs(np.sum(samples * window * turns)) / window.sum() + 1e-12)


def test_the_region_of_a_cell() -> None:
    importance = np.zeros((60, 80))
    importance[8:12, 16:21] = 1  # the third cell from above, about the fourth from the left
    found = attribution_report.region(importance, PLANTED)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((0.8, 1.05), abs=0.06)
    heights = [height_of(hz, PLANTED) for hz in (found.low_hz, found.high_hz)]
    assert heights == pytest.approx([48 / 60, 52 / 60], abs=1e-3)


def test_the_cut_has_only_its_band_and_time() -> None:
    inside, below, above = (np.sin(2 * np.pi * hz * SECONDS) for hz in (1_000, 400, 2_500))
    late = np.where(SECONDS > 2.5, np.sin(2 * np.pi * 1_100 * SECONDS), 0)
    samples = (0.1 * (inside + below + above + late)).astype(np.float32)
    sound = attribution_report.cut(samples, Region(1.0, 2.25, 800.0, 1_300.0), PLANTED)
    assert sound.dtype == np.float32 and len(sound) == 1.25 * RATE
    level = level_db(sound, 1_000)
    assert all(level_db(sound, hz) < level - 50 for hz in (400, 1_100, 2_500))
    assert np.abs(sound).max() == pytest.approx(np.abs(samples).max())
    assert abs(sound[0]) < 1e-3 > abs(sound[-1])
