"""Songs by genre, index and seed; the same arguments always return the same song."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tumbao.datasets.demo import bachata, cumbia, merengue, salsa, vallenato
from tumbao.datasets.demo.mp3 import write_mp3
from tumbao.datasets.demo.render import waveform
from tumbao.datasets.demo.score import Score
from tumbao.schema.genres import GENRES

_COMPOSERS: dict[str, Callable[[np.random.Generator], Score]] = {
    "bachata": bachata.compose,
    "cumbia": cumbia.compose,
    "merengue": merengue.compose,
    "salsa": salsa.compose,
    "vallenato": vallenato.compose,
}
_WHAT = (
    "Noche",
    "Luna",
    "Calle",
    "Carta",
    "Flor",
    "Lluvia",
    "Playa",
    "Sombra",
    "Ventana",
    "Guitarra",
    "Palma",
    "Orilla",
    "Fiesta",
)
_WHOSE = (
    "de enero",
    "de abril",
    "del barrio",
    "del río",
    "de mi tierra",
    "sin nombre",
    "de sal",
    "de madrugada",
    "del puerto",
    "de ayer",
)


def compose(genre: str, index: int, seed: int) -> Score:
    """Compose one song; `index` is its number within the genre, from 0.

    A library holds the first songs of a genre; any other index is a song new to it. `facts` holds title, tempo, key,
    form and details of the genre. Raises ValueError if the genre is unknown, or index or seed is negative.
    """
    if genre not in _COMPOSERS:
        raise ValueError(f"No such genre in the demo library. Expected one of {', '.join(GENRES)}. Received: {genre!r}")
    if index < 0 or seed < 0:
        raise ValueError(f"Songs are counted, and seeds chosen, from 0. Received: index={index}, seed={seed}")
    composing, naming = np.random.SeedSequence([seed, index, *genre.encode()]).spawn(2)
    score = _COMPOSERS[genre](np.random.default_rng(composing))
    first, second = np.random.default_rng(naming).integers((len(_WHAT), len(_WHOSE)))
    score.facts["title"] = f"{_WHAT[first]} {_WHOSE[second]}"
    return score


def song_midi(genre: str, index: int, seed: int) -> bytes:
    """Compose one song as a standard MIDI file; the same arguments return the same bytes."""
    return compose(genre, index, seed).midi()


def compose_file(path: Path, genre: str, index: int, seed: int) -> Path:
    """Compose one song and write it as MP3 (stereo, 44,100 Hz, 65 to 110 s).

    With an index beyond those of a library, this makes a song that no model trained on the library has seen. The folder
    is created if missing; an existing file is replaced only when the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp3(path, waveform(song_midi(genre, index, seed)))
    return path
