"""Vallenato: accordion melody with fills and bass buttons, caja, guacharaca and bass, in four airs.

Paseo and son are written in 2/2 with the half note as pulse, merengue and puya in 6/8 with the dotted quarter.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tumbao.datasets.demo.arrangement import SINGERS, Arrangement, begin, pick
from tumbao.datasets.demo.form import Section
from tumbao.datasets.demo.harmony import nearest, voicing
from tumbao.datasets.demo.melody import Cell, Motif, harmonised
from tumbao.datasets.demo.score import Feel, Hit, Note, Score, Track

_CAJA_LOW, _CAJA_OPEN, _CAJA_SLAP, _CAJA_EDGE = 66, 65, 62, 60
_SCRAPE = 73


@dataclasses.dataclass(frozen=True)
class _Air:
    """One of the four airs: tempo, metre and the pattern of each player in a bar (starts in quarter notes)."""

    bpm: tuple[float, float]
    meter: tuple[int, int]
    pulse: float
    caja: tuple[Hit, ...]
    fill: tuple[Hit, ...]
    scrape: tuple[tuple[float, int], ...]
    bass: tuple[tuple[float, int], ...]
    buttons: tuple[float, ...]
    cells: tuple[Cell, ...]
    runs: tuple[Cell, ...]


_DUPLE_CELLS: tuple[Cell, ...] = (
    ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1.5)),
    ((0, 1), (1, 1), (2, 0.5), (2.5, 1.5)),
    ((1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
)
_DUPLE_RUNS: tuple[Cell, ...] = (
    tuple((step / 2, 0.5) for step in range(8)),
    ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 0.25), (3.25, 0.25), (3.5, 0.5)),
    ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
)
_COMPOUND_CELLS: tuple[Cell, ...] = (
    ((0, 1), (1, 0.5), (1.5, 1), (2.5, 0.5)),
    ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 1.5)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5)),
    ((0, 1), (1, 1), (2, 1)),
)
_COMPOUND_RUNS: tuple[Cell, ...] = (
    tuple((step / 2, 0.5) for step in range(6)),
    ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 1), (2.5, 0.5)),
    ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5)),
)
_PASEO_CAJA: tuple[Hit, ...] = (
    (0, _CAJA_LOW, 96),
    (1, _CAJA_SLAP, 78),
    (1.5, _CAJA_OPEN, 84),
    (2, _CAJA_EDGE, 70),
    (2.5, _CAJA_OPEN, 90),
    (3, _CAJA_SLAP, 84),
    (3.5, _CAJA_OPEN, 96),
)
_SON_CAJA: tuple[Hit, ...] = (
    (0, _CAJA_LOW, 102),
    (1, _CAJA_OPEN, 76),
    (2, _CAJA_LOW, 88),
    (3, _CAJA_OPEN, 92),
    (3.5, _CAJA_OPEN, 80),
)
_COMPOUND_CAJA: tuple[Hit, ...] = (
    (0, _CAJA_LOW, 100),
    (0.5, _CAJA_EDGE, 62),
    (1, _CAJA_OPEN, 92),
    (1.5, _CAJA_LOW, 82),
    (2, _CAJA_OPEN, 96),
    (2.5, _CAJA_SLAP, 72),
)
_DUPLE_FILL: tuple[Hit, ...] = tuple(
    (step / 2, (_CAJA_OPEN, _CAJA_OPEN, _CAJA_SLAP, _CAJA_LOW)[step % 4], 82 + 4 * step) for step in range(8)
)
_COMPOUND_FILL: tuple[Hit, ...] = tuple(
    (step / 4, (_CAJA_OPEN, _CAJA_SLAP, _CAJA_OPEN)[step % 3], 74 + 3 * step) for step in range(12)
)
_DUPLE_SCRAPE = ((0, 96), (1, 74), (1.5, 70), (2, 92), (3, 74), (3.5, 70))
_COMPOUND_SCRAPE = ((0, 98), (0.5, 62), (1, 74), (1.5, 92), (2, 62), (2.5, 74))
_ROOT, _THIRD, _FIFTH = 0, 1, 2

AIRS = {
    "paseo": _Air(
        (88, 118),
        (2, 2),
        2,
        _PASEO_CAJA,
        _DUPLE_FILL,
        _DUPLE_SCRAPE,
        ((0, _ROOT), (1.5, _THIRD), (2, _FIFTH), (3, _FIFTH)),
        (1, 3),
        _DUPLE_CELLS,
        _DUPLE_RUNS,
    ),
    "son": _Air(
        (68, 86),
        (2, 2),
        2,
        _SON_CAJA,
        _DUPLE_FILL,
        _DUPLE_SCRAPE,
        ((0, _ROOT), (2, _FIFTH), (3, _ROOT)),
        (1, 3),
        _DUPLE_CELLS,
        _DUPLE_RUNS,
    ),
    "merengue": _Air(
        (104, 128),
        (6, 8),
        1.5,
        _COMPOUND_CAJA,
        _COMPOUND_FILL,
        _COMPOUND_SCRAPE,
        ((0, _ROOT), (1, _FIFTH), (2, _FIFTH)),
        (0.5, 1, 2, 2.5),
        _COMPOUND_CELLS,
        _COMPOUND_RUNS,
    ),
    "puya": _Air(
        (138, 164),
        (6, 8),
        1.5,
        _COMPOUND_CAJA,
        _COMPOUND_FILL,
        _COMPOUND_SCRAPE,
        ((0, _ROOT), (1.5, _FIFTH)),
        (1, 2.5),
        _COMPOUND_CELLS,
        _COMPOUND_RUNS,
    ),
}
"""The four airs by name; `bpm` counts pulses of `pulse` quarter notes."""

_FORMS = (
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
    """Compose a vallenato; `facts["air"]` is one of `AIRS`, most often paseo."""
    name = str(rng.choice(list(AIRS), p=(0.4, 0.18, 0.24, 0.18)))
    air = AIRS[name]
    song = begin(rng, rng.uniform(*air.bpm), air.pulse, air.meter, 0.32, _FORMS, _CHANGES, 4)
    song.score.facts["air"] = name
    bar = song.sections[0].bar_beats
    caja = song.seat("caja", level=110, pan=46, is_drum=True)
    guacharaca = song.seat("guacharaca", level=62, pan=90, is_drum=True)
    bass = song.seat("bass", int(pick(rng, (33, 33, 32, 35))), 98)
    accordion = song.seat("accordion", int(pick(rng, (21, 21, 23))), 108, 56)
    buttons = song.seat("accordion basses", accordion.program, 84, 60)
    guitar = song.seat("guitar", int(pick(rng, (24, 25))), 52, 86) if rng.random() < 0.3 else None
    singer_name = str(pick(rng, tuple(SINGERS)))
    singer, coro = song.seat("singer", SINGERS[singer_name], 76), song.seat("coro", 52, 60, 78)
    song.score.facts["singer"] = singer_name
    verse, chorus, runs = song.motifs(air.cells, bar), song.motifs(air.cells, bar), song.motifs(air.runs, bar)
    scrape: list[Hit] = [(beat, _SCRAPE, velocity) for beat, velocity in air.scrape]
    for number, section in enumerate(song.sections):
        entering = number == 0 and rng.random() < 0.4
        _percussion(song, caja, guacharaca, section, air, scrape, entering)
        if section.name == "break":
            song.sing(accordion, section, runs, 64, 84, rest_beats=0.5, velocity=98)
            continue
        _basses(song, bass, buttons, section, air)
        if guitar is not None:
            _strum(guitar, section, air)
        if section.name in ("verse", "chorus"):
            theme = verse if section.name == "verse" else chorus
            sung = song.sing(singer, section, theme, 60, 77, rest_beats=bar)
            if section.name == "chorus":
                coro.notes += harmonised(sung, song.key, section)
            _fills(song, accordion, section, runs)
        else:
            played = song.sing(accordion, section, runs, 62, 84, rest_beats=0.5, velocity=96)
            if rng.random() < 0.7:
                accordion.notes += harmonised(played, song.key, section, int(pick(rng, (2, 5))), 0.8)
    accordion.notes += _high_reeds(accordion)
    feel = Feel(rng.uniform(0.003, 0.008), rng.uniform(3, 8), rng.uniform(0, 0.1) if air.pulse == 2 else 0.0, 0.5)
    last = {"caja": [(0.0, _CAJA_LOW, 110)], "guacharaca": [(0.0, _SCRAPE, 92)]}
    return song.finish(bass, (accordion, buttons), last, feel)


def _percussion(
    song: Arrangement, caja: Track, guacharaca: Track, section: Section, air: _Air, scrape: list[Hit], entering: bool
) -> None:
    bar = section.bar_beats
    start = section.start + bar * 2 * entering
    guacharaca.loop(start, section.end, bar, scrape)
    if section.name != "break":
        caja.loop(start, section.last_bar, bar, air.caja)
    caja.loop(section.last_bar, section.end, bar, air.fill if song.rng.random() < 0.7 else air.caja)


def _basses(song: Arrangement, bass: Track, buttons: Track, section: Section, air: _Air) -> None:
    """Play the bass and the accordion's left hand: root on the beat, chord off the beat."""
    shape = None
    for start in section.bar_starts():
        root = nearest((section.chord_at(start).root,), 38, 30, 43)
        for beat, degree in air.bass:
            chord = section.chord_at(start + beat)
            bass.add(
                start + beat,
                0.85,
                nearest((chord.tones[degree],), root + (4 if degree else 0), 30, 48),
                100 - 6 * (degree > 0),
            )
        buttons.add(start, 0.6, root + 12, 78)
        for beat in air.buttons:
            shape = voicing(section.chord_at(start + beat), 3, 57, shape)
            buttons.chord(start + beat, 0.3, shape, 66)


