"""The demo library: a folder of songs by genre, with a list that says what they are."""

from __future__ import annotations

import json
import multiprocessing
import signal
import unicodedata
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.demo.song import compose, compose_file
from tumbao.errors import UserError
from tumbao.schema.genres import GENRES

VERSION = 2
"""Counts the changes that make other songs of the same seed."""

_LIST = "library.json"


def make_library(
    out: Path,
    songs_per_genre: int = 12,
    seed: int = 7,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Compose the library; what is already there of the same library stays.

    Parameters
    ----------
    out : Path
        Folder to hold `<genre>/<song>.mp3` and `library.json`; made if missing.
    songs_per_genre : int
        At least 1.
    seed : int
        From 0. Each song is a function of seed, genre and its number only.
    workers : int, optional
        Processes that compose and render; by default as many as processors.
    progress : callable, optional
        Called with (songs done, songs in all, file name) after each song, and not for songs that were there.

    Returns
    -------
    songs : list of Path
        All songs of the library, by genre and number.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `out` holds another library.
    """
    if songs_per_genre < 1:
        raise UserError(f"A library needs at least 1 song in each genre. Received: songs_per_genre={songs_per_genre}")
    if seed < 0:
        raise UserError(f"A seed is a whole number from 0. Received: seed={seed}")
    if workers is not None and workers < 1:
        raise UserError(f"At least 1 process has to do the work. Received: workers={workers}")
    header = {"synthetic": True, "generator": "tumbao demo-library", "version": VERSION}
    header |= {"seed": seed, "songs_per_genre": songs_per_genre}
    songs = _listed(out, header)
    missing = [song for song in songs if not (out / song["file"]).is_file()]
    if missing:
        _render(out, missing, seed, min(workers or cpu_count(), len(missing)), progress, len(songs))
    return [out / song["file"] for song in songs]


def _entry(genre: str, index: int, seed: int) -> dict[str, Any]:
    facts = compose(genre, index, seed).facts
    plain = unicodedata.normalize("NFKD", facts["title"]).encode("ascii", "ignore").decode()
    slug = plain.lower().replace(" ", "-")
    return {"file": f"{genre}/{genre}-{index:03d}-{slug}.mp3", "genre": genre, "index": index, **facts}


def _listed(out: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the songs of the library from its list; write the list first if the folder is free."""
    path = out / _LIST
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        songs: list[dict[str, Any]] = found.pop("songs")
        if found == header:
            return songs
    foreign = sorted(out.glob("*/*.mp3"))
    if foreign:
        raise UserError(
            f"{out} holds songs of another library, such as {foreign[0].relative_to(out)}. Expected an empty folder or "
            f"the library of version {VERSION}, seed {header['seed']} and {header['songs_per_genre']} songs in each "
            "genre. Choose another folder or remove this one."
        )
    songs = [_entry(genre, index, header["seed"]) for genre in GENRES for index in range(header["songs_per_genre"])]
    for genre in GENRES:
        (out / genre).mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(header | {"songs": songs}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return songs


def _render(
    out: Path,
    missing: list[dict[str, Any]],
    seed: int,
    workers: int,
    progress: Callable[[int, int, str], None] | None,
    total: int,
) -> None:
    """Render the missing songs in processes of their own, which an interruption ends at once."""
    done, strangers = total - len(missing), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:  # the processes inherit the mask, so that Ctrl-C is answered here alone
            jobs = {
                pool.submit(compose_file, out / song["file"], song["genre"], song["index"], seed): str(song["file"])
                for song in missing
            }
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, total, jobs[job])
        except BaseException:
            for process in set(multiprocessing.active_children()) - strangers:
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            for part in out.glob("*/*.part"):
                part.unlink()
            raise
