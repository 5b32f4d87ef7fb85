"""The command `tumbao classify`: classify files, folders and lists; write results, tags and playlists."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.paths import AnyPath
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.pipeline.standard_streams import error_stream
from tumbao.schema.errors import UserError, describe
from tumbao.schema.hierarchy import main_genres
from tumbao.serving.classify.batch import Answer, answers, decoding, in_threads, is_file, table_writer, text, write_tag
from tumbao.serving.classify.formats import Brief, Csv, Encoding, JsonLines, ResultsFile, tag_values
from tumbao.serving.classify.inputs import Song, find_audio_files, stamp
from tumbao.serving.classify.playlists import write_playlists
from tumbao.serving.classify.tags import Outcome, Tagger, Tagging
from tumbao.serving.model_info import ModelInfo, identity
from tumbao.serving.predict import Classifier, find_assets

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

_ENCODINGS: dict[str, Callable[[ModelInfo, str], Encoding]] = {".jsonl": JsonLines, ".csv": Csv}


_UNDONE = (Outcome.FAILED, Outcome.IMPOSSIBLE)


@dataclasses.dataclass(frozen=True)
class ClassifyOptions:
    """Options of `tumbao classify`, see its help; those that exclude each other raise a `UserError`."""

    songs: Sequence[str | AnyPath]
    model: str | AnyPath
    as_json: bool = False
    as_csv: bool = False
    out: Path | None = None
    write_tags: bool = False
    overwrite_genre: bool = False
    playlists: Path | None = None

    def __post_init__(self) -> None:
        given = {"--json": self.as_json, "--csv": self.as_csv, "--out": self.out is not None}
        if sum(given.values()) > 1:
            names = " and ".join(name for name, there in given.items() if there)
            raise UserError(f"Expected one of {', '.join(given)}. Received: {names}")
        if self.out is not None and self.out.suffix.lower() not in _ENCODINGS:
            raise UserError(f"Expected --out to end in {' or '.join(_ENCODINGS)}. Received: {self.out}")
        if self.overwrite_genre and not self.write_tags:
            raise UserError("Expected --overwrite-genre beside --write-tags. Received: the one without the other")


class Tally:
    """Counts results. `briefs` has the result of each song so far; `genres` are in the order of the model's outputs."""

    def __init__(self, genres: Sequence[str]) -> None:
        self.briefs: dict[AudioSegment, Brief] = {}
        self._genres = genres
        self._fresh_seconds = 0.0

    def add(self, answer: Answer) -> None:
        """Add the result of a song that was classified in this run."""
        result, tag = answer.result, answer.tagging.outcome.value if answer.tagging else ""
        if isinstance(result, AudioError):
            self.briefs[answer.part] = Brief("", 0.0, result.reason.value, tag)
            return
        genre = self._genres[result.answer.genre] if result.answer.confident else ""
        self.briefs[answer.part] = Brief(genre, result.duration_seconds, "", tag)
        self._fresh_seconds += result.duration_seconds

    @property
    def rejected(self) -> int:
        """Number of rejected songs."""
        return sum(bool(brief.reason) for brief in self.briefs.values())

    @property
    def untagged(self) -> int:
        """Number of songs whose tag should have been written but was not."""
        return sum(brief.tag in _UNDONE for brief in self.briefs.values())

    def lines(self, notes: Sequence[str], seconds: float) -> Iterator[str]:
        """Format the counts; the first line shows that classified and rejected songs add up to those found.

        `notes` are those of `inputs.AudioFiles`, `seconds` is the time that classification took.
        """
        found = len(self.briefs)
        yield f"found {found} = classified {found - self.rejected} + rejected {self.rejected}"
        yield from notes
        if found > 1:
            briefs = self.briefs.values()
            genres = collections.Counter(brief.genre for brief in briefs if not brief.reason)
            counts = [f"{genre} {genres[genre]}" for genre in self._genres]
            yield f"genres: {', '.join(counts)}, none of these with confidence {genres['']}"
            for what, counter in (
                ("rejected", collections.Counter(brief.reason for brief in briefs if brief.reason)),
                ("tags", collections.Counter(brief.tag for brief in briefs if brief.tag)),
            ):
                if counter:
                    yield f"{what}: {', '.join(f'{name} {count}' for name, count in counter.most_common())}"
            if self._fresh_seconds:
                ratio = self._fresh_seconds / seconds
                yield f"{self._fresh_seconds / 3600:.1f} h of sound in {seconds / 60:.1f} min: {ratio:.0f} × real time"