def _high_reeds(accordion: Track) -> list[Note]:
    """Return the notes of the second row of reeds, an octave above the melody."""
    return [
        dataclasses.replace(note, pitch=note.pitch + 12, velocity=round(note.velocity * 0.75))
        for note in accordion.notes
    ]


def _strum(guitar: Track, section: Section, air: _Air) -> None:
    shape = None
    for start in section.bar_starts():
        for beat in air.buttons:
            shape = voicing(section.chord_at(start + beat), 3, 60, shape)
            guitar.chord(start + beat, 0.4, shape, 74, strum=0.02)


def _fills(song: Arrangement, accordion: Track, section: Section, runs: tuple[Motif, ...]) -> None:
    """Fill the singer's rests, the last bar of every four, and play soft broken chords in the other bars."""
    for start in section.bar_starts()[3::4]:
        fill = Section("fill", start, 1, section.bar_beats, ((section.chord_at(start),),))
        played = song.sing(accordion, fill, runs, 65, 84, phrase_bars=1, rest_beats=0.25, velocity=96)
        accordion.notes += harmonised(played, song.key, fill)
    shape = None
    for index, start in enumerate(section.bar_starts()):
        if index % 4 != 3:
            for step in range(round(2 * section.bar_beats)):
                shape = voicing(section.chord_at(start + step / 2), 3, 72, shape)
                accordion.add(start + step / 2, 0.45, shape[(0, 2, 1)[step % 3]], 78)
                if step % 3 == 0:
                    accordion.add(start + step / 2, 1.4, shape[0] - 12, 72)
