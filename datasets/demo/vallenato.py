"""Vallenato: accordion melody with fills and bass buttons, caja, guacharaca and bass, in four airs.

Paseo and son are written in 2/2 with the half note as pulse, merengue and puya in 6/8 with the dotted quarter.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tumbao.datasets.demo.arrangement import Arrangement, Cell, Form, Motif, begin, pick
from tumbao.datasets.demo.harmony import Section, nearest, voicing
from tumbao.datasets.demo.score import Hit, Score, Track, strokes

_LOW, _OPEN, _SLAP, _EDGE = 66, 65, 62, 60
_SCRAPE = 73


@dataclasses.dataclass(frozen=True)
class _Metre:
    """One of the two metres: strokes in a bar, rhythms of the melody, and runs of the accordion."""

    signature: tuple[int, int]
    pulse: float
    fill: tuple[Hit, ...]
    scrape: tuple[Hit, ...]
    cells: tuple[Cell, ...]
    runs: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class _Air:
    """One of the four airs: pulses a minute, metre, strokes of the caja, bass with degrees, chords off the beat."""

    bpm: tuple[float, float]
    metre: _Metre
    caja: tuple[Hit, ...]
    bass: tuple[tuple[float, int], ...]
    buttons: tuple[float, ...]


_DUPLE = _Metre(
    (2, 2),
    2,
    strokes([step / 2 for step in range(8)], (_OPEN, _OPEN, _SLAP, _LOW) * 2, range(82, 114, 4)),
    strokes((0, 1, 1.5, 2, 3, 3.5), (_SCRAPE,) * 6, (96, 74, 70, 92, 74, 70)),
    cells=(
        ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
        ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1.5)),
        ((0, 1), (1, 1), (2, 0.5), (2.5, 1.5)),
        ((1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
    ),
    runs=(
        tuple((step / 2, 0.5) for step in range(8)),
        ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 0.25), (3.25, 0.25), (3.5, 0.5)),
        ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
        ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
    ),
)
_COMPOUND = _Metre(
    (6, 8),
    1.5,
    strokes([step / 4 for step in range(12)], (_OPEN, _SLAP, _OPEN) * 4, range(74, 110, 3)),
    strokes((0, 0.5, 1, 1.5, 2, 2.5), (_SCRAPE,) * 6, (98, 62, 74, 92, 62, 74)),
    cells=(
        ((0, 1), (1, 0.5), (1.5, 1), (2.5, 0.5)),
        ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 1.5)),
        ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5)),
        ((0, 1), (1, 1), (2, 1)),
    ),
    runs=(
        tuple((step / 2, 0.5) for step in range(6)),
        ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 1), (2.5, 0.5)),
        ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5)),
    ),
)
_PASEO_CAJA = strokes(
    (0, 1, 1.5, 2, 2.5, 3, 3.5), (_LOW, _SLAP, _OPEN, _EDGE, _OPEN, _SLAP, _OPEN), (96, 78, 84, 70, 90, 84, 96)
)
_SON_CAJA = strokes((0, 1, 2, 3, 3.5), (_LOW, _OPEN, _LOW, _OPEN, _OPEN), (102, 76, 88, 92, 80))
_COMPOUND_CAJA = strokes((0, 0.5, 1, 1.5, 2, 2.5), (_LOW, _EDGE, _OPEN, _LOW, _OPEN, _SLAP), (100, 62, 92, 82, 96, 72))
_ROOT, _THIRD, _FIFTH = 0, 1, 2
_AIRS = {
    "paseo": _Air(
        (88, 118), _DUPLE, _PASEO_CAJA, ((0, _ROOT), (1.5, _THIRD), (2, _FIFTH), (3, _FIFTH)), buttons=(1, 3)
    ),
    "son": _Air((68, 86), _DUPLE, _SON_CAJA, ((0, _ROOT), (2, _FIFTH), (3, _ROOT)), buttons=(1, 3)),
    "merengue": _Air(
        (104, 128), _COMPOUND, _COMPOUND_CAJA, ((0, _ROOT), (1, _FIFTH), (2, _FIFTH)), buttons=(0.5, 1, 2, 2.5)
    ),
    "puya": _Air((138, 164), _COMPOUND, _COMPOUND_CAJA, ((0, _ROOT), (1.5, _FIFTH)), buttons=(1, 2.5)),
}

_FORMS: tuple[Form, ...] = (
    (("intro", 3), ("verse", 4), ("chorus", 3), ("solo", 3), ("verse", 3), ("chorus", 3), ("coda", 1)),
    (("intro", 3), ("verse", 5), ("solo", 2), ("chorus", 4), ("break", 1), ("chorus", 3), ("solo", 2)),
    (("intro", 2), ("verse", 4), ("solo", 3), ("verse", 4), ("chorus", 4), ("solo", 2)),
)
_CHANGES = {
    "major": {
        "any": ("I | I | V7 | V7 | V7 | V7 | I | I", "I | V7 | V7 | I", "I | IV | V7 | I", "I | vi | ii | V7"),
        "chorus": ("IV | I | V7 | I", "I | I | V7 | I", "vi | IV | V7 | I"),
        "break": ("V7 | V7 | V7 | V7",),
    },
    "minor": {
        "any": ("i | i | V7 | i", "i | V7 | V7 | i", "i | bVII | bVI | V7"),
        "chorus": ("iv | i | V7 | i", "bIII | bVII | V7 | i"),
        "break": ("V7 | V7 | V7 | V7",),
    },
}


def compose(rng: np.random.Generator) -> Score:
    """Compose a vallenato; `facts["air"]` is paseo (most often), son, merengue or puya."""
    name = str(rng.choice(list(_AIRS), p=(0.56, 0.12, 0.2, 0.12)))
    air = _AIRS[name]
    metre = air.metre
    song = begin(rng, rng.uniform(*air.bpm), metre.pulse, metre.signature, 0.32, _FORMS, _CHANGES)
    song.score.facts["air"] = name
    bar = song.sections[0].bar_beats
    drums = song.seat_drums({"caja": (110, 46), "guacharaca": (62, 90)})
    bass = song.seat("bass", int(pick(rng, (33, 33, 32, 35))), 98)
    accordion = song.seat("accordion", int(pick(rng, (21, 21, 23))), 108, 56)
    buttons = song.seat("accordion basses", accordion.program, 84, 60)
    guitar = song.seat("guitar", int(pick(rng, (24, 25))), 52, 86) if rng.random() < 0.3 else None
    singer, coro = song.seat_singers(60, 78)
    verse, chorus, runs = (song.motifs(cells, bar) for cells in (metre.cells, metre.cells, metre.runs))
    for number, section in enumerate(song.sections):
        late = number == 0 and rng.random() < 0.4
        _percussion(song, drums, section, air, late)
        if section.name == "break":
            song.sing(accordion, section, runs, 64, 84, rest_beats=0.5, velocity=98)
            continue
        _basses(bass, buttons, section, air)
        if guitar is not None:
            for beat, shape in section.voicings(air.buttons, 60):
                guitar.chord(beat, 0.4, shape, 74, strum=0.02)
        if section.name in ("verse", "chorus"):
            sung = song.sing(singer, section, verse if section.name == "verse" else chorus, 60, 77, rest_beats=bar)
            if section.name == "chorus":
                song.harmonise(coro, section, sung)
            _fills(song, accordion, section, runs)
        else:
            played = song.sing(accordion, section, runs, 62, 84, rest_beats=0.5, velocity=96)
            if rng.random() < 0.7:
                song.harmonise(accordion, section, played, int(pick(rng, (2, 5))), 0.8)
    accordion.notes += [  # the second row of reeds, an octave above the melody
        dataclasses.replace(note, pitch=note.pitch + 12, velocity=round(note.velocity * 0.75))
        for note in accordion.notes
    ]
    return song.finish(
        bass,
        (accordion, buttons),
        {"caja": (_LOW, 110), "guacharaca": (_SCRAPE, 92)},
        rng.uniform(0, 0.1) if metre is _DUPLE else 0.0,
        0.5,
    )


def _percussion(song: Arrangement, drums: dict[str, Track], section: Section, air: _Air, late: bool) -> None:
    """Play caja and guacharaca, `late` if they begin after two bars."""
    bar, last_bar, end = section.bar_beats, section.last_bar, section.end
    start = section.start + bar * 2 * late
    drums["guacharaca"].loop(start, end, bar, air.metre.scrape)
    if section.name != "break":
        drums["caja"].loop(start, last_bar, bar, air.caja)
    drums["caja"].loop(last_bar, end, bar, air.metre.fill if song.rng.random() < 0.7 else air.caja)


def _basses(bass: Track, buttons: Track, section: Section, air: _Air) -> None:
    """Play the bass and the accordion's left hand: root on the beat, chord off the beat."""
    shape = None
    for start in section.bar_starts():
        root = section.chord_at(start).bass
        for offset, degree in air.bass:
            tones = section.chord_at(start + offset).tones
            pitch = nearest(tones[degree : degree + 1], root + (4 if degree else 0), 30, 48)
            bass.add(start + offset, 0.85, pitch, 94 if degree else 100)
        buttons.add(start, 0.6, root + 12, 78)
        for offset in air.buttons:
            shape = voicing(section.chord_at(start + offset), 57, shape)
            buttons.chord(start + offset, 0.3, shape, 66)


def _fills(song: Arrangement, accordion: Track, section: Section, runs: tuple[Motif, ...]) -> None:
    """Fill the singer's rests, the last bar of every four, and play soft broken chords in the other bars."""
    for reply in section.replies(1):
        played = song.sing(accordion, reply, runs, 65, 84, phrase_bars=1, rest_beats=0.25, velocity=96)
        song.harmonise(accordion, reply, played)
    eighths = [step / 2 for step in range(round(2 * section.bar_beats))]
    sung_bars = [start for bar, start in enumerate(section.bar_starts()) if bar % 4 != 3]
    for number, (beat, shape) in enumerate(section.voicings(eighths, 72, sung_bars)):
        step = number % len(eighths) % 3
        accordion.add(beat, 0.45, shape[(0, 2, 1)[step]], 78)
        if step == 0:
            accordion.add(beat, 1.4, shape[0] - 12, 72)
