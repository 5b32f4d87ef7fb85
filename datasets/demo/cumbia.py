"""Cumbia: guacharaca, llamador off the beat, tambora, bass on 1, 3 and 4, and an accordion, a clarinet or a gaita.

Written in 2/2: the pulse is the half note (80 to 110 per minute), which the guacharaca fills with a quarter and two
eighths.
"""

from __future__ import annotations

import numpy as np

from tumbao.datasets.demo.arrangement import SINGERS, Arrangement, begin, pick
from tumbao.datasets.demo.form import Section
from tumbao.datasets.demo.harmony import nearest, voicing
from tumbao.datasets.demo.melody import Cell, Motif, harmonised
from tumbao.datasets.demo.score import Feel, Hit, Score, Track

_BAR = 4.0
_LLAMADOR, _ALEGRE_OPEN, _ALEGRE_SLAP, _ALEGRE_LOW = 63, 64, 62, 45
_TAMBORA_LOW, _TAMBORA_HIGH, _TAMBORA_RIM = 41, 45, 37
_SCRAPE_LONG, _SCRAPE_SHORT, _MARACAS, _BELL = 74, 73, 70, 56

_TAMBORAS: tuple[tuple[Hit, ...], ...] = (
    (
        (0, _TAMBORA_RIM, 80),
        (1, _TAMBORA_LOW, 84),
        (1.5, _TAMBORA_RIM, 66),
        (2, _TAMBORA_RIM, 78),
        (3, _TAMBORA_LOW, 108),
    ),
    (
        (0, _TAMBORA_LOW, 76),
        (1, _TAMBORA_RIM, 80),
        (1.5, _TAMBORA_RIM, 68),
        (3, _TAMBORA_LOW, 104),
        (3.5, _TAMBORA_HIGH, 90),
    ),
    (
        (0.5, _TAMBORA_RIM, 66),
        (1, _TAMBORA_RIM, 80),
        (2, _TAMBORA_HIGH, 84),
        (2.5, _TAMBORA_RIM, 64),
        (3, _TAMBORA_LOW, 106),
    ),
)
_ALEGRE: tuple[Hit, ...] = (
    (0, _ALEGRE_LOW, 82),
    (1, _ALEGRE_SLAP, 92),
    (1.5, _ALEGRE_OPEN, 78),
    (2.5, _ALEGRE_OPEN, 84),
    (3, _ALEGRE_SLAP, 96),
    (3.5, _ALEGRE_OPEN, 80),
)
_FLOURISH: tuple[Hit, ...] = tuple(
    (step / 2, pitch, 84 + 3 * step)
    for step, pitch in enumerate(
        (_ALEGRE_OPEN, _ALEGRE_OPEN, _ALEGRE_SLAP, _ALEGRE_OPEN, _ALEGRE_LOW, _ALEGRE_OPEN, _ALEGRE_SLAP, _ALEGRE_LOW)
    )
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
_SECONDS = {"accordion": ("clarinet", 71), "clarinet": ("brass", 61), "gaita": ("gaita macho", 75)}
_FORMS = (
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
    song = begin(rng, rng.uniform(81, 109), 2, (2, 2), 0.7, _FORMS, _CHANGES, 4)
    song.score.facts["style"] = style
    drums = {
        name: song.seat(name, level=level, pan=pan, is_drum=True)
        for name, level, pan in (
            ("guacharaca", 106, 96),
            ("llamador", 108, 44),
            ("tambor alegre", 92, 80),
            ("tambora", 112, 58),
            ("maracas", 38, 30),
            ("cowbell", 50, 70),
        )
    }
    bass = song.seat("bass", int(pick(rng, (33, 32, 33))), 100)
    tune = song.seat(style, int(pick(rng, _STYLES[style])), 94, 52)
    comping = song.seat("accordion chords", 21, 48, 82) if style == "accordion" else None
    second = song.seat(*_SECONDS[style], 72, 34)
    singer_name = str(pick(rng, tuple(SINGERS)))
    singer, coro = song.seat("singer", SINGERS[singer_name], 76), song.seat("coro", 52, 64, 76)
    song.score.facts["singer"] = singer_name
    theme, verse, chorus = song.motifs(_DANCES, _BAR), song.motifs(_CELLS, _BAR), song.motifs(_CELLS, _BAR)
    scrape = _guacharaca(song)
    tambora, extras = pick(rng, _TAMBORAS), {"maracas": rng.random() < 0.4, "cowbell": rng.random() < 0.35}
    for section in song.sections:
        _percussion(song, drums, section, scrape, tambora, extras)
        if section.name == "drums":
            continue
        _bass(song, bass, section, sparse=section.name == "break")
        if comping is not None and section.name != "break":
            _off_beats(song, comping, section)
        if section.name in ("verse", "chorus"):
            sung = song.sing(singer, section, verse if section.name == "verse" else chorus, 60, 76, rest_beats=3)
            if section.name == "chorus":
                coro.notes += harmonised(sung, song.key, section)
            _answers(song, tune, section, theme)
        else:
            played = song.sing(tune, section, theme, 64, 84, rest_beats=0.5, velocity=94)
            second.notes += harmonised(played, song.key, section)
    feel = Feel(rng.uniform(0.003, 0.008), rng.uniform(3, 8), rng.uniform(0, 0.12), 0.5)
    last = {
        "tambora": [(0.0, _TAMBORA_LOW, 110)],
        "guacharaca": [(0.0, _SCRAPE_SHORT, 90)],
        "llamador": [(0.0, _LLAMADOR, 90)],
    }
    return song.finish(bass, [track for track in (tune, comping, second) if track is not None], last, feel)


def _guacharaca(song: Arrangement) -> tuple[Hit, ...]:
    """Build the guacharaca's pattern: a quarter and two eighths in each half bar."""
    accent = pick(song.rng, (8, 14, 20))
    return tuple(
        (half + beat, _SCRAPE_SHORT if beat else _SCRAPE_LONG, 104 - accent * (beat > 0))
        for half in (0, 2)
        for beat in (0, 1, 1.5)
    )


def _percussion(
    song: Arrangement,
    drums: dict[str, Track],
    section: Section,
    scrape: tuple[Hit, ...],
    tambora: tuple[Hit, ...],
    extras: dict[str, bool],
) -> None:
    start, end = section.start, section.end
    drums["guacharaca"].loop(start, end, _BAR, scrape, 0.85 if section.name == "intro" else 1.0)
    drums["llamador"].loop(start, end, 2, ((1, _LLAMADOR, 88),))
    if section.name == "break":
        return
    drums["tambora"].loop(start, end, _BAR, tambora)
    turns = max(1, section.bars // 4)
    for turn in range(turns):
        opening = start + turn * 4 * _BAR
        drums["tambor alegre"].loop(opening, opening + 3 * _BAR, _BAR, _ALEGRE)
        flourish = section.name == "drums" or song.rng.random() < 0.7
        drums["tambor alegre"].loop(opening + 3 * _BAR, opening + 4 * _BAR, _BAR, _FLOURISH if flourish else _ALEGRE)
    if extras["maracas"]:
        drums["maracas"].loop(start, end, 1, ((0, _MARACAS, 66), (0.5, _MARACAS, 84)))
    if extras["cowbell"] and section.name in ("theme", "chorus"):
        drums["cowbell"].loop(start, end, 2, ((0, _BELL, 84),))


def _bass(song: Arrangement, bass: Track, section: Section, sparse: bool) -> None:
    for start in section.bar_starts():
        chord = section.chord_at(start)
        root = nearest((chord.root,), 38, 30, 43)
        fifth = nearest((chord.fifth,), root + 5, root, root + 11)
        bass.add(start, 1.8, root, 102)
        if not sparse:
            bass.add(start + 2, 0.9, fifth, 92)
            bass.add(start + 3, 0.85, fifth if song.rng.random() < 0.7 else root + 12 * (root < 36), 94)


def _off_beats(song: Arrangement, comping: Track, section: Section) -> None:
    """Play chords off the beat: on 2 and 4, in some sections doubled in eighths."""
    doubled, shape = song.rng.random() < 0.4, None
    for start in section.bar_starts():
        for beat in (1, 1.5, 3, 3.5) if doubled else (1, 3):
            shape = voicing(section.chord_at(start + beat), 3, 64, shape)
            comping.chord(start + beat, 0.35, shape, 78 if beat % 1 == 0 else 66)


def _answers(song: Arrangement, tune: Track, section: Section, theme: tuple[Motif, ...]) -> None:
    """Answer the singer in the last bar of every four."""
    for start in section.bar_starts()[3::4]:
        if song.rng.random() < 0.75:
            reply = Section("answer", start, 1, _BAR, ((section.chord_at(start),),))
            song.sing(tune, reply, theme, 66, 84, phrase_bars=1, rest_beats=0.5, velocity=86)
