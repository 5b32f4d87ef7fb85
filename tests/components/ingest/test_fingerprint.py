"""Changed copies of a recording are duplicates; similar recordings are not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.sounds import decode
from tumbao.components.ingest.fingerprint import WORDS_PER_SECOND, fingerprint, same_recordings
from tumbao.components.ingest.mel import mel_levels
from tumbao.schema.mel_spec import MelSpec

SPEC = MelSpec()
RATE = SPEC.sample_rate_hz
SECONDS = 31
PULSE = 0.25


def play(tune: int, seconds: float = SECONDS, rate: int = RATE, melody: float = 1.0) -> np.ndarray:
    """Play a tune: tempo, chords and drums are the same for every tune, notes and rhythm of the melody are its own."""
    rng = np.random.default_rng(tune)
    samples = np.zeros(round(seconds * rate) + rate)
    time = np.arange(rate) / rate
    stroke = np.random.default_rng(0).normal(size=rate) * np.exp(-time / 0.03)

    @functools.cache
    def tone(semitone: int) -> np.ndarray:
        hz = 110 * 2 ** (semitone / 12)
        partials = [np.sin(2 * np.pi * hz * partial * time) / partial for partial in (1, 2, 3, 4)]
        return np.sum(partials, axis=0)

    def note(start: float, semitone: int, decay: float, level: float = 1.0) -> None:
        samples[round(start * rate) :][:rate] += level * tone(semitone) * np.exp(-time / decay)

    for pulse, start in enumerate(np.arange(0, seconds, PULSE)):
        root = (0, 5, 7, 3)[pulse // 16 % 4]
        if pulse % 2 == 0:
            samples[round(start * rate) :][:rate] += 0.3 * stroke
        if pulse % 4 == 0:
            note(start, root - 12, 0.4)
            for third in (0, 4, 7):
                note(start, root + third, 0.2)
        if rng.random() < 0.6:
            note(start, root + 12 + int(rng.choice([0, 2, 4, 7, 9, 12])), float(rng.uniform(0.1, 0.5)), melody)
    return (0.08 * samples[: round(seconds * rate)]).astype(np.float32)


def describe(samples: np.ndarray, spec: MelSpec = SPEC) -> np.ndarray:
    """Return the fingerprint of a song: whole fragments, or one that is padded with silence."""
    size = spec.fragment_samples
    whole = samples[: max(1, len(samples) // size) * size]
    fragments = np.pad(whole, (0, -len(whole) % size)).reshape(-1, size).astype(np.float32)
    levels = mel_levels(tf.constant(fragments), spec).numpy()
    return np.concatenate([fingerprint(fragment, spec) for fragment in levels])


@pytest.fixture(scope="module")
def library() -> dict[str, np.ndarray]:
    """Eight songs that differ in their melodies only."""
    return {f"song {tune}": describe(play(tune)) for tune in range(8)}


def write(path: Path, samples: np.ndarray, rate: int, codec: str, kilobits: int) -> None:
    """Write float32 [n] in stereo, the right channel softer, with libsndfile or, where a codec is named, with libav."""
    stereo = np.stack([samples, 0.7 * samples])
    if not codec:
        soundfile.write(path, stereo.T, rate)
        return
    with av.open(str(path), "w") as container:
        quick = {"compression_level": "9"} if codec == "libmp3lame" else {}
        stream = container.add_stream(codec, rate=rate, layout="stereo", options=quick)
        stream.bit_rate = 1_000 * kilobits
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=rate)
        for start in range(0, len(samples), 1024):
            block = np.ascontiguousarray(stereo[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "rate", "codec", "kilobits"),
    [
        ("a.wav", 48_000, "", 0),
        ("a.flac", 44_100, "", 0),
        ("a.ogg", 44_100, "", 0),
        ("a.mp3", 44_100, "libmp3lame", 320),
        ("a.mp3", 44_100, "libmp3lame", 64),
        ("a.mp3", 22_050, "libmp3lame", 48),
        ("a.m4a", 44_100, "aac", 64),
        ("a.opus", 48_000, "libopus", 48),
    ],
)
def test_another_encoding_is_a_duplicate(
    tmp_path: Path, library: dict[str, np.ndarray], name: str, rate: int, codec: str, kilobits: int
) -> None:
    write(tmp_path / name, play(3, rate=rate), rate, codec, kilobits)
    copy = describe(decode(tmp_path / name, RATE).samples)
    assert same_recordings(library | {"copy": copy}) == [("copy", "song 3")]


def late(seconds: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda samples: np.concatenate([np.zeros(round(seconds * RATE), np.float32), samples])


def muffled(samples: np.ndarray) -> np.ndarray:
    """Take 6 dB an octave away, above 500 Hz."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(1 + (hz / 500) ** 2), len(samples)).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        lambda samples: 0.25 * samples,
        lambda samples: np.clip(4 * samples, -1, 1),
        muffled,
        late(0.026),
        late(0.1),
        late(1.3),
        lambda samples: samples[RATE // 2 :],
        lambda samples: samples[: 3 * len(samples) // 5],
    ],
    ids=["softer", "clipped", "muffled", "26 ms", "100 ms", "silence before", "beginning cut off", "end cut off"],
)
def test_a_changed_copy_is_a_duplicate(
    library: dict[str, np.ndarray], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert same_recordings(library | {"copy": describe(change(play(5)))}) == [("copy", "song 5")]


def test_parts_of_a_longer_song_are_duplicates() -> None:
    whole = play(20, 95)
    parts = {
        "whole": whole,
        "beginning": whole[: 38 * RATE],
        "middle": whole[round(31.7 * RATE) :],
        "other": play(21, 95),
    }
    described = {name: describe(samples) for name, samples in parts.items()}
    assert same_recordings(described) == [("beginning", "middle", "whole")]


def test_songs_of_the_same_tempo_chords_and_drums_are_different(library: dict[str, np.ndarray]) -> None:
    assert same_recordings(library) == []
    softly = {f"song {tune}": describe(play(tune, melody=0.1)) for tune in range(4)}
    assert same_recordings(softly) == []


def test_songs_that_share_one_of_two_voices_are_different() -> None:
    duets = {f"duet {tune}": describe((play(8) + play(tune, melody=0.5)) / 2) for tune in range(4)}
    assert same_recordings(duets) == []


def test_sounds_without_information_are_no_duplicates(rng: np.random.Generator) -> None:
    time = np.arange(SECONDS * RATE) / RATE
    beat = np.exp(-(time % 0.5) / 0.02)
    bar = play(7, 2)[: 2 * RATE]
    sounds = {
        "silence": 0 * time,
        "sine": 0.5 * np.sin(2 * np.pi * 440 * time),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 150 * time),
        "clicks": 0.5 * beat * np.sin(2 * np.pi * 1_000 * time),
        "loop": np.tile(bar, SECONDS)[: len(time)],
    }
    twice = {
        f"{name} {take}": samples + rng.normal(0, 1e-4, len(time)) for name, samples in sounds.items() for take in "ab"
    }
    twice |= {f"noise {take}": rng.uniform(-0.5, 0.5, len(time)) for take in "ab"}
    assert same_recordings({name: describe(samples) for name, samples in twice.items()}) == []