def run_classify(options: ClassifyOptions, console: Console, out: TextIO) -> int:
    """Classify songs and write each result as soon as it is known.

    Progress and the summary are printed to `console` (stderr), results to `out` (stdout) unless they are written to a
    file. Returns the exit code: 0 if every song was classified and every requested tag written, 1 if not, 130 if
    interrupted. Raises a `ValueError`, before any song is classified, if a song, a list or the model is missing or the
    results file is not one.
    """
    audio = find_audio_files(options.songs)
    display = ProgressDisplay(console)
    with _native_stderr_discarded(console):
        info = ModelInfo.read(find_assets(options.model))
        tally = Tally(info.genres)
        began = time.monotonic()
        try:
            _classify(options, info, audio.songs, tally, display, out)
            seconds = time.monotonic() - began
            if options.playlists is not None:
                _write_playlists(options.playlists, info.genres, tally, display)
        except KeyboardInterrupt:
            done = f"{len(tally.briefs)} of {len(audio.songs)}"
            where = f"are in {options.out}; the same command goes on" if options.out else "were classified"
            display.say(escape(f"Interrupted: {done} {where}."))
            return INTERRUPTED
        except OSError as error:
            error.filename = error.filename or (str(options.out) if options.out else None)
            display.say(f"[bold red]error:[/bold red] {escape(describe(error))}")
            return 1
    for line in tally.lines(audio.notes, seconds):
        display.say(escape(line))
    return 1 if tally.rejected or tally.untagged else 0


def _classify(
    options: ClassifyOptions,
    info: ModelInfo,
    songs: Sequence[Song],
    tally: Tally,
    display: ProgressDisplay,
    out: TextIO,
) -> None:
    model = identity(find_assets(options.model))
    with contextlib.ExitStack() as stack:
        tagger = stack.enter_context(Tagger(options.overwrite_genre)) if options.write_tags else None
        if options.out is not None:
            results = stack.enter_context(
                ResultsFile(options.out, _ENCODINGS[options.out.suffix.lower()](info, model), model)
            )
            songs = _left_to_do(results, songs, tally, display)
            if tagger:
                _tag_earlier_results(results, tagger, options.overwrite_genre, info, tally, display)
            if not songs:
                return
        decoded = stack.enter_context(decoding(songs, info.mel))  # decodes while the model is loaded
        classifier = Classifier(options.model)
        write = _stream_writer(options, info, model, out) if options.out is None else results.append
        for answer in _shown(display, answers(classifier, decoded, tagger), len(songs), out):
            write(answer)
            tally.add(answer)


def _left_to_do(results: ResultsFile, songs: Sequence[Song], tally: Tally, display: ProgressDisplay) -> list[Song]:
    """Return the songs without a result in the file, and add the results of the others to the tally."""
    left: list[Song] = []
    for song in songs:
        brief = results.find(song.part)
        if brief:
            tally.briefs[song.part] = brief
        else:
            left.append(song)
    if tally.briefs:
        display.say(escape(f"{len(tally.briefs)} of {len(songs)} are in {results.path} already"))
    return left


def _tag_earlier_results(
    results: ResultsFile, tagger: Tagger, overwrite: bool, info: ModelInfo, tally: Tally, display: ProgressDisplay
) -> None:
    """Write the tags of songs that were classified in an earlier run, without decoding them again."""
    again = ("", Outcome.FAILED, *((Outcome.KEPT,) if overwrite else ()))
    parts = [part for part, brief in tally.briefs.items() if brief.genre and brief.tag in again]

    shown = dict(zip(info.genres, main_genres(info.genres), strict=True))

    def tag(part: AudioSegment) -> Tagging:
        return write_tag(tagger, part, shown[tally.briefs[part].genre])

    with display:
        for done, (part, tagging) in enumerate(in_threads(tag, parts), start=1):
            results.amend(part, tag_values(stamp(part), tagging))
            tally.briefs[part] = dataclasses.replace(tally.briefs[part], tag=tagging.outcome.value)
            display("tag", done, len(parts))


def _shown(display: ProgressDisplay, found: Iterator[Answer], total: int, out: TextIO) -> Iterator[Answer]:
    """Show progress, and hide it while a result is written to the same terminal."""
    if total < 2:
        yield from found
        return
    shared = display.console.is_terminal and out.isatty()
    with contextlib.nullcontext() if shared else display:
        display("classify", 0, total)
        for done in itertools.count(1):
            with display if shared else contextlib.nullcontext():
                answer = next(found, None)
            if answer is None:
                return
            display("classify", done, total)
            yield answer


def _stream_writer(options: ClassifyOptions, info: ModelInfo, model: str, out: TextIO) -> Callable[[Answer], None]:
    if not options.as_json and not options.as_csv:
        return table_writer(info, out)
    encoding: Encoding = JsonLines(info, model) if options.as_json else Csv(info, model)
    out.write(encoding.header)

    def write(answer: Answer) -> None:
        out.write(encoding.encode(answer))
        out.flush()

    return write


def _write_playlists(folder: Path, genres: Sequence[str], tally: Tally, display: ProgressDisplay) -> None:
    songs = [
        (part.path, brief.genre, brief.seconds) for part, brief in tally.briefs.items() if brief.genre and is_file(part)
    ]
    left_out = write_playlists(folder, genres, songs)
    for path, why in left_out.items():
        display.say(escape(f"{text(path)} {why}"))
    display.say(escape(f"{len(songs) - len(left_out)} songs in the playlists of {folder}"))


@contextlib.contextmanager
def _native_stderr_discarded(console: Console) -> Iterator[None]:
    """Discard what decoders and interpreter write to the process's stderr; the console is still shown."""
    sys.stderr.flush()
    with (
        error_stream(os.dup(2)) as stderr,
        Path(os.devnull).open("w") as nowhere,
    ):
        before = console.file
        if console.stderr:
            console.file = stderr
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)
            console.file = before
