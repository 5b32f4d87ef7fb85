"""Merengue: güira in sixteenths, tambora with rolls into the bar, bass on the beats, jaleos of piano and saxophones."""

from __future__ import annotations

import numpy as np

from tumbao.datasets.demo.arrangement import Arrangement, Cell, Form, Motif, begin, pick
from tumbao.datasets.demo.harmony import Section
from tumbao.datasets.demo.score import Hit, Score, Track, strokes

_BAR = 2.0
_HEAD, _HIGH, _RIM, _SLAP = 41, 43, 37, 62
_KICK, _CRASH, _CONGA_OPEN, _CONGA_LOW = 36, 49, 63, 64
_CABASA, _MARACAS = 69, 70

_TAMBORAS = (
    strokes(
        (0, 0.5, 0.75, 1, 1.25, 1.5, 1.75),
        (_HEAD, _RIM, _SLAP, _RIM, _HIGH, _HIGH, _HIGH),
        (112, 84, 70, 88, 76, 86, 98),
    ),
    strokes((0, 0.5, 1, 1.25, 1.5, 1.75), (_HEAD, _RIM, _SLAP, _RIM, _HIGH, _HIGH), (110, 80, 90, 70, 90, 100)),
)
_ROLL = strokes([step / 4 for step in range(8)], (_RIM,) * 3 + (_HIGH,) * 5, range(76, 116, 5))
_CONGAS = strokes((0.5, 1, 1.5, 1.75), (_SLAP, _CONGA_LOW, _CONGA_OPEN, _CONGA_OPEN), (90, 70, 94, 84))

_CELLS: tuple[Cell, ...] = (
    ((0, 0.5), (0.5, 0.5), (1, 1)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5)),
    ((0, 0.75), (0.75, 0.25), (1, 0.5), (1.5, 0.5)),
    ((0, 1), (1, 0.5), (1.5, 0.5)),
    ((0.5, 0.25), (0.75, 0.25), (1, 1)),
)
_JALEOS: tuple[Cell, ...] = (
    ((0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1, 0.25), (1.25, 0.25), (1.5, 0.25), (1.75, 0.25)),
    ((0, 0.25), (0.5, 0.25), (0.75, 0.25), (1.25, 0.25), (1.5, 0.25), (1.75, 0.25)),
    ((0, 0.5), (0.5, 0.25), (0.75, 0.25), (1, 0.5), (1.5, 0.25), (1.75, 0.25)),
    ((0.25, 0.25), (0.5, 0.25), (0.75, 0.5), (1.25, 0.25), (1.5, 0.25), (1.75, 0.25)),
)
_PIANOS = ((0, 0.5, 0.75, 1.25, 1.75), (0, 0.25, 0.75, 1, 1.5, 1.75), (0, 0.5, 1, 1.25, 1.75))
_FORMS: tuple[Form, ...] = (
    (("intro", 2), ("verse", 4), ("chorus", 3), ("jaleo", 3), ("chorus", 3), ("mambo", 3), ("coda", 1)),
    (("jaleo", 2), ("verse", 4), ("chorus", 3), ("break", 1), ("mambo", 3), ("chorus", 3), ("jaleo", 3)),
    (("paseo", 2), ("verse", 4), ("jaleo", 3), ("verse", 3), ("chorus", 4), ("mambo", 3), ("coda", 1)),
)
_CHANGES = {
    "minor": {
        "any": ("i | i | V7 | V7 | V7 | V7 | i | i", "i | i | iv | iv | V7 | V7 | i | i", "i | bVII | bVI | V7"),
        "jaleo": ("i | i | V7 | V7", "i | V7 | V7 | i"),
        "mambo": ("i | i | V7 | V7", "iv | i | V7 | i"),
    },
    "major": {
        "any": ("I | I | V7 | V7 | V7 | V7 | I | I", "I | I | IV | IV | V7 | V7 | I | I", "I | vi | ii | V7"),
        "jaleo": ("I | I | V7 | V7", "I | V7 | V7 | I"),
        "mambo": ("I | IV | V7 | IV", "I | I | V7 | V7"),
    },
}


