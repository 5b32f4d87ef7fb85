"""Metre, tempo, rhythm and instruments of composed songs, read back from the MIDI file."""

from __future__ import annotations

import functools
import io
from collections import Counter, defaultdict
from typing import Any

import pretty_midi
import pytest

from tumbao.datasets.demo.library import compose
from tumbao.schema.genres import GENRES

MANY = range(25)

METRES = {
    "bachata": ((4, 4), 1, 115, 140),
    "salsa": ((4, 4), 1, 160, 220),
    "cumbia": ((2, 2), 2, 80, 110),
    "merengue": ((2, 4), 1, 120, 160),
    "vallenato paseo": ((2, 2), 2, 88, 118),
    "vallenato son": ((2, 2), 2, 68, 86),
    "vallenato merengue": ((6, 8), 1.5, 104, 128),
    "vallenato puya": ((6, 8), 1.5, 138, 164),
}
"""Metre, pulse in quarter notes, and slowest and fastest tempo, by genre and air."""


class Song:
    """A song as its MIDI file has it."""

    def __init__(self, genre: str, index: int) -> None:
        score = compose(genre, index, seed=7)
        self.facts = score.facts
        self.midi = pretty_midi.PrettyMIDI(io.BytesIO(score.midi()))
        self.quarter_bpm = float(self.midi.get_tempo_changes()[1][0])
        signature = self.midi.time_signature_changes[0]
        self.meter = (signature.numerator, signature.denominator)
        self.bar = 4 * signature.numerator / signature.denominator
        self.seconds = self.midi.get_end_time()

    def beats(self, name: str, pitch: int | None = None) -> list[float]:
        """List an instrument's onsets in quarter notes from the start."""
        return [
            self.midi.time_to_tick(note.start) / self.midi.resolution
            for track in self.midi.instruments
            for note in track.notes
            if track.name == name and pitch in (None, note.pitch)
        ]

    def onsets(self, name: str, cycle: float, grid: float = 0.5, pitch: int | None = None) -> Counter[float]:
        """Count an instrument's onsets by their position in a cycle of quarter notes; the last chord is left out."""
        end = self.bar * sum(int(section.split()[1]) for section in self.facts["form"])
        return Counter(round(beat / grid) * grid % cycle for beat in self.beats(name, pitch) if beat < end - 0.2)

    def pattern(self, name: str, cycle: float, grid: float = 0.5, pitch: int | None = None) -> set[float]:
        """Positions of a cycle that have at least a third as many onsets as the one with most."""
        onsets = self.onsets(name, cycle, grid, pitch)
        return {position for position, count in onsets.items() if count > max(onsets.values()) / 3}


@functools.cache
def songs_of(genre: str) -> list[Song]:
    return [Song(genre, index) for index in range(8 if genre == "vallenato" else 4)]


@functools.cache
def facts(genre: str) -> list[dict[str, Any]]:
    return [compose(genre, index, seed=7).facts for index in MANY]


@pytest.mark.parametrize("genre", GENRES)
def test_every_song_has_metre_length_and_its_own_tempo_key_and_form(genre: str) -> None:
    songs = songs_of(genre)
    for song in songs:
        meter, pulse, slowest, fastest = METRES[" ".join([genre, *filter(None, [song.facts.get("air")])])]
        assert song.meter == meter
        assert slowest <= song.quarter_bpm / pulse <= fastest
        assert song.facts["bpm"] == pytest.approx(song.quarter_bpm / pulse, abs=0.1)
        assert 65 <= song.seconds <= 108
    assert sum(song.seconds >= 90 for song in songs) >= 2
    assert len({fact["bpm"] for fact in facts(genre)}) > 20
    assert len({(fact["key"], fact["mode"]) for fact in facts(genre)}) > 12
    assert len({tuple(fact["form"]) for fact in facts(genre)}) > 5
    assert {fact["ending"] for fact in facts(genre)} == {"hit", "ring", "fade"}


