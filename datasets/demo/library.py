"""Songs by genre, index and seed, and the demo library: a folder of such songs with a list that describes them.

The same genre, index and seed always return the same song.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.datasets.demo import bachata, cumbia, merengue, salsa, vallenato
from tumbao.datasets.demo.render import waveform, write_mp3
from tumbao.datasets.demo.score import Score
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES

VERSION = 3
"""Increased by every change that creates other songs from the same seed."""

Progress = Callable[[int, int, str], None]
"""Called with the number of songs that are done, the total, and the name of a new file."""

_LIST = "library.json"
_COMPOSERS: dict[str, Callable[[np.random.Generator], Score]] = {
    "bachata": bachata.compose,
    "cumbia": cumbia.compose,
    "merengue": merengue.compose,
    "salsa": salsa.compose,
    "vallenato": vallenato.compose,
}
_NOUNS = (
    *("Noche", "Luna", "Calle", "Carta", "Flor", "Lluvia", "Playa"),
    *("Sombra", "Ventana", "Guitarra", "Palma", "Orilla", "Fiesta"),
)
_COMPLEMENTS = (
    *("de enero", "de abril", "del barrio", "del río", "de mi tierra"),
    *("sin nombre", "de sal", "de madrugada", "del puerto", "de ayer"),
)


def compose(genre: str, index: int, seed: int) -> Score:
    """Compose one song; `index` is its number within the genre, from 0; `facts` describe it.

    A library holds the first songs of a genre; any other index is a song new to it.
    """
    if genre not in _COMPOSERS:
        raise ValueError(f"No such genre in the demo library. Expected one of {', '.join(GENRES)}. Received: {genre!r}")
    composing, naming = np.random.SeedSequence([seed, index, *genre.encode()]).spawn(2)
    score = _COMPOSERS[genre](np.random.default_rng(composing))
    noun, complement = np.random.default_rng(naming).integers((len(_NOUNS), len(_COMPLEMENTS)))
    score.facts["title"] = f"{_NOUNS[noun]} {_COMPLEMENTS[complement]}"
    return score


def compose_file(path: Path, genre: str, index: int, seed: int) -> Path:
    """Compose one song and write it as MP3 (stereo, 44,100 Hz, 65 to 110 s), in a folder that is created if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp3(path, waveform(compose(genre, index, seed).midi()))
    return path


def make_library(
    out: Path,
    songs_per_genre: int = 12,
    seed: int = 7,
    workers: int | None = None,
    progress: Progress = lambda done, total, name: None,
) -> list[Path]:
    """Compose the library in `out`; existing songs of the same library stay. Returns all songs by genre and number."""
    header = {"synthetic": True, "generator": "tumbao demo-library", "version": VERSION}
    header |= {"seed": seed, "songs_per_genre": songs_per_genre}
    songs = _listed(out, header)
    if missing := [song for song in songs if not (out / song["file"]).is_file()]:
        with WorkerPool() as pool, ThreadPoolExecutor(workers or cpu_count()) as threads:

            def write(song: dict[str, Any]) -> str:
                list(pool.run(_written, out / song["file"], song["genre"], song["index"], seed))
                return str(song["file"])

            for done, name in enumerate(threads.map(write, missing), start=len(songs) - len(missing) + 1):
                progress(done, len(songs), name)
    return [out / song["file"] for song in songs]


def _listed(out: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the songs from the library's list; write the list first if the folder holds no library."""
    path = out / _LIST
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        songs: list[dict[str, Any]] = found.pop("songs")
        if found == header:
            return songs
    if others := sorted(out.glob("*/*.mp3")):
        raise UserError(
            f"{out} holds songs of another library, such as {others[0].relative_to(out)}. Expected an empty folder or "
            f"the library of version {VERSION}, seed {header['seed']} and {header['songs_per_genre']} songs in each "
            "genre. Choose another folder or remove this one."
        )
    songs = [_entry(genre, index, header["seed"]) for genre in GENRES for index in range(header["songs_per_genre"])]
    for genre in GENRES:
        (out / genre).mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(header | {"songs": songs}, ensure_ascii=False, indent=1) + "\n").encode())
    return songs


def _entry(genre: str, index: int, seed: int) -> dict[str, Any]:
    facts = compose(genre, index, seed).facts
    plain = unicodedata.normalize("NFKD", facts["title"]).encode("ascii", "ignore").decode()
    slug = plain.lower().replace(" ", "-")
    return {"file": f"{genre}/{genre}-{index:03d}-{slug}.mp3", "genre": genre, "index": index, **facts}


def _written(path: Path, genre: str, index: int, seed: int) -> Iterator[None]:
    """Compose one song in a worker process."""
    compose_file(path, genre, index, seed)
    yield None
