"""The demo library: a folder of songs by genre, with a list that says what they are."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tumbao.demo.song import compose, compose_file
from tumbao.schema.genres import GENRES

VERSION = 1
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
        raise ValueError(f"A library needs at least 1 song in each genre. Received: songs_per_genre={songs_per_genre}")
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0. Received: seed={seed}")
    if workers is not None and workers < 1:
        raise ValueError(f"At least 1 process has to do the work. Received: workers={workers}")
    header = {"synthetic": True, "generator": "tumbao demo-library", "version": VERSION, "seed": seed}
    header["songs_per_genre"] = songs_per_genre
    songs = [_entry(genre, index, seed) for genre in GENRES for index in range(songs_per_genre)]
    _claim(out, header, songs)
    missing = [song for song in songs if not (out / song["file"]).is_file()]
    _render(out, missing, seed, workers or os.cpu_count() or 1, progress, len(songs))
    return [out / song["file"] for song in songs]


def _entry(genre: str, index: int, seed: int) -> dict[str, Any]:
    facts = compose(genre, index, seed).facts
    slug = "".join(letter if letter.isascii() else "i" for letter in facts["title"].lower().replace(" ", "-"))
    return {"file": f"{genre}/{genre}-{index:03d}-{slug}.mp3", "genre": genre, "index": index, **facts}


def _claim(out: Path, header: dict[str, Any], songs: list[dict[str, Any]]) -> None:
    """Write the list, unless the folder holds songs that this library would mix with."""
    path = out / _LIST
    text = json.dumps(header | {"songs": songs}, ensure_ascii=False, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    other = sorted(out.glob("*/*.mp3"))
    if other:
        raise ValueError(
            f"{out} holds songs of another library, such as {other[0].relative_to(out)}. Expected an empty folder, or "
            f"the library of version {VERSION}, seed {header['seed']} and {header['songs_per_genre']} songs in each "
            "genre. Choose another folder or remove this one."
        )
    for genre in GENRES:
        (out / genre).mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _render(
    out: Path,
    missing: list[dict[str, Any]],
    seed: int,
    workers: int,
    progress: Callable[[int, int, str], None] | None,
    total: int,
) -> None:
    """Render the missing songs in processes of their own; an interruption drops what is not yet begun."""
    if not missing:
        return
    done = total - len(missing)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(missing)), mp_context=context, initializer=_leave_interrupts_to_parent
    ) as pool:
        jobs = {
            pool.submit(compose_file, out / song["file"], song["genre"], song["index"], seed): song for song in missing
        }
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, total, jobs[job]["file"])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