def test_a_few_seconds_are_no_duplicates() -> None:
    words = describe(play(3, 8))
    assert same_recordings({"a": words, "b": words}) == []
    assert same_recordings({"a": np.zeros(0, np.uint16), "b": np.zeros(150, np.uint16)}) == []
    assert same_recordings({}) == []


def test_copies_are_found_in_a_large_library_in_any_order(rng: np.random.Generator) -> None:
    def invent() -> np.ndarray:
        """Invent 210 s; each bit lasts for about 1.6 s."""
        flips = rng.integers(1 << 16, size=(3, 1_050), dtype=np.uint16)
        return np.bitwise_xor.accumulate(np.bitwise_and.reduce(flips))

    described = {f"{number:04d}": invent() for number in range(1_000)}
    expected = []
    for number in range(0, 1_000, 50):
        original = f"{number:04d}"
        for take in "ab":
            wrong = (rng.random((1_050, 16)) < 0.06) @ (1 << np.arange(16))
            described[original + take] = (described[original] ^ wrong.astype(np.uint16))[rng.integers(100) : 700]
        expected.append((original, original + "a", original + "b"))
    assert same_recordings(described) == expected
    shuffled = {name: described[name] for name in rng.permutation(list(described))}
    assert same_recordings(shuffled) == expected


def test_a_repeated_short_song_has_the_fingerprint_of_its_sound() -> None:
    short = play(3)[: 12 * SPEC.sample_rate_hz]
    whole = np.resize(short, SPEC.fragment_samples).astype(np.float32)
    levels = mel_levels(tf.constant(whole[np.newaxis]), SPEC).numpy()[0]
    found, expected = fingerprint(levels, SPEC, len(short)), describe(short)
    assert not found[12 * WORDS_PER_SECOND :].any()
    assert np.mean(found != expected) < 0.05  # at the end of the sound
