"""Alterations of scores, and the measured effects of a classifier with a known preference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tumbao.components.ingest import progress
from tumbao.datasets.demo import instruments
from tumbao.datasets.demo.instruments import (
    DEFINING,
    MUTED,
    OTHER_RHYTHM,
    OTHER_SOUND,
    Ablation,
    Effect,
    ablate_instruments,
    excerpt,
    mean_effects,
    mute,
    shuffle_onsets,
    swap_timbre,
)
from tumbao.datasets.demo.library import compose
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, versions, waveform
from tumbao.datasets.demo.score import Score
from tumbao.schema.genres import GENRES

RATE, SECONDS = 4_000, 3.0


def duo() -> Score:
    """A low and a high wind for two seconds, and a drum in the first of them."""
    score = Score(60, (4, 4), 0, {})
    for name, pitch, pan in (("low", 45, 40), ("high", 84, 90)):
        track = score.track(name, 71, 100, pan)
        for beat in range(2):
            track.add(beat, 0.9, pitch, 100)
    score.track("drum", is_drum=True).loop(0, 1, 0.5, ((0, 75, 90),))
    return score


def energy(sound: np.ndarray, pitch: int) -> float:
    """Energy within a third of a semitone of a pitch, in the first two seconds."""
    spectrum = np.abs(np.fft.rfft(sound[: 2 * SAMPLE_RATE_HZ].mean(axis=1) * np.hanning(2 * SAMPLE_RATE_HZ))) ** 2
    hertz = np.fft.rfftfreq(2 * SAMPLE_RATE_HZ, 1 / SAMPLE_RATE_HZ)
    return float(spectrum[np.abs(hertz / (440 * 2 ** ((pitch - 69) / 12)) - 1) < 0.02].sum())


def test_muting_removes_one_instrument() -> None:
    score = duo()
    full, without = versions(score.midi(), [score.midi(), mute(score, "high").midi()])
    assert energy(without, 84) < 1e-3 * energy(full, 84)
    assert energy(without, 45) > 0.9 * energy(full, 45)
    assert [track.name for track in score.tracks] == ["low", "high", "drum"]


def test_versions_share_reverberation_and_loudness() -> None:
    score = duo()
    midi = score.midi()
    (same,) = versions(midi, [midi])
    assert np.array_equal(same, waveform(midi))
    (other,) = versions(mute(score, "low").midi(), [midi])
    assert other.shape == same.shape
    assert not np.array_equal(other, same)


def test_swap_timbre_keeps_onsets_and_other_tracks() -> None:
    score = duo()
    low, high, drum = score.tracks
    swapped, *others = swap_timbre(score, "low").tracks
    assert (others, swapped.notes) == ([high, drum], low.notes)
    assert swapped.program != low.program
    *others, swapped = swap_timbre(score, "drum").tracks
    assert others == [low, high]
    assert [note.start for note in swapped.notes] == [note.start for note in drum.notes]
    assert not {note.pitch for note in swapped.notes} & {note.pitch for note in drum.notes}


def test_shuffle_onsets_keeps_pitches_velocities_and_chords() -> None:
    score = Score(60, (4, 4), 0, {})
    track = score.track("segunda", 25)
    for beat in range(8):
        track.chord(beat, 0.5, (60, 64, 67), 80 + beat, strum=0.01)
    changed = shuffle_onsets(score, "segunda", np.random.default_rng(1)).tracks[0].notes
    assert [note.pitch for note in changed] == [note.pitch for note in track.notes]
    assert [note.velocity for note in changed] == [note.velocity for note in track.notes]
    starts = np.array([note.start for note in changed]).reshape(8, 3)
    assert (starts == starts[:, :1]).all()
    assert starts.min() >= 0
    assert starts.max() <= 7.02
    assert np.ptp(np.diff(starts[:, 0])) > 0.1


def test_the_excerpt_is_the_fragment_with_most_instruments() -> None:
    score = Score(60, (4, 4), 0, {})
    score.track("early").add(1, 1, 60, 90)
    both = score.track("both")
    both.add(2, 1, 60, 90)
    both.add(12, 1, 62, 90)
    score.track("late").add(11, 1, 64, 90)
    score.track("later").add(14, 1, 64, 90)
    found = excerpt(score, 10.0)
    assert {track.name: [(note.start, note.pitch) for note in track.notes] for track in found.tracks} == {
        "both": [(2.0, 62)],
        "late": [(1.0, 64)],
        "later": [(4.0, 64)],
    }


def test_unknown_instruments_and_sounds_without_a_relative_are_refused() -> None:
    with pytest.raises(ValueError, match=r"instrument of the band: low, high, drum\. Received: 'tuba'"):
        mute(duo(), "tuba")
    singer = Score(60, (4, 4), 0, {})
    singer.track("singer", 53).add(0, 1, 60, 90)
    with pytest.raises(ValueError, match=r"'singer' to have programs with a relative: .*Received: \[53\]"):
        swap_timbre(singer, "singer")


@pytest.mark.parametrize("genre", GENRES)
def test_defining_instruments_exist_and_can_be_changed(genre: str) -> None:
    score = compose(genre, 0, 7)
    assert set(DEFINING[genre]) <= {track.name for track in score.tracks}
    for name in DEFINING[genre]:
        swap_timbre(score, name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Songs of three seconds: congas, which define a salsa, and a bass."""

    def tiny(genre: str, index: int, seed: int) -> Score:
        score = Score(120, (4, 4), 0, {})
        score.track("congas", level=110, is_drum=True).loop(0, 6, 0.5, ((0, 63, 100),))
        score.track("bass", 33, 110).add(index % 2, 4, 33, 90)
        return score

    monkeypatch.setattr(instruments, "compose", tiny)


