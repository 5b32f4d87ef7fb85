"""The answer for one song, and how a person reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rich.text import Text

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import Part
from tumbao.components.ingest.tables import encode_text
from tumbao.pipeline.terminal import TerminalConsole, one_line
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import SongPrediction
from tumbao.serving.song_values import summary
from tumbao.serving.tagging import Outcome, Tagging

SYNTHETIC_WARNING = "This model was trained on composed, synthetic songs: it knows nothing of real recordings."

_BAR_CELLS = 20


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is known of one song.

    Parameters
    ----------
    part : Part
        The file, or the part of it.
    stamp : tuple of int or None
        Its bytes and when it was modified, see `audio_files.stamp`.
    said : SongPrediction or AudioError
        What the model says, or why it cannot.
    tagging : Tagging or None
        What became of the genre tag; None if none was to be written.
    """

    part: Part
    stamp: tuple[int, int] | None
    said: SongPrediction | AudioError
    tagging: Tagging | None = None


def table_writer(info: ModelInfo, out: TextIO) -> Callable[[Answer], None]:
    """Write for a person: the song, its genre and votes, and a line with a bar per fragment.

    Parameters
    ----------
    info : ModelInfo
        Names the genres.
    out : TextIO
        Where to.

    Returns
    -------
    write : callable
        Takes one answer after the other.
    """
    console = TerminalConsole(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)
    width = max(map(len, info.genres))
    if info.training_data.synthetic:
        console.print(Text(SYNTHETIC_WARNING, style="yellow"))

    def write(answer: Answer) -> None:
        part, result = answer.part, answer.said
        whole = not part.start_seconds and part.end_seconds is None
        name = text(part.path)
        if not whole:
            name += f" from {_clock(part.start_seconds)}"
            name += f" to {_clock(part.end_seconds)}" if part.end_seconds is not None else ""
        console.print(Text(name, style="bold"))
        if isinstance(result, AudioError):
            console.print(Text(one_line(f"  rejected: it {result.sentence}"), style="red"))
            return
        song = result.answer
        ranked = sorted(range(len(info.genres)), key=lambda g: (song.votes[g], song.probabilities[g]), reverse=True)
        votes = ", ".join(f"{info.genres[g]} {song.votes[g]}" for g in ranked if song.votes[g])
        nearest, probability = info.genres[song.genre], f"{song.probabilities[song.genre]:.2f}"
        values = summary(result, info)
        if "main_genre" in values:
            probability += f", {values['main_genre']} {values['main_probability']:.2f}"
        said = (
            Text.assemble((f"{nearest:<{width}}", "bold green"), f" {probability}")
            if song.confident
            else Text.assemble(("none of these with confidence", "bold yellow"), f" (nearest: {nearest} {probability})")
        )
        console.print(Text.assemble("  ", said, f"  votes: {votes}"))
        for note in (*_notes(result, info), *_tag_notes(answer.tagging)):
            console.print(Text(one_line(f"  {note}"), style="yellow"))
        for fragment in result.fragments:
            genre = fragment.genre
            span = _span(fragment.start_seconds, fragment.end_seconds)
            bar = "█" * round(fragment.probabilities[genre] * _BAR_CELLS)
            line = f"    {span:<13}{info.genres[genre]:<{width}} {fragment.probabilities[genre]:.2f} "
            console.print(Text.assemble(line, (bar, "cyan")))

    return write


def _notes(result: SongPrediction, info: ModelInfo) -> Iterator[str]:
    if result.truncated:
        declared = result.declared_seconds or 0.0
        whole = f" of {_clock(declared)}" if declared > result.duration_seconds else ""
        yield f"the file breaks off: only {_clock(result.duration_seconds)}{whole} could be decoded"
    if result.audio_tracks > 1:
        yield f"decoded audio track {result.audio_track} of {result.audio_tracks}, the one that players play"
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


def _tag_notes(tagging: Tagging | None) -> Iterator[str]:
    if tagging and tagging.outcome is Outcome.WRITTEN:
        yield "the genre is in its tags now"
    elif tagging and tagging.sentence:
        yield f"the file {tagging.sentence}"


def text(path: str | Path) -> str:
    """Make a path text that stays on its line of a terminal.

    Parameters
    ----------
    path : str or Path
        Of any bytes.

    Returns
    -------
    text : str
        See `tables.encode_text` and `terminal.one_line`.
    """
    return one_line(encode_text(str(path)))


def _span(start_seconds: float, end_seconds: float) -> str:
    return f"{_clock(start_seconds)}–{_clock(end_seconds)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
