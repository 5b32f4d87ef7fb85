"""Metre, tempo, rhythm and instruments of composed songs, read back from the MIDI file."""

from __future__ import annotations

import functools
import io
from collections import Counter, defaultdict
from itertools import accumulate
from typing import Any

import pretty_midi
import pytest

from tumbao.datasets.demo.library import compose
from tumbao.schema.genres import GENRES

SONGS = range(4)
MANY = range(25)


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

    def notes(self, name: str) -> list[pretty_midi.Note]:
        return [note for track in self.midi.instruments if track.name == name for note in track.notes]

    def programs(self) -> dict[str, int]:
        return {track.name: track.program for track in self.midi.instruments if not track.is_drum}

    def beats(self, name: str, pitch: int | None = None) -> list[float]:
        """List an instrument's onsets in quarter notes from the start."""
        notes = [note for note in self.notes(name) if pitch in (None, note.pitch)]
        return [self.midi.time_to_tick(note.start) / self.midi.resolution for note in notes]

    def onsets(self, name: str, cycle: float, grid: float = 0.5, pitch: int | None = None) -> Counter[float]:
        """Count an instrument's onsets by their position in a cycle of quarter notes; the last chord is left out."""
        end = self.bar * sum(int(section.split()[1]) for section in self.facts["form"])
        return Counter(round(beat / grid) * grid % cycle for beat in self.beats(name, pitch) if beat < end - 0.2)

    def pattern(self, name: str, cycle: float, grid: float = 0.5, pitch: int | None = None) -> set[float]:
        """Positions of a cycle that have at least a third as many onsets as the one with most."""
        onsets = self.onsets(name, cycle, grid, pitch)
        return {position for position, count in onsets.items() if count > max(onsets.values()) / 3}

    def share(self, name: str, positions: set[float], grid: float = 0.5) -> float:
        """Share of an instrument's onsets that fall on some positions of the bar."""
        onsets = self.onsets(name, self.bar, grid)
        return sum(onsets[position] for position in positions) / sum(onsets.values())


@functools.cache
def song_of(genre: str, index: int) -> Song:
    return Song(genre, index)


@functools.cache
def facts(genre: str) -> list[dict[str, Any]]:
    return [compose(genre, index, seed=7).facts for index in MANY]


@pytest.mark.parametrize("index", SONGS)
@pytest.mark.parametrize(
    ("genre", "meter", "pulse", "slowest", "fastest"),
    [
        ("bachata", (4, 4), 1, 115, 140),
        ("salsa", (4, 4), 1, 160, 220),
        ("cumbia", (2, 2), 2, 80, 110),
        ("merengue", (2, 4), 1, 120, 160),
    ],
)
def test_metre_and_tempo(
    genre: str, meter: tuple[int, int], pulse: float, slowest: float, fastest: float, index: int
) -> None:
    song = song_of(genre, index)
    assert song.meter == meter
    assert slowest <= song.quarter_bpm / pulse <= fastest
    assert song.facts["bpm"] == pytest.approx(song.quarter_bpm / pulse, abs=0.1)


@pytest.mark.parametrize("genre", GENRES)
def test_every_song_has_its_length_and_its_own_tempo_key_and_form(genre: str) -> None:
    songs = [song_of(genre, index) for index in SONGS]
    assert all(65 <= song.seconds <= 108 for song in songs)
    assert sum(song.seconds >= 90 for song in songs) >= 2
    assert len({fact["bpm"] for fact in facts(genre)}) > 20
    assert len({(fact["key"], fact["mode"]) for fact in facts(genre)}) > 12
    assert len({tuple(fact["form"]) for fact in facts(genre)}) > 5
    assert {fact["ending"] for fact in facts(genre)} == {"hit", "ring", "fade"}


@pytest.mark.parametrize("genre", GENRES)
def test_the_tempo_drifts_and_drums_vary_from_bar_to_bar(genre: str) -> None:
    varied = 0
    for song in (song_of(genre, index) for index in SONGS):
        tempos = song.midi.get_tempo_changes()[1]
        assert 0 < (max(tempos) - min(tempos)) / song.quarter_bpm < 0.1
        bars = defaultdict(set)
        for track in song.midi.instruments:
            if track.is_drum and track.name != "claves":
                for beat in song.beats(track.name):
                    bar, sixteenth = divmod(round(beat * 4), round(song.bar * 4))
                    bars[bar].add((track.name, sixteenth))
        varied += len(set(map(frozenset, bars.values()))) > len(bars) / 2
    assert varied >= len(SONGS) / 2