def compose(rng: np.random.Generator) -> Score:
    """Compose a merengue: 2/4 at 120 to 160 bpm; `facts["style"]` is "orquesta" (piano) or "típico" (accordion)."""
    with_orchestra = rng.random() < 0.75
    song = begin(rng, rng.uniform(121, 158), 1, (2, 4), 0.45, _FORMS, _CHANGES, 8)
    song.score.facts["style"] = "orquesta" if with_orchestra else "típico"
    drums = song.seat_drums({"guira": (118, 92), "tambora": (104, 44), "congas": (84, 78), "bombo": (80, 64)})
    bass = song.seat("bass", int(pick(rng, (33, 33, 34))), 100)
    keys_name, programs, level, pan = ("piano", (0, 1), 84, 46) if with_orchestra else ("accordion", (21,), 88, 50)
    keys = song.seat(keys_name, int(pick(rng, programs)), level, pan)
    saxes = song.seat("saxophones", int(pick(rng, (66, 64))), 88, 80)
    trumpets = song.seat("trumpets", int(pick(rng, (56, 61))), 76, 34)
    singer, coro = song.seat_singers(70, 74)
    verse, chorus, jaleo, calls = (song.motifs(cells, _BAR) for cells in (_CELLS, _CELLS, _JALEOS, _CELLS))
    pattern, piano, beat = _guira(song), pick(rng, _PIANOS), pick(rng, _TAMBORAS)
    with_congas, with_kick = rng.random() < 0.5, with_orchestra and rng.random() < 0.5
    for section in song.sections:
        _tambora(drums["tambora"], section, beat)
        gain = 0.85 if section.name in ("intro", "paseo") else 1.0
        drums["guira"].loop(section.start, section.end, _BAR, pattern, gain)
        if with_congas and section.name not in ("paseo", "break"):
            drums["congas"].loop(section.start, section.end, _BAR, _CONGAS)
        if with_kick and section.name in ("chorus", "mambo", "jaleo"):
            drums["bombo"].loop(section.start, section.end, 1, ((0, _KICK, 92),))
        if section.name != "break":
            _bass(song, bass, section)
            _comp(keys, section, piano)
        if section.name in ("verse", "chorus"):
            sung = song.sing(singer, section, verse if section.name == "verse" else chorus, 60, 77, rest_beats=1.5)
            if section.name == "chorus":
                song.harmonise(coro, section, sung)
            _jaleo(song, saxes, section, jaleo, 86 if section.name == "chorus" else 66)
        elif section.name in ("jaleo", "mambo", "break"):
            _jaleo(song, keys if section.name == "jaleo" and not with_orchestra else saxes, section, jaleo, 98)
            if section.name == "mambo" and with_orchestra:
                called = song.sing(trumpets, section, calls, 66, 82, rest_beats=3, velocity=96)
                song.harmonise(trumpets, section, called)
        else:
            opened = song.sing(trumpets if with_orchestra else keys, section, calls, 65, 82, velocity=94)
            song.harmonise(saxes, section, opened)
    last = {"tambora": (_HEAD, 115), "guira": (_CABASA, 100), "bombo": (_CRASH, 90)}
    return song.finish(bass, (keys, saxes), last, rng.uniform(0, 0.1), 0.25)


def _guira(song: Arrangement) -> tuple[Hit, ...]:
    """Play all sixteenths, the beats and the sixteenths before them louder."""
    stroke, answer = pick(song.rng, ((_CABASA, _CABASA), (_CABASA, _MARACAS), (_MARACAS, _CABASA)))
    accents = pick(song.rng, ((108, 76, 88, 98), (106, 78, 98, 84), (104, 74, 100, 90)))
    return tuple((step / 4, stroke if step % 4 in (0, 3) else answer, accents[step % 4]) for step in range(8))


def _tambora(tambora: Track, section: Section, beat: tuple[Hit, ...]) -> None:
    if section.name == "paseo":
        tambora.loop(section.start, section.last_bar, 1, ((0, _RIM, 80), (0.5, _RIM, 62)))
    else:
        tambora.loop(section.start, section.last_bar, _BAR, beat)
    tambora.loop(section.last_bar, section.end, _BAR, _ROLL)


def _bass(song: Arrangement, bass: Track, section: Section) -> None:
    """Play root and fifth on the beats; occasionally an eighth leads into the next bar."""
    for start in section.bar_starts():
        chord = section.chord_at(start)
        bass.add(start, 0.85, chord.bass, 104)
        bass.add(start + 1, 0.8, chord.bass_fifth(chord.bass - 3, 29, 45), 96)
        if song.rng.random() < 0.12:
            bass.add(start + 1.5, 0.4, section.chord_at(start + _BAR).bass - 1, 84)


def _comp(keys: Track, section: Section, offsets: tuple[float, ...]) -> None:
    """Play the piano's broken chords in octaves, or the accordion's."""
    for number, (beat, shape) in enumerate(section.voicings(offsets, 67)):
        bar, order = divmod(number, len(offsets))
        tone = shape[(order + bar) % 3]
        keys.chord(beat, 0.22, (tone, tone + 12) if order % 2 == 0 else shape[:2], 82 - 8 * (order % 2))


def _jaleo(song: Arrangement, lead: Track, section: Section, jaleo: tuple[Motif, ...], velocity: float) -> None:
    """Repeat a riff of the saxophones in thirds."""
    played = song.sing(lead, section, jaleo, 60, 79, phrase_bars=8, rest_beats=0.25, velocity=velocity)
    song.harmonise(lead, section, played)
