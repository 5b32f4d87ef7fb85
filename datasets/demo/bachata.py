"""Bachata: bongó martillo, güira, bass on 1, 3 and 4, requinto arpeggios and a segunda on the off-beats."""

from __future__ import annotations

import itertools

import numpy as np

from tumbao.datasets.demo.arrangement import Arrangement, Cell, Form, begin, pick
from tumbao.datasets.demo.harmony import Section
from tumbao.datasets.demo.score import Hit, Score, Track, strokes

_BAR = 4.0
_EIGHTHS = [eighth / 2 for eighth in range(8)]
_MACHO, _HEMBRA = 60, 61
_CABASA, _MARACAS = 69, 70

_MARTILLO = strokes(_EIGHTHS, (_MACHO,) * 6 + (_HEMBRA, _MACHO), (104, 58, 80, 62, 98, 60, 108, 66))
_MAJAO: tuple[Hit, ...] = (*_MARTILLO, (1.5, _HEMBRA, 84), (2.75, _MACHO, 50))
_FILL: tuple[Hit, ...] = (
    *((step / 4, _MACHO if step % 4 < 2 else _HEMBRA, 70 + 2 * step) for step in range(8)),
    *((2 + step / 2, _HEMBRA if step == 3 else _MACHO, 100) for step in range(4)),
)

