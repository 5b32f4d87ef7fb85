"""`tumbao classify`: files and folders in, answers for a person (table) or a program (JSON Lines, CSV) out."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.folders import walk
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import Classifier, SongPrediction

SYNTHETIC_WARNING = "This model was trained on composed, synthetic songs: it knows nothing of real recordings."

_BAR_CELLS = 20

_Write = Callable[[SongPrediction | AudioError], None]


@dataclasses.dataclass(frozen=True)
class AudioFiles:
    """What there is to classify.

    Parameters
    ----------
    files : tuple of Path
        Files to try, folders in sorted order, each file once.
    left_out : int
        Sidecars that were left out.
    """

    files: tuple[Path, ...]
    left_out: int


def find_audio_files(paths: Iterable[str | Path]) -> AudioFiles:
    """List the files to classify.

    A file that is named is taken as it is. In folders, hidden files and folders are passed over and `folders.SIDECARS`
    are counted as left out; everything else is taken, since only its content says whether it is audio.

    Parameters
    ----------
    paths : iterable of str or Path
        Files and folders.

    Returns
    -------
    AudioFiles
        The files, and how many were left out.

    Raises
    ------
    ValueError
        If a path does not exist, a folder cannot be read, or there is no file at all.
    """
    roots = [Path(path) for path in paths]
    found: dict[Path, None] = {}  # a set that keeps its order
    left_out: set[Path] = set()
    for path in roots:
        if not path.exists():
            raise ValueError(f"No such file or folder: {path}")
        if not path.is_dir():
            found[path] = None
            continue
        listing = walk(path)
        for error in listing.unlisted:
            raise ValueError(f"Cannot read the folder {error.filename}: {error.strerror}") from error
        left_out.update(listing.sidecars)
        found.update(dict.fromkeys(listing.files))
    if not found:
        raise ValueError(
            f"No audio files in {', '.join(map(str, roots))}: expected files such as mp3, wav, flac or m4a"
        )
    return AudioFiles(tuple(found), len(left_out))


def run_classify(
    paths: Iterable[str | Path], model_dir: str | Path, as_json: bool, as_csv: bool, console: Console, out: TextIO
) -> int:
    """Classify songs and write the answers as they come.

    Parameters
    ----------
    paths : iterable of str or Path
        Files and folders.
    model_dir : str or Path
        Where the model was pushed; see `tumbao.serving.predict.find_assets`.
    as_json : bool
        Write JSON Lines: one object a song; a rejected song has `error` instead of an answer.
    as_csv : bool
        Write CSV: a header, one row a fragment with its song's columns; a rejected song has one row.
    console : Console
        For progress and the summary (stderr).
    out : TextIO
        For the answers (stdout).

    Returns
    -------
    int
        Exit status: 0 if every file was classified, 1 if any was rejected.

    Raises
    ------
    ValueError
        If a path or the model is not there, or both formats are asked for (wrong use, nothing written).
    """
    if as_json and as_csv:
        raise ValueError("Expected --json or --csv. Received: both")
    audio = find_audio_files(paths)
    rejected = 0
    with _native_noise_silenced(console):
        classifier = Classifier(model_dir)
        make = _json_writer if as_json else _csv_writer if as_csv else _table_writer
        write = make(classifier.info, out)
        for result in _results(classifier, audio.files, console):
            write(result)
            out.flush()
            rejected += isinstance(result, AudioError)
    found = len(audio.files)
    summary = f"found {found} = classified {found - rejected} + rejected {rejected}"
    if audio.left_out:
        summary += f" (left out by extension: {audio.left_out})"
    console.print(summary, highlight=False, soft_wrap=True)
    return 1 if rejected else 0


@contextlib.contextmanager
def _native_noise_silenced(console: Console) -> Iterator[None]:
    """Keep what decoders and interpreter write to the process's stderr out of sight; the console goes on."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as stderr, Path(os.devnull).open("w") as nowhere:
        before = console.file
        if console.stderr:
            console.file = stderr
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)
            console.file = before


