"""Salsa: son clave through the whole song, cáscara, conga tumbao, anticipated bass, piano montuno, bell and brass."""

from __future__ import annotations

import numpy as np

from tumbao.datasets.demo.arrangement import Arrangement, Cell, Form, begin, pick
from tumbao.datasets.demo.harmony import Section, voicing
from tumbao.datasets.demo.score import Hit, Score, Track, strokes

_BAR, _CYCLE = 4.0, 8.0
_EIGHTHS = [eighth / 2 for eighth in range(8)]
_CLAVES, _SHELL, _BELL = 75, 37, 56
_SLAP, _OPEN, _LOW = 62, 63, 64
_GUIRO_SHORT, _GUIRO_LONG, _MARACAS = 73, 74, 70
_MACHO, _HEMBRA, _TIMBAL_HIGH, _TIMBAL_LOW, _CRASH = 60, 61, 65, 66, 49

_CLAVE_TWO, _CLAVE_THREE = (1.0, 2.0), (0.0, 1.5, 3.0)
"""The son clave: strokes in the bar of two and in the bar of three; the other patterns have such bars too."""

_CASCARA_TWO, _CASCARA_THREE = (0, 1, 2, 2.5, 3.5), (0, 1, 1.5, 2.5, 3.5)
_MONTUNO_TWO, _MONTUNO_THREE = (0, 1, 1.5, 2.5, 3.5), (0.5, 1.5, 2.5, 3.5)
_TUMBAO = strokes(_EIGHTHS, (_LOW, _SLAP, _SLAP, _SLAP, _LOW, _SLAP, _OPEN, _OPEN), (46, 42, 104, 44, 44, 42, 100, 92))
_MARTILLO = strokes(_EIGHTHS, (_MACHO,) * 6 + (_HEMBRA, _MACHO), (96, 54, 80, 58, 92, 56, 98, 58))
_GUIRO = strokes((0, 1, 1.5), (_GUIRO_LONG, _GUIRO_SHORT, _GUIRO_SHORT), (100, 74, 70))
_CAMPANA = strokes((0, 2, 1, 1.5, 3, 3.5), (_BELL,) * 6, (108, 108, 70, 70, 70, 70))
_ABANICO: tuple[Hit, ...] = (
    (1.5, _TIMBAL_HIGH, 92),
    *((2 + step / 4, _TIMBAL_HIGH, 70 + 5 * step) for step in range(7)),
    (3.75, _TIMBAL_LOW, 96),
)