_ARPEGGIOS = (
    (0, 1, 2, 3, 2, 1, 2, 1),
    (0, 2, 1, 3, 2, 3, 1, 2),
    (3, 2, 1, 0, 1, 2, 3, 2),
    (0, 1, 2, 1, 3, 1, 2, 1),
)
_CELLS: tuple[Cell, ...] = (
    ((0, 1), (1, 0.5), (1.5, 1), (2.5, 0.5), (3, 1)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 0.5)),
    ((0, 1.5), (1.5, 0.5), (2, 2)),
    ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 1.5)),
    ((1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
)
_LICKS: tuple[Cell, ...] = (
    ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
    ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
    ((0, 1), (1.5, 0.5), (2, 0.25), (2.25, 0.25), (2.5, 0.5), (3, 1)),
)

_FORMS: tuple[Form, ...] = (
    (("intro", 2), ("verse", 4), ("chorus", 4), ("solo", 2), ("verse", 3), ("chorus", 4), ("outro", 1)),
    (("intro", 2), ("verse", 4), ("bridge", 2), ("chorus", 4), ("solo", 3), ("chorus", 4), ("outro", 1)),
    (("intro", 3), ("verse", 5), ("chorus", 4), ("break", 1), ("solo", 3), ("chorus", 4)),
)
_CHANGES = {
    "minor": {
        "any": ("i | i | V7 | V7 | V7 | V7 | i | i", "i | bVII | bVI | V7", "iv | i | V7 | i", "i | iv | bVII | bIII"),
        "chorus": (
            "iv | i | V7 | i",
            "bVI | bVII | i | i",
            "i | bVI | bIII | bVII",
            "iv | bVII | bIII | V7",
            "i | iv | V7 | i",
        ),
        "bridge": ("bVI | bVI | V7 | V7", "iv | iv | V7 | V7"),
        "break": ("V7 | V7 | V7 | V7", "iv | iv | V7 | V7"),
    },
    "major": {
        "any": ("I | vi | ii | V7", "I | I | V7 | V7 | V7 | V7 | I | I", "I | IV | V7 | I"),
        "chorus": ("IV | V7 | iii | vi", "I | V7 | vi | IV", "ii | V7 | I | vi"),
        "bridge": ("vi | iii | IV | V7",),
        "break": ("IV | IV | V7 | V7",),
    },
}


def compose(rng: np.random.Generator) -> Score:
    """Compose a bachata: 4/4 at 115 to 140 bpm, mostly in a minor key."""
    song = begin(rng, rng.uniform(116, 139), 1, (4, 4), 0.82, _FORMS, _CHANGES)
    drums = song.seat_drums({"bongo": (112, 40), "guira": (92, 92)})
    bass = song.seat("bass", int(pick(rng, (33, 33, 32, 35))), 100)
    requinto = song.seat("requinto", int(pick(rng, (25, 27, 25))), 104, 50)
    segunda = song.seat("segunda", int(pick(rng, (25, 24))), 76, 84)
    singer, coro = song.seat_singers(66, 74)
    arpeggio = pick(rng, _ARPEGGIOS)
    themes = {name: song.motifs(_CELLS, _BAR) for name in ("verse", "chorus", "bridge")}
    licks = song.motifs(_LICKS, _BAR)
    scrape = _guira_pattern(song)
    for section in song.sections:
        quiet = section.name == "break" and rng.random() < 0.5
        loud = section.name in ("chorus", "solo")
        _percussion(song, drums, section, scrape, loud, quiet)
        _bass(song, bass, section, loud)
        _segunda(song, segunda, section)
        if section.name in themes:
            sung = song.sing(singer, section, themes[section.name], 60, 77)
            _arpeggiate(requinto, section, arpeggio)
            if section.name == "chorus":
                song.harmonise(coro, section, sung)
        else:
            lead = song.sing(requinto, section, licks, 67, 88, rest_beats=0.5, velocity=98)
            if rng.random() < 0.4:
                song.harmonise(requinto, section, lead, int(pick(rng, (2, 5))))
    return song.finish(
        bass, (requinto, segunda), {"bongo": (_HEMBRA, 110), "guira": (_CABASA, 90)}, rng.uniform(0, 0.08), 0.5
    )


def _guira_pattern(song: Arrangement) -> tuple[Hit, ...]:
    """Choose the pattern of the güira: beats with eighths between them, or a gallop of two sixteenths."""
    stroke, answer = pick(song.rng, ((_CABASA, _CABASA), (_CABASA, _MARACAS), (_MARACAS, _CABASA)))
    gallop = song.rng.random() < 0.3
    song.score.facts["guira"] = "gallop" if gallop else "eighths"
    hits: list[Hit] = []
    for beat in range(4):
        hits += [(beat, stroke, 100 if beat % 2 == 0 else 86), (beat + 0.5, answer, 76)]
        hits += [(beat + 0.75, answer, 52)] if gallop else []
    return tuple(hits)


def _percussion(
    song: Arrangement, drums: dict[str, Track], section: Section, scrape: tuple[Hit, ...], loud: bool, quiet: bool
) -> None:
    start, end, last_bar = section.start, section.end, section.last_bar
    if quiet:
        drums["guira"].loop(start, end, 1, ((0, _CABASA, 70),))
        drums["bongo"].loop(last_bar, end, _BAR, _FILL)
        return
    gain = 1.0 if loud else 0.85
    drums["bongo"].loop(start, last_bar, _BAR, _MAJAO if loud else _MARTILLO, gain)
    drums["bongo"].loop(last_bar, end, _BAR, _FILL if song.rng.random() < 0.6 else _MARTILLO, gain)
    drums["guira"].loop(start, end, _BAR, scrape, gain)


def _bass(song: Arrangement, bass: Track, section: Section, loud: bool) -> None:
    for start in section.bar_starts():
        chord = section.chord_at(start)
        fifth = chord.bass_fifth(chord.bass + 5, 31, 48)
        following = section.chord_at(start + _BAR).bass
        approach = following + int(song.rng.choice([-2, -1, 2])) if song.rng.random() < 0.25 else fifth
        bass.add(start, 1.7, chord.bass, 100)
        bass.add(start + 2, 0.9, fifth, 90)
        bass.add(start + 3, 0.8, approach if loud or approach != fifth else chord.bass, 92)


def _segunda(song: Arrangement, segunda: Track, section: Section) -> None:
    offsets = pick(song.rng, ((0.5, 1.5, 2.5, 3.5), (1.5, 2.5, 3.5), (0.5, 1.5, 2.5, 3.0, 3.5)))
    for beat, shape in section.voicings(offsets, 59):
        segunda.chord(beat, 0.3, shape, 76 if beat % 1 else 64, strum=0.02)


def _arpeggiate(requinto: Track, section: Section, order: tuple[int, ...]) -> None:
    for (beat, shape), index in zip(section.voicings(_EIGHTHS, 72), itertools.cycle(order), strict=False):
        requinto.add(beat, 0.6, (*shape, shape[0] + 12)[index], 96 if beat % 2 == 0 else 84)
