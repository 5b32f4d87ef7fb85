"""Salsa: son clave through the whole song, cáscara, conga tumbao, anticipated bass, piano montuno, bell and brass."""

from __future__ import annotations

import numpy as np

from tumbao.datasets.demo.arrangement import SINGERS, Arrangement, begin, pick
from tumbao.datasets.demo.form import Section
from tumbao.datasets.demo.harmony import nearest, voicing
from tumbao.datasets.demo.melody import Cell, Motif, harmonised
from tumbao.datasets.demo.score import Feel, Hit, Score, Track

_BAR, _CYCLE = 4.0, 8.0
_CLAVES, _SHELL, _BELL = 75, 37, 56
_SLAP, _OPEN, _LOW = 62, 63, 64
_MACHO, _HEMBRA, _TIMBAL_HIGH, _TIMBAL_LOW, _CRASH = 60, 61, 65, 66, 49

THREE_SIDE, TWO_SIDE = (0.0, 1.5, 3.0), (1.0, 2.0)
"""The son clave: strokes in the bar of three and in the bar of two, in quarter notes."""

_CASCARA_THREE, _CASCARA_TWO = (0, 1, 1.5, 2.5, 3.5), (0, 1, 2, 2.5, 3.5)
_MONTUNO_TWO, _MONTUNO_THREE = (0, 1, 1.5, 2.5, 3.5), (0.5, 1.5, 2.5, 3.5)
_TUMBAO: tuple[Hit, ...] = (
    (0, _LOW, 46),
    (0.5, _SLAP, 42),
    (1, _SLAP, 104),
    (1.5, _SLAP, 44),
    (2, _LOW, 44),
    (2.5, _SLAP, 42),
    (3, _OPEN, 100),
    (3.5, _OPEN, 92),
)
_MARTILLO: tuple[Hit, ...] = (
    *((eighth / 2, _MACHO, velocity) for eighth, velocity in enumerate((96, 54, 80, 58, 92, 56))),
    (3.0, _HEMBRA, 98),
    (3.5, _MACHO, 58),
)
_CAMPANA: tuple[Hit, ...] = (
    *((beat, _BELL, 108) for beat in (0, 2)),
    *((beat, _BELL, 70) for beat in (1, 1.5, 3, 3.5)),
)
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
_FORMS = (
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


def compose(rng: np.random.Generator) -> Score:
    """Compose a salsa: 4/4 at 160 to 220 bpm; `facts["clave"]` is "2-3" or "3-2" and holds for the whole song."""
    clave = str(pick(rng, ("2-3", "3-2")))
    song = begin(rng, rng.uniform(162, 218), 1, (4, 4), 0.58, _FORMS, _CHANGES, 4)
    song.score.facts["clave"] = clave
    two_first = clave == "2-3"
    seats = {
        name: song.seat(name, level=level, pan=pan, is_drum=True)
        for name, level, pan in (
            ("claves", 92, 88),
            ("timbales", 118, 40),
            ("congas", 112, 76),
            ("bongo", 84, 52),
            ("cowbell", 104, 48),
        )
    }
    bass = song.seat("bass", int(pick(rng, (32, 33, 35))), 100)
    piano = song.seat("piano", int(pick(rng, (0, 0, 1))), 108, 46)
    singer_name = str(pick(rng, tuple(SINGERS)))
    singer, coro = song.seat("singer", SINGERS[singer_name], 76), song.seat("coro", 52, 72, 78)
    trumpets = song.seat("trumpets", int(pick(rng, (56, 61))), 96, 84)
    trombones = song.seat("trombones", 57, 84, 36)
    song.score.facts["singer"] = singer_name
    verse, call, answer = (song.motifs(_CELLS, _BAR) for _ in range(3))
    riff = song.motifs(_RIFFS, _BAR)
    for number, section in enumerate(song.sections):
        hot = section.name in ("montuno", "mambo", "solo", "coda")
        _percussion(song, seats, section, two_first, hot)
        if section.name == "break":
            _hits(song, (piano, trumpets, trombones), bass, section, two_first)
            continue
        _bass(song, bass, section)
        _montuno(song, piano, section, two_first, hot or number == 0)
        if section.name in ("verse", "chorus"):
            _backing(song, trumpets, trombones, section, riff)
            sung = song.sing(singer, section, verse, 58, 76)
            coro.notes += harmonised(sung, song.key, section) if section.name == "chorus" else []
        elif section.name == "montuno":
            song.sing(singer, section, call, 60, 77, phrase_bars=4, rest_beats=9.0, velocity=94)
            _coro(song, coro, section, answer)
        elif section.name == "solo":
            song.sing(pick(rng, (trumpets, piano)), section, call, 67, 86, rest_beats=1.0, velocity=100)
        else:
            _brass(song, trumpets, trombones, section, riff)
    feel = Feel(rng.uniform(0.002, 0.006), rng.uniform(3, 7), rng.uniform(0, 0.05), 0.5)
    last = {"timbales": [(0.0, _CRASH, 100)], "congas": [(0.0, _OPEN, 110)], "bongo": [(0.0, _HEMBRA, 100)]}
    return song.finish(bass, (piano, trumpets, trombones), last, feel)


def _two_bars(two_first: bool, two: tuple[float, ...], three: tuple[float, ...]) -> list[float]:
    """Arrange a pattern of two bars in the order of the clave."""
    first, second = (two, three) if two_first else (three, two)
    return [*first, *(_BAR + beat for beat in second)]


def _percussion(song: Arrangement, seats: dict[str, Track], section: Section, two_first: bool, hot: bool) -> None:
    start, end = section.start, section.end
    seats["claves"].loop(
        start, end, _CYCLE, ((beat, _CLAVES, 96) for beat in _two_bars(two_first, TWO_SIDE, THREE_SIDE))
    )
    if section.name == "break":
        seats["timbales"].loop(section.last_bar, end, _BAR, _ABANICO)
        return
    seats["congas"].loop(start, end, _BAR, _TUMBAO)
    low = _BAR * two_first
    seats["congas"].loop(start, end, _CYCLE, ((low + 1.5, _LOW, 88),))
    if hot:
        seats["cowbell"].loop(start, end, _BAR, _CAMPANA)
    else:
        seats["bongo"].loop(start, end, _BAR, _MARTILLO)
    cascara = [
        (beat, _SHELL if not hot else 67, 104 - 16 * (beat % 1))
        for beat in _two_bars(two_first, _CASCARA_TWO, _CASCARA_THREE)
    ]
    seats["timbales"].loop(start, section.last_bar, _CYCLE, cascara, 0.9)
    seats["timbales"].loop(section.last_bar, end, _BAR, _ABANICO)


def _bass(song: Arrangement, bass: Track, section: Section) -> None:
    """Play the fifth on the second half of beat 2 and the root of the next bar on beat 4."""
    bass.add(section.start, 1.3, nearest((section.chord_at(section.start).root,), 38, 30, 43), 96)
    for start in section.bar_starts():
        chord, coming = section.chord_at(start + 2), section.chord_at(start + _BAR)
        root = nearest((chord.root,), 38, 30, 43)
        middle = nearest((chord.fifth if song.rng.random() < 0.8 else chord.root,), root + 6, root, root + 11)
        bass.add(start + 1.5, 1.4, middle, 92)
        if start + 3 < section.end:
            bass.add(start + 3, 2.3, nearest((coming.root,), 38, 30, 43), 102)


def _montuno(song: Arrangement, piano: Track, section: Section, two_first: bool, full: bool) -> None:
    """Alternate octaves and inner voices; a note just before a bar takes the chord of that bar."""
    shape = None
    velocity = 92 if full else 76
    pattern = _two_bars(two_first, _MONTUNO_TWO, _MONTUNO_THREE)
    for bar, start in enumerate(section.bar_starts()):
        strokes = [beat % _BAR for beat in pattern if int(beat // _BAR) == bar % 2]
        for order, beat in enumerate(strokes):
            shape = voicing(section.chord_at(start + beat + 0.5 * (beat % 1 > 0)), 3, 66, shape)
            tone = shape[(order * 2 + bar) % 3]
            if order % 2 == 0:
                piano.chord(start + beat, 0.45, (tone - 12, tone, tone + 12) if full else (tone, tone + 12), velocity)
            else:
                piano.chord(start + beat, 0.4, [pitch for pitch in shape if pitch != tone], velocity - 10)


def _coro(song: Arrangement, coro: Track, section: Section, answer: tuple[Motif, ...]) -> None:
    """Answer the singer in the second half of every four bars, in two voices."""
    for start in section.bar_starts()[2::4]:
        reply = Section("coro", start, 2, _BAR, ((section.chord_at(start),), (section.chord_at(start + _BAR),)))
        sung = song.sing(coro, reply, answer, 60, 74, phrase_bars=2, rest_beats=0.5)
        coro.notes += harmonised(sung, song.key, reply)


def _brass(song: Arrangement, trumpets: Track, trombones: Track, section: Section, riff: tuple[Motif, ...]) -> None:
    lead = song.sing(trumpets, section, riff, 67, 84, rest_beats=0.5, velocity=98)
    trumpets.notes += harmonised(lead, song.key, section)
    trombones.notes += harmonised(lead, song.key, section, 7)


def _backing(song: Arrangement, trumpets: Track, trombones: Track, section: Section, riff: tuple[Motif, ...]) -> None:
    """Answer the singer with the brass in the second half of every four bars."""
    for start in section.bar_starts()[2::4]:
        reply = Section("reply", start, 2, _BAR, ((section.chord_at(start),), (section.chord_at(start + _BAR),)))
        lead = song.sing(trumpets, reply, riff, 67, 82, phrase_bars=2, rest_beats=0.5, velocity=84)
        trombones.notes += harmonised(lead, song.key, reply, 7)


def _hits(song: Arrangement, players: tuple[Track, ...], bass: Track, section: Section, two_first: bool) -> None:
    """Play the clave with the whole band."""
    for turn in np.arange(section.start, section.end, _CYCLE):
        for beat in _two_bars(two_first, TWO_SIDE, THREE_SIDE):
            if turn + beat < section.last_bar:
                chord = section.chord_at(float(turn) + beat)
                bass.add(float(turn) + beat, 0.5, nearest((chord.root,), 38, 30, 43), 104)
                for player in players:
                    player.chord(float(turn) + beat, 0.4, voicing(chord, 3, 66), 96)