_CELLS: tuple[Cell, ...] = (
    ((0.5, 0.5), (1, 0.5), (1.5, 1), (2.5, 0.5), (3, 1)),
    ((0, 1), (1, 0.5), (1.5, 0.5), (2.5, 1.5)),
    ((1, 0.5), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 0.5)),
    ((0, 1.5), (1.5, 1.5), (3, 1)),
    ((0.5, 1), (1.5, 1), (2.5, 1), (3.5, 0.5)),
)
_RIFFS: tuple[Cell, ...] = (
    ((0, 0.5), (1, 0.5), (1.5, 0.5), (2.5, 0.5), (3.5, 0.5)),
    ((0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
    ((0, 0.5), (0.5, 0.5), (1.5, 1), (3, 1)),
    ((1, 0.5), (2, 0.5), (2.5, 1), (3.5, 0.5)),
)
_FORMS: tuple[Form, ...] = (
    (("intro", 2), ("verse", 4), ("chorus", 2), ("montuno", 4), ("mambo", 3), ("montuno", 3), ("coda", 1)),
    (("intro", 2), ("verse", 5), ("break", 1), ("montuno", 5), ("mambo", 3), ("montuno", 3)),
    (("mambo", 2), ("verse", 4), ("chorus", 2), ("break", 1), ("montuno", 4), ("solo", 3), ("mambo", 2), ("coda", 1)),
)
_CHANGES = {
    "minor": {
        "any": ("i | iv | V7 | i", "i | bVII | bVI | V7", "i vi | iio V7 | i | V7", "i | i | iv V7 | i"),
        "montuno": ("i | V7 | V7 | i", "i iv | V7 iv", "i | bVII | bVI | V7", "iv | i | V7 | i"),
        "mambo": ("i iv | V7 iv", "i | V7 | V7 | i"),
        "break": ("iv | V7 | V7 | V7",),
    },
    "major": {
        "any": ("I vi | ii V7", "I | IV | V7 | I", "I | ii V7 | iii vi | ii V7", "Imaj7 | vi7 | ii7 | V7"),
        "montuno": ("I IV | V7 IV", "I | V7 | V7 | I", "ii7 V7 | I", "I | IV | V7 | IV"),
        "mambo": ("I IV | V7 IV", "ii7 | V7 | I | vi7"),
        "break": ("ii | V7 | V7 | V7",),
    },
}
_DRUMS = {
    "claves": (70, 88),
    "timbales": (98, 40),
    "congas": (116, 76),
    "bongo": (88, 52),
    "cowbell": (104, 48),
    "guiro": (96, 100),
    "maracas": (64, 28),
}


def compose(rng: np.random.Generator) -> Score:
    """Compose a salsa: 4/4 at 160 to 220 bpm; `facts["clave"]` is "2-3" or "3-2" and holds for the whole song."""
    clave = str(pick(rng, ("2-3", "3-2")))
    song = begin(rng, rng.uniform(162, 218), 1, (4, 4), 0.58, _FORMS, _CHANGES)
    song.score.facts["clave"] = clave
    two_first = clave == "2-3"
    drums = song.seat_drums(_DRUMS)
    if rng.random() < 0.3:
        del drums["guiro"]
    if rng.random() < 0.5:
        del drums["maracas"]
    bass = song.seat("bass", int(pick(rng, (32, 33, 35))), 100)
    piano = song.seat("piano", int(pick(rng, (0, 0, 1))), 108, 46)
    singer, coro = song.seat_singers(72, 78)
    trumpets = song.seat("trumpets", int(pick(rng, (56, 61))), 96, 84)
    trombones = song.seat("trombones", 57, 84, 36)
    verse, call, answer = (song.motifs(_CELLS, _BAR) for _ in range(3))
    riff = song.motifs(_RIFFS, _BAR)
    for number, section in enumerate(song.sections):
        hot = section.name in ("montuno", "mambo", "solo", "coda")
        _percussion(drums, section, two_first, hot)
        if section.name == "break":
            _hits((piano, trumpets, trombones), bass, section, two_first)
            continue
        _bass(song, bass, section)
        _montuno(piano, section, two_first, hot or number == 0)
        if section.name in ("verse", "chorus"):
            for reply in section.replies(2):
                lead = song.sing(trumpets, reply, riff, 67, 82, phrase_bars=2, rest_beats=0.5, velocity=84)
                song.harmonise(trombones, reply, lead, 7)
            sung = song.sing(singer, section, verse, 58, 76)
            if section.name == "chorus":
                song.harmonise(coro, section, sung)
        elif section.name == "montuno":
            song.sing(singer, section, call, 60, 77, rest_beats=9.0, velocity=94)
            for reply in section.replies(2):
                song.harmonise(coro, reply, song.sing(coro, reply, answer, 60, 74, phrase_bars=2, rest_beats=0.5))
        elif section.name == "solo":
            song.sing(pick(rng, (trumpets, piano)), section, call, 67, 86, rest_beats=1.0, velocity=100)
        else:
            lead = song.sing(trumpets, section, riff, 67, 84, rest_beats=0.5, velocity=98)
            song.harmonise(trumpets, section, lead)
            song.harmonise(trombones, section, lead, 7)
    last = {"timbales": (_CRASH, 100), "congas": (_OPEN, 110), "bongo": (_HEMBRA, 100)}
    return song.finish(bass, (piano, trumpets, trombones), last, rng.uniform(0, 0.05), 0.5)


def _two_bars(two_first: bool, two: tuple[float, ...], three: tuple[float, ...]) -> list[float]:
    """Arrange a pattern of two bars in the order of the clave."""
    first, second = (two, three) if two_first else (three, two)
    return [*first, *(_BAR + beat for beat in second)]


def _percussion(drums: dict[str, Track], section: Section, two_first: bool, hot: bool) -> None:
    start, end = section.start, section.end
    clave = [(beat, _CLAVES, 96) for beat in _two_bars(two_first, _CLAVE_TWO, _CLAVE_THREE)]
    drums["claves"].loop(start, end, _CYCLE, clave)
    if section.name != "break":
        drums["congas"].loop(start, end, _BAR, _TUMBAO)
        drums["congas"].loop(start, end, _CYCLE, ((_BAR * two_first + 1.5, _LOW, 88),))
        if "guiro" in drums:
            drums["guiro"].loop(start, end, 2, _GUIRO)
        if "maracas" in drums:
            drums["maracas"].loop(start, end, 1, ((0, _MARACAS, 90), (0.5, _MARACAS, 66)))
        if hot:
            drums["cowbell"].loop(start, end, _BAR, _CAMPANA)
        else:
            drums["bongo"].loop(start, end, _BAR, _MARTILLO)
        cascara = [
            (beat, _SHELL if not hot else 67, 104 - 16 * (beat % 1))
            for beat in _two_bars(two_first, _CASCARA_TWO, _CASCARA_THREE)
        ]
        drums["timbales"].loop(start, section.last_bar, _CYCLE, cascara, 0.9)
    drums["timbales"].loop(section.last_bar, end, _BAR, _ABANICO)


def _bass(song: Arrangement, bass: Track, section: Section) -> None:
    """Play the fifth on the second half of beat 2 and the root of the next bar on beat 4."""
    bass.add(section.start, 1.3, section.chord_at(section.start).bass, 96)
    for start in section.bar_starts():
        chord = section.chord_at(start + 2)
        with_fifth = song.rng.random() < 0.8
        middle = chord.bass_fifth(chord.bass + 6, chord.bass, chord.bass + 11) if with_fifth else chord.bass
        bass.add(start + 1.5, 1.4, middle, 92)
        if start + 3 < section.end:
            bass.add(start + 3, 2.3, section.chord_at(start + _BAR).bass, 102)


def _montuno(piano: Track, section: Section, two_first: bool, full: bool) -> None:
    """Alternate octaves and inner voices; a note just before a bar takes the chord of that bar."""
    shape = None
    velocity = 92 if full else 76
    pattern = _two_bars(two_first, _MONTUNO_TWO, _MONTUNO_THREE)
    for bar, start in enumerate(section.bar_starts()):
        offsets = [beat % _BAR for beat in pattern if int(beat // _BAR) == bar % 2]
        for order, beat in enumerate(offsets):
            shape = voicing(section.chord_at(start + beat + 0.5 * (beat % 1 > 0)), 66, shape)
            tone = shape[(order * 2 + bar) % 3]
            if order % 2 == 0:
                piano.chord(start + beat, 0.45, (tone - 12, tone, tone + 12) if full else (tone, tone + 12), velocity)
            else:
                piano.chord(start + beat, 0.4, [pitch for pitch in shape if pitch != tone], velocity - 10)


def _hits(players: tuple[Track, ...], bass: Track, section: Section, two_first: bool) -> None:
    """Play the clave with the whole band."""
    for turn in np.arange(section.start, section.end, _CYCLE).tolist():
        for beat in _two_bars(two_first, _CLAVE_TWO, _CLAVE_THREE):
            if turn + beat < section.last_bar:
                chord = section.chord_at(turn + beat)
                bass.add(turn + beat, 0.5, chord.bass, 104)
                for player in players:
                    player.chord(turn + beat, 0.4, voicing(chord, 66), 96)