@pytest.mark.parametrize("index", SONGS)
def test_bachata_rhythm_and_instruments(index: int) -> None:
    song = song_of("bachata", index)
    martillo = song.onsets("bongo", 4)
    assert min(martillo[eighth / 2] for eighth in range(8)) > 0.5 * max(martillo.values())
    assert song.onsets("bongo", 4, pitch=61).most_common(1)[0][0] == 3
    assert song.pattern("bass", 4) == {0, 2, 3}
    assert song.share("segunda", {0.5, 1.5, 2.5, 3.5}) >= 0.8
    assert song.share("guira", {0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5}, grid=0.25) > 0.6
    assert song.programs()["requinto"] in range(24, 28)
    assert len(song.notes("requinto")) > 200


@pytest.mark.parametrize("index", SONGS)
def test_the_clave_of_a_salsa_never_changes(index: int) -> None:
    song = song_of("salsa", index)
    strokes = {"2-3": {1, 2, 4, 5.5, 7}, "3-2": {0, 1.5, 3, 5, 6}}[song.facts["clave"]]
    counts = song.onsets("claves", 8)
    assert set(counts) == strokes
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("index", SONGS)
def test_salsa_rhythm_section(index: int) -> None:
    song = song_of("salsa", index)
    assert song.share("bass", {1.5, 3}) > 0.75
    assert song.pattern("congas", 4, pitch=63) == {3, 3.5}
    assert song.share("piano", {0.5, 1.5, 2.5, 3.5}) > 0.6
    two_side_first = song.facts["clave"] == "2-3"
    cascara = song.onsets("timbales", 8, pitch=37)
    on_two_side, on_three_side = (2, 6) if two_side_first else (6, 2)
    assert cascara[on_three_side] < cascara[on_two_side] / 4
    assert {"trumpets", "trombones"} <= song.programs().keys()
    assert not {"guira", "guacharaca", "accordion"} & {track.name for track in song.midi.instruments}


@pytest.mark.parametrize("index", SONGS)
def test_the_cowbell_of_a_salsa_plays_in_the_montuno_only(index: int) -> None:
    song = song_of("salsa", index)
    parts = [(section.split()[0], 4 * int(section.split()[1])) for section in song.facts["form"]]
    starts = [0, *accumulate(length for _, length in parts)]
    rung = song.beats("cowbell")
    for (name, length), start in zip(parts, starts, strict=False):
        strokes = sum(start + 0.2 < beat < start + length - 0.2 for beat in rung)
        assert strokes >= length if name == "montuno" else True
        assert strokes == 0 if name == "verse" else True


@pytest.mark.parametrize("index", SONGS)
def test_cumbia_rhythm_and_instruments(index: int) -> None:
    song = song_of("cumbia", index)
    assert song.pattern("guacharaca", 4) == {0, 1, 1.5, 2, 3, 3.5}
    assert song.pattern("llamador", 4) == {1, 3}
    assert song.pattern("bass", 4) == {0, 2, 3}
    assert song.onsets("tambora", 4, pitch=41)[3] > 20
    assert song.programs()[song.facts["style"]] in (21, 71, 75, 79)


@pytest.mark.parametrize("index", SONGS)
def test_merengue_rhythm_and_instruments(index: int) -> None:
    song = song_of("merengue", index)
    assert song.pattern("guira", 2, grid=0.25) == {step / 4 for step in range(8)}
    assert song.share("bass", {0, 1}) > 0.85
    assert song.onsets("tambora", 2, pitch=41).most_common(1)[0][0] == 0
    assert {1.5, 1.75} <= song.pattern("tambora", 2, grid=0.25, pitch=43)
    assert {"piano", "accordion"} & song.programs().keys()
    assert "saxophones" in song.programs()


@pytest.mark.parametrize("index", range(8))
def test_vallenato_rhythm_and_instruments(index: int) -> None:
    song = song_of("vallenato", index)
    assert {"accordion", "accordion basses", "bass"} <= song.programs().keys()
    assert {"caja", "guacharaca"} <= {track.name for track in song.midi.instruments if track.is_drum}
    assert song.programs()["accordion"] in (21, 23)
    compound = song.facts["air"] in ("merengue", "puya")
    assert song.meter == ((6, 8) if compound else (2, 2))
    pulses = song.quarter_bpm / (1.5 if compound else 2)
    slowest, fastest = {"paseo": (88, 118), "son": (68, 86), "merengue": (104, 128), "puya": (138, 164)}[
        song.facts["air"]
    ]
    assert slowest <= pulses <= fastest
    expected = {0, 0.5, 1, 1.5, 2, 2.5} if compound else {0, 1, 1.5, 2, 3, 3.5}
    assert song.pattern("guacharaca", song.bar) == expected


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