def _results(
    classifier: Classifier, files: tuple[Path, ...], console: Console
) -> Iterator[SongPrediction | AudioError]:
    """Classify one file after the other, with rate and remaining time: a bar on a terminal, lines elsewhere."""
    columns = (
        TextColumn("classifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("songs {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task("", total=len(files), rate="")
    with_bar = console.is_terminal and len(files) > 1
    started = time.monotonic()
    for done, path in enumerate(files, start=1):
        if with_bar:
            progress.start()
        try:
            result: SongPrediction | AudioError = classifier.classify(path)
        except AudioError as error:
            result = error
        finally:
            if with_bar:
                progress.stop()  # the answer may go to the same terminal
        per_song = (time.monotonic() - started) / done
        rate = f"{1 / per_song:.2f} songs/s" if per_song < 1 else f"{per_song:.1f} s/song"
        progress.update(task, advance=1, rate=f"· {rate}")
        if not console.is_terminal and len(files) > 1:
            console.print(
                f"{done}/{len(files)} songs, {rate}, {_clock(per_song * (len(files) - done))} left", highlight=False
            )
        yield result


def _table_writer(info: ModelInfo, out: TextIO) -> _Write:
    """For a person: the song, its genre and votes, and a line with a bar per fragment."""
    console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)
    width = max(map(len, info.genres))
    if info.training_data.synthetic:
        console.print(Text(SYNTHETIC_WARNING, style="yellow"))

    def write(result: SongPrediction | AudioError) -> None:
        console.print(Text(_text(result.path), style="bold"))
        if isinstance(result, AudioError):
            console.print(Text(f"  rejected: it {result.sentence}", style="red"))
            return
        answer = result.answer
        ranked = sorted(range(len(info.genres)), key=lambda g: (answer.votes[g], answer.probabilities[g]), reverse=True)
        votes = ", ".join(f"{info.genres[g]} {answer.votes[g]}" for g in ranked if answer.votes[g])
        nearest, probability = info.genres[answer.genre], f"{answer.probabilities[answer.genre]:.2f}"
        said = (
            Text.assemble((f"{nearest:<{width}}", "bold green"), f" {probability}")
            if answer.confident
            else Text.assemble(("none of these with confidence", "bold yellow"), f" (nearest: {nearest} {probability})")
        )
        console.print(Text.assemble("  ", said, f"  votes: {votes}"))
        for note in _notes(result, info):
            console.print(Text(f"  {note}", style="yellow"))
        for fragment in result.fragments:
            genre = _top(fragment.probabilities)
            span = _span(fragment.start_seconds, fragment.end_seconds)
            bar = "█" * round(fragment.probabilities[genre] * _BAR_CELLS)
            line = f"    {span:<13}{info.genres[genre]:<{width}} {fragment.probabilities[genre]:.2f} "
            console.print(Text.assemble(line, (bar, "cyan")))

    return write


def _notes(result: SongPrediction, info: ModelInfo) -> Iterator[str]:
    if result.truncated:
        declared = f" of {_clock(result.declared_seconds)}" if result.declared_seconds else ""
        yield f"the file breaks off: only {_clock(result.duration_seconds)}{declared} could be decoded"
    if result.padded:
        yield f"shorter than {info.mel.fragment_seconds:.0f} s: padded with silence"
    if result.silent:
        fragments = "fragment has" if result.silent == 1 else "fragments have"
        yield f"{result.silent} silent {fragments} no part in the answer"
    if unfamiliar := sum(not fragment.familiar for fragment in result.fragments):
        yield f"{unfamiliar} of {len(result.fragments)} fragments sound unlike the songs that the model was trained on"
    if len(result.sections) > 1:
        parts = (f"{_span(part.start_seconds, part.end_seconds)} {info.genres[part.genre]}" for part in result.sections)
        yield f"changes its genre: {', '.join(parts)}"


def _json_writer(info: ModelInfo, out: TextIO) -> _Write:
    """For a program: one object a line and song."""

    def write(result: SongPrediction | AudioError) -> None:
        values: dict[str, Any] = {"path": _text(result.path), "synthetic_training_data": info.training_data.synthetic}
        if isinstance(result, AudioError):
            values["error"] = {"reason": result.reason.value, "message": result.sentence}
        else:
            values |= _answer(result, info) | {
                "probabilities": dict(zip(info.genres, result.answer.probabilities, strict=True)),
                "votes": dict(zip(info.genres, result.answer.votes, strict=True)),
                "sections": [
                    dataclasses.asdict(section) | {"genre": info.genres[section.genre]} for section in result.sections
                ],
                "fragments": [
                    {
                        "start_seconds": fragment.start_seconds,
                        "end_seconds": fragment.end_seconds,
                        "genre": info.genres[_top(fragment.probabilities)],
                        "familiar": fragment.familiar,
                        "probabilities": dict(zip(info.genres, fragment.probabilities, strict=True)),
                    }
                    for fragment in result.fragments
                ],
            }
        out.write(json.dumps(values, ensure_ascii=False) + "\n")

    return write


def _csv_writer(info: ModelInfo, out: TextIO) -> _Write:
    """For a spreadsheet: one row a fragment, with the columns of its song; cells that do not apply are empty."""
    song = ["path", "synthetic_training_data", "genre", "nearest", "probability", "majority"]
    song += ["duration_seconds", "declared_seconds", "truncated", "padded", "silent_fragments"]
    probabilities = [f"p_{genre}" for genre in info.genres]
    fragment_columns = [
        "fragment",
        "start_seconds",
        "end_seconds",
        "section_genre",
        "fragment_genre",
        "familiar",
        *probabilities,
    ]
    table = csv.DictWriter(out, [*song, *fragment_columns, "reason", "message"], restval="", lineterminator="\n")
    table.writeheader()

    def write(result: SongPrediction | AudioError) -> None:
        row: dict[str, Any] = {"path": _text(result.path), "synthetic_training_data": info.training_data.synthetic}
        if isinstance(result, AudioError):
            table.writerow(row | {"reason": result.reason.value, "message": result.sentence})
            return
        row |= _answer(result, info)
        for index, fragment in enumerate(result.fragments):
            row |= {
                "fragment": index,
                "start_seconds": fragment.start_seconds,
                "end_seconds": fragment.end_seconds,
                "section_genre": next(
                    info.genres[section.genre]
                    for section in reversed(result.sections)
                    if section.start_seconds <= fragment.start_seconds
                ),
                "fragment_genre": info.genres[_top(fragment.probabilities)],
                "familiar": fragment.familiar,
            }
            table.writerow(row | dict(zip(probabilities, fragment.probabilities, strict=True)))

    return write


def _answer(result: SongPrediction, info: ModelInfo) -> dict[str, Any]:
    """Say of a song what JSON and CSV have in common."""
    return {
        "genre": info.genres[result.answer.genre] if result.answer.confident else None,
        "nearest": info.genres[result.answer.genre],
        "probability": result.answer.probabilities[result.answer.genre],
        "majority": info.genres[result.answer.majority],
        "duration_seconds": result.duration_seconds,
        "declared_seconds": result.declared_seconds,
        "truncated": result.truncated,
        "padded": result.padded,
        "silent_fragments": result.silent,
    }


def _top(probabilities: tuple[float, ...]) -> int:
    return probabilities.index(max(probabilities))


def _span(start_seconds: float, end_seconds: float) -> str:
    return f"{_clock(start_seconds)}–{_clock(end_seconds)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _text(path: str | Path) -> str:
    """Make a path text that can be written: bytes that are no UTF-8 become question marks."""
    return os.fsencode(path).decode("utf-8", "replace")