def prefers_high(sounds: np.ndarray) -> np.ndarray:
    """Classify sounds with energy above 300 Hz as salsa, with logits that grow with its share."""
    spectrum = np.abs(np.fft.rfft(sounds)) ** 2
    hertz = np.fft.rfftfreq(sounds.shape[1], 1 / RATE)
    share = spectrum[:, hertz > 300].sum(axis=1) / spectrum.sum(axis=1)
    return np.stack([np.zeros(len(sounds)), 200 * (share - 0.3)], axis=1)


@pytest.mark.usefixtures("small")
def test_the_preferred_instrument_has_the_largest_effect() -> None:
    reports: list[tuple[str, int, int]] = []
    with progress.listen(lambda *report: reports.append(report)):
        (salsa,) = ablate_instruments(prefers_high, ("polka", "salsa"), RATE, SECONDS)
    assert (salsa.genre, salsa.tried, salsa.correct) == ("salsa", 2, 2)
    assert reports[-1] == ("instruments", 2, 2)
    rows = mean_effects(salsa.effects)
    assert [(row.instrument, row.change) for row in rows] == [
        ("congas", MUTED),
        ("congas", OTHER_SOUND),
        ("congas", OTHER_RHYTHM),
        ("bass", MUTED),
    ]
    assert rows[0].log_odds_change < -1 < rows[-1].log_odds_change
    assert rows[0].low <= rows[0].log_odds_change <= rows[0].high
    assert rows[0].before > 0.5 > rows[0].after
    assert (rows[0].defining, rows[-1].defining, rows[0].songs) == (True, False, 2)
    assert (rows[0].correct, rows[-1].correct) == (0, 2)
    assert ablate_instruments(prefers_high, ("polka", "salsa"), RATE, SECONDS) == (salsa,)


@pytest.mark.usefixtures("small")
def test_songs_that_are_not_recognised_are_counted_only() -> None:
    def never_salsa(sounds: np.ndarray) -> np.ndarray:
        return np.tile([1.0, 0.0], (len(sounds), 1))

    unknown, genres = Ablation("salsa", 6, 0, ()), ("bachata", "salsa")
    assert ablate_instruments(never_salsa, genres, RATE, SECONDS, songs=1)[1] == unknown
    assert ablate_instruments(never_salsa, genres, RATE, SECONDS, songs=1, without={"bachata"}) == (unknown,)


def test_effects_are_averaged_over_songs() -> None:
    one = Effect("salsa", 1_000, "piano", MUTED, 0.9, 0.3, -3.0, correct=False)
    two = dataclasses.replace(one, song=1_001, before=0.7, after=0.5, log_odds_change=-1.0, correct=True)
    (row,) = mean_effects([one, two])
    assert (row.log_odds_change, row.low, row.high, row.songs, row.correct) == (-2.0, -3.0, -1.0, 2, 1)
    assert [row.before, row.after] == pytest.approx([0.8, 0.4])


def test_other_genres_and_zero_songs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected a genre out of bachata, .*Received: polka, waltz"):
        ablate_instruments(prefers_high, ("polka", "waltz"), RATE, SECONDS)
    with pytest.raises(ValueError, match=r"at least 1 song.*songs=0"):
        ablate_instruments(prefers_high, GENRES, RATE, SECONDS, songs=0)
