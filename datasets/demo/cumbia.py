"""Cumbia: guacharaca, llamador off the beat, tambora, bass on 1, 3 and 4, and an accordion, a clarinet or a gaita.

Written in 2/2: the pulse is the half note (80 to 110 per minute), which the guacharaca fills with a quarter and two
eighths.
"""

from __future__ import annotations

import numpy as np

from tumbao.datasets.demo.arrangement import Arrangement, Cell, Form, Motif, begin, pick
from tumbao.datasets.demo.harmony import Section
from tumbao.datasets.demo.score import Hit, Score, Track, strokes

_BAR = 4.0
_LLAMADOR, _OPEN, _SLAP, _ALEGRE_LOW = 63, 64, 62, 45
_LOW, _HIGH, _RIM = 41, 45, 37
_SCRAPE_LONG, _SCRAPE_SHORT, _MARACAS, _BELL = 74, 73, 70, 56

_TAMBORAS = (
    strokes((0, 1, 1.5, 2, 3), (_RIM, _LOW, _RIM, _RIM, _LOW), (80, 84, 66, 78, 108)),
    strokes((0, 1, 1.5, 3, 3.5), (_LOW, _RIM, _RIM, _LOW, _HIGH), (76, 80, 68, 104, 90)),
    strokes((0.5, 1, 2, 2.5, 3), (_RIM, _RIM, _HIGH, _RIM, _LOW), (66, 80, 84, 64, 106)),
)
_ALEGRE = strokes((0, 1, 1.5, 2.5, 3, 3.5), (_ALEGRE_LOW, _SLAP, _OPEN, _OPEN, _SLAP, _OPEN), (82, 92, 78, 84, 96, 80))
_FLOURISH = strokes(
    [eighth / 2 for eighth in range(8)],
    (_OPEN, _OPEN, _SLAP, _OPEN, _ALEGRE_LOW, _OPEN, _SLAP, _ALEGRE_LOW),
    range(84, 108, 3),
)