@pytest.mark.parametrize("genre", GENRES)
def test_the_tempo_drifts_and_drums_vary_from_bar_to_bar(genre: str) -> None:
    varied = 0
    for song in songs_of(genre):
        tempos = song.midi.get_tempo_changes()[1]
        assert 0 < (max(tempos) - min(tempos)) / song.quarter_bpm < 0.1
        bars = defaultdict(set)
        for track in song.midi.instruments:
            if track.is_drum and track.name != "claves":
                for beat in song.beats(track.name):
                    bar, sixteenth = divmod(round(beat * 4), round(song.bar * 4))
                    bars[bar].add((track.name, sixteenth))
        varied += len(set(map(frozenset, bars.values()))) > len(bars) / 2
    assert varied >= len(songs_of(genre)) / 2


EIGHTHS = {eighth / 2 for eighth in range(8)}


@pytest.mark.parametrize(
    ("genre", "track", "cycle", "grid", "pitch", "pattern"),
    [
        ("bachata", "bongo", 4, 0.5, None, EIGHTHS),
        ("bachata", "bass", 4, 0.5, None, {0, 2, 3}),
        ("salsa", "congas", 4, 0.5, 63, {3, 3.5}),
        ("salsa", "bass", 4, 0.5, None, {1.5, 3}),
        ("cumbia", "guacharaca", 4, 0.5, None, {0, 1, 1.5, 2, 3, 3.5}),
        ("cumbia", "llamador", 4, 0.5, None, {1, 3}),
        ("cumbia", "bass", 4, 0.5, None, {0, 2, 3}),
        ("merengue", "guira", 2, 0.25, None, {step / 4 for step in range(8)}),
        ("merengue", "tambora", 2, 0.5, 41, {0}),
        ("merengue", "bass", 2, 0.5, None, {0, 1}),
    ],
)
def test_an_instrument_plays_the_rhythm_of_its_genre(
    genre: str, track: str, cycle: float, grid: float, pitch: int | None, pattern: set[float]
) -> None:
    for song in songs_of(genre):
        assert song.pattern(track, cycle, grid, pitch) == pattern


def test_the_guacharaca_of_a_vallenato_follows_its_air() -> None:
    for song in songs_of("vallenato"):
        compound = song.facts["air"] in ("merengue", "puya")
        expected = {0, 0.5, 1, 1.5, 2, 2.5} if compound else {0, 1, 1.5, 2, 3, 3.5}
        assert song.pattern("guacharaca", song.bar) == expected


def test_the_clave_of_a_salsa_never_changes() -> None:
    for song in songs_of("salsa"):
        strokes = {"2-3": {1, 2, 4, 5.5, 7}, "3-2": {0, 1.5, 3, 5, 6}}[song.facts["clave"]]
        counts = song.onsets("claves", 8)
        assert set(counts) == strokes
        assert len(set(counts.values())) == 1


def test_a_band_has_the_instruments_of_its_genre() -> None:
    for genre, instruments in {
        "bachata": {"requinto", "segunda", "guira"},
        "salsa": {"trumpets", "trombones", "piano", "timbales"},
        "cumbia": {"tambora"},
        "merengue": {"saxophones"},
        "vallenato": {"accordion", "accordion basses", "bass", "caja"},
    }.items():
        for song in songs_of(genre):
            assert instruments <= {track.name for track in song.midi.instruments}


@pytest.mark.parametrize(
    ("genre", "fact", "least"),
    [
        ("bachata", "mode", {"minor": 0.65, "major": 0}),
        ("salsa", "clave", {"2-3": 0.25, "3-2": 0.25}),
        ("cumbia", "style", {"accordion": 0, "clarinet": 0, "gaita": 0}),
        ("vallenato", "air", {"paseo": 0, "son": 0, "merengue": 0, "puya": 0}),
    ],
)
def test_songs_vary_within_a_genre(genre: str, fact: str, least: dict[str, float]) -> None:
    counts = Counter(one[fact] for one in facts(genre))
    assert counts.keys() == least.keys()
    assert all(counts[value] > share * len(MANY) for value, share in least.items())