_CELLS: tuple[Cell, ...] = (
    ((0, 1), (1, 0.5), (1.5, 0.5), (2, 1), (3, 1)),
    ((0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
    ((0, 1.5), (1.5, 0.5), (2, 2)),
    ((1, 0.5), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 0.5)),
    ((0, 0.5), (0.5, 0.5), (1, 1), (2, 1.5)),
)
_DANCES: tuple[Cell, ...] = (
    ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 0.5)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
    ((0, 1), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
    ((0, 0.5), (1, 0.5), (1.5, 1), (2.5, 0.5), (3, 1)),
)
_STYLES = {"accordion": (21,), "clarinet": (71,), "gaita": (75, 79)}
"""Instruments of the melody, with their programs."""

_SECONDS = {"accordion": ("clarinet", 71), "clarinet": ("brass", 61), "gaita": ("gaita macho", 75)}
_DRUMS = {
    "guacharaca": (106, 96),
    "llamador": (108, 44),
    "tambor alegre": (92, 80),
    "tambora": (112, 58),
    "maracas": (38, 30),
    "cowbell": (50, 70),
}
_FORMS: tuple[Form, ...] = (
    (("intro", 2), ("theme", 3), ("verse", 4), ("chorus", 3), ("theme", 3), ("verse", 4), ("chorus", 3)),
    (("theme", 3), ("verse", 4), ("theme", 2), ("verse", 4), ("break", 1), ("chorus", 4), ("theme", 3)),
    (("intro", 1), ("theme", 4), ("chorus", 3), ("drums", 1), ("theme", 4), ("verse", 4), ("chorus", 3)),
)
_CHANGES = {
    "minor": {
        "any": ("i | i | V7 | i", "i | V7 | V7 | i", "i | bVII | bVI | V7", "iv | i | V7 | i", "i | bVII | i | bVII"),
        "chorus": ("iv | i | V7 | i", "bVI | bIII | V7 | i", "bIII | bIII | V7 | i"),
        "theme": ("i | V7 | V7 | i", "i | i | V7 | i", "bIII | bVII | bIII | V7"),
    },
    "major": {
        "any": ("I | I | V7 | I", "I | IV | V7 | I", "I | V7 | V7 | I"),
        "chorus": ("IV | I | V7 | I", "vi | ii | V7 | I"),
    },
}


def compose(rng: np.random.Generator) -> Score:
    """Compose a cumbia: 2/2 at 80 to 110 half notes per minute; `facts["style"]` is the melody instrument."""
    style = str(rng.choice(list(_STYLES), p=(0.2, 0.4, 0.4)))
    song = begin(rng, rng.uniform(81, 109), 2, (2, 2), 0.7, _FORMS, _CHANGES)
    song.score.facts["style"] = style
    drums = song.seat_drums(_DRUMS)
    bass = song.seat("bass", int(pick(rng, (33, 32, 33))), 100)
    tune = song.seat(style, int(pick(rng, _STYLES[style])), 94, 52)
    chords = song.seat("accordion chords", 21, 48, 82) if style == "accordion" else None
    second = song.seat(*_SECONDS[style], 72, 34)
    singer, coro = song.seat_singers(64, 76)
    theme, verse, chorus = (song.motifs(cells, _BAR) for cells in (_DANCES, _CELLS, _CELLS))
    scrape, tambora = _guacharaca(song), pick(rng, _TAMBORAS)
    if rng.random() >= 0.4:
        del drums["maracas"]
    if rng.random() >= 0.35:
        del drums["cowbell"]
    for section in song.sections:
        _percussion(song, drums, section, scrape, tambora)
        if section.name == "drums":
            continue
        _bass(song, bass, section)
        if chords is not None and section.name != "break":
            _off_beats(song, chords, section)
        if section.name in ("verse", "chorus"):
            sung = song.sing(singer, section, verse if section.name == "verse" else chorus, 60, 76, rest_beats=3)
            if section.name == "chorus":
                song.harmonise(coro, section, sung)
            _answers(song, tune, section, theme)
        else:
            played = song.sing(tune, section, theme, 64, 84, rest_beats=0.5, velocity=94)
            song.harmonise(second, section, played)
    last = {"tambora": (_LOW, 110), "guacharaca": (_SCRAPE_SHORT, 90), "llamador": (_LLAMADOR, 90)}
    return song.finish(
        bass, [track for track in (tune, chords, second) if track is not None], last, rng.uniform(0, 0.12), 0.5
    )


def _guacharaca(song: Arrangement) -> tuple[Hit, ...]:
    """Build the guacharaca's pattern: a quarter and two eighths in each half bar."""
    accent = pick(song.rng, (8, 14, 20))
    return tuple(
        (half + beat, _SCRAPE_SHORT if beat else _SCRAPE_LONG, 104 - accent * (beat > 0))
        for half in (0, 2)
        for beat in (0, 1, 1.5)
    )


def _percussion(
    song: Arrangement, drums: dict[str, Track], section: Section, scrape: tuple[Hit, ...], tambora: tuple[Hit, ...]
) -> None:
    start, end = section.start, section.end
    drums["guacharaca"].loop(start, end, _BAR, scrape, 0.85 if section.name == "intro" else 1.0)
    drums["llamador"].loop(start, end, 2, ((1, _LLAMADOR, 88),))
    if section.name == "break":
        return
    drums["tambora"].loop(start, end, _BAR, tambora)
    for number in range(max(1, section.bars // 4)):
        opening = start + number * 4 * _BAR
        drums["tambor alegre"].loop(opening, opening + 3 * _BAR, _BAR, _ALEGRE)
        flourish = section.name == "drums" or song.rng.random() < 0.7
        drums["tambor alegre"].loop(opening + 3 * _BAR, opening + 4 * _BAR, _BAR, _FLOURISH if flourish else _ALEGRE)
    if "maracas" in drums:
        drums["maracas"].loop(start, end, 1, ((0, _MARACAS, 66), (0.5, _MARACAS, 84)))
    if "cowbell" in drums and section.name in ("theme", "chorus"):
        drums["cowbell"].loop(start, end, 2, ((0, _BELL, 84),))


def _bass(song: Arrangement, bass: Track, section: Section) -> None:
    for start in section.bar_starts():
        chord = section.chord_at(start)
        root = chord.bass
        bass.add(start, 1.8, root, 102)
        if section.name != "break":
            fifth = chord.bass_fifth(root + 5, root, root + 11)
            bass.add(start + 2, 0.9, fifth, 92)
            bass.add(start + 3, 0.85, fifth if song.rng.random() < 0.7 else root + 12 * (root < 36), 94)


def _off_beats(song: Arrangement, chords: Track, section: Section) -> None:
    """Play chords off the beat: on 2 and 4, in some sections doubled in eighths."""
    doubled = song.rng.random() < 0.4
    for beat, shape in section.voicings((1, 1.5, 3, 3.5) if doubled else (1, 3), 64):
        chords.chord(beat, 0.35, shape, 78 if beat % 1 == 0 else 66)


def _answers(song: Arrangement, tune: Track, section: Section, theme: tuple[Motif, ...]) -> None:
    """Answer the singer in the last bar of every four."""
    for reply in section.replies(1):
        if song.rng.random() < 0.75:
            song.sing(tune, reply, theme, 66, 84, phrase_bars=1, rest_beats=0.5, velocity=86)
