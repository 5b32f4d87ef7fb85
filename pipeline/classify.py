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
from tumbao.serving.classify.formats import Brief, Csv, Encoding, JsonLines, ResultsFile, open_results, tag_values
from tumbao.serving.classify.inputs import Song, find_audio_files, stamp
from tumbao.serving.classify.playlists import write_playlists
from tumbao.serving.classify.tags import Outcome, Tagger, Tagging
from tumbao.serving.model_info import ModelInfo, identity
from tumbao.serving.predict import TFLiteModel, find_assets

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

_ENCODINGS: dict[str, Callable[[ModelInfo, str], Encoding]] = {".jsonl": JsonLines, ".csv": Csv}


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
        if self.out is not None and not self.out.absolute().parent.is_dir():
            raise UserError(f"Expected --out in a folder that exists. Received: {self.out}; make its folder first")
        if self.overwrite_genre and not self.write_tags:
            raise UserError("Expected --overwrite-genre beside --write-tags. Received: the one without the other")


def run_classify(options: ClassifyOptions, console: Console, out: TextIO) -> int:
    """Classify songs, write each result as soon as it is known, and return the exit code."""
    audio = find_audio_files(options.songs)
    display = ProgressDisplay(console)
    with _native_stderr_discarded(console):
        run = _Run(options, display, out)
        began = time.monotonic()
        try:
            run.classify(audio.songs)
            seconds = time.monotonic() - began
            if options.playlists is not None:
                run.write_playlists(options.playlists)
        except KeyboardInterrupt:
            done = f"{len(run.briefs)} of {len(audio.songs)}"
            where = f"are in {options.out}; the same command goes on" if options.out else "were classified"
            display.say(escape(f"Interrupted: {done} {where}."))
            return INTERRUPTED
        except OSError as error:
            error.filename = error.filename or (str(options.out) if options.out else None)
            display.say(f"[bold red]error:[/bold red] {escape(describe(error))}")
            return 1
    for line in run.summary(audio.notes, seconds):
        display.say(escape(line))
    undone = (Outcome.FAILED, Outcome.IMPOSSIBLE)
    return int(any(brief.reason or brief.tag in undone for brief in run.briefs.values()))


class _Run:
    """A run of the command; `briefs` has the result of each song so far, also of those from an earlier run."""

    def __init__(self, options: ClassifyOptions, display: ProgressDisplay, out: TextIO) -> None:
        assets = find_assets(options.model)
        self.briefs: dict[AudioSegment, Brief] = {}
        self._options, self._display, self._out = options, display, out
        self._info, self._model = ModelInfo.read(assets), identity(assets)
        self._seconds = 0.0  # of sound that was classified in this run

    def classify(self, songs: Sequence[Song]) -> None:
        options, info = self._options, self._info
        with contextlib.ExitStack() as stack:
            tagger = stack.enter_context(Tagger(options.overwrite_genre)) if options.write_tags else None
            if options.out is not None:
                encoding = _ENCODINGS[options.out.suffix.lower()](info, self._model)
                results = stack.enter_context(open_results(options.out, encoding, self._model))
                songs = self._left_to_do(results, songs)
                if tagger:
                    self._tag_earlier_results(results, tagger)
                if not songs:
                    return
            decoded = stack.enter_context(decoding(songs, info.mel))  # decodes while the model is loaded
            classifier = TFLiteModel(options.model)
            write = self._stream_writer() if options.out is None else results.append
            for answer in _shown(self._display, answers(classifier, decoded, tagger), len(songs), self._out):
                write(answer)
                self.briefs[answer.part] = self._brief(answer)

    def _brief(self, answer: Answer) -> Brief:
        result, tag = answer.result, answer.tagging.outcome.value if answer.tagging else ""
        if isinstance(result, AudioError):
            return Brief("", 0.0, result.reason.value, tag)
        self._seconds += result.duration_seconds
        genre = self._info.genres[result.answer.genre] if result.answer.confident else ""
        return Brief(genre, result.duration_seconds, "", tag)

    def _left_to_do(self, results: ResultsFile, songs: Sequence[Song]) -> list[Song]:
        """Return the songs without a result in the file, and take the results of the others from it."""
        found = {song.part: results.find(song.part) for song in songs}
        self.briefs = {part: brief for part, brief in found.items() if brief}
        if self.briefs:
            self._display.say(escape(f"{len(self.briefs)} of {len(songs)} are in {self._options.out} already"))
        return [song for song in songs if song.part not in self.briefs]

    def _tag_earlier_results(self, results: ResultsFile, tagger: Tagger) -> None:
        """Write the tags of songs that were classified in an earlier run, without decoding them again."""
        again = ("", Outcome.FAILED, *((Outcome.KEPT,) if self._options.overwrite_genre else ()))
        parts = [part for part, brief in self.briefs.items() if brief.genre and brief.tag in again]
        shown = dict(zip(self._info.genres, main_genres(self._info.genres), strict=True))

        def tag(part: AudioSegment) -> Tagging:
            return write_tag(tagger, part, shown[self.briefs[part].genre])

        with self._display:
            for done, (part, tagging) in enumerate(in_threads(tag, parts), start=1):
                results.amend(part, tag_values(stamp(part), tagging))
                self.briefs[part] = dataclasses.replace(self.briefs[part], tag=tagging.outcome.value)
                self._display("tag", done, len(parts))

    def _stream_writer(self) -> Callable[[Answer], None]:
        out, as_json = self._out, self._options.as_json
        if not as_json and not self._options.as_csv:
            return table_writer(self._info, out)
        encoding = _ENCODINGS[".jsonl" if as_json else ".csv"](self._info, self._model)
        out.write(encoding.header)

        def write(answer: Answer) -> None:
            out.write(encoding.encode(answer))
            out.flush()

        return write

    def write_playlists(self, folder: Path) -> None:
        briefs = self.briefs.items()
        songs = [(part.path, brief.genre, brief.seconds) for part, brief in briefs if brief.genre and is_file(part)]
        left_out = write_playlists(folder, self._info.genres, songs)
        for path, why in left_out.items():
            self._display.say(escape(f"{text(path)} {why}"))
        self._display.say(escape(f"{len(songs) - len(left_out)} songs in the playlists of {folder}"))

    def summary(self, notes: Sequence[str], seconds: float) -> Iterator[str]:
        """Count the results; classified and rejected songs add up to those found."""
        found, briefs = len(self.briefs), self.briefs.values()
        reasons = collections.Counter(brief.reason for brief in briefs if brief.reason)
        rejected = reasons.total()
        yield f"found {found} = classified {found - rejected} + rejected {rejected}"
        yield from notes
        if found > 1:
            genres = collections.Counter(brief.genre for brief in briefs if not brief.reason)
            counts = [f"{genre} {genres[genre]}" for genre in self._info.genres]
            yield f"genres: {', '.join(counts)}, none of these with confidence {genres['']}"
            tags = collections.Counter(brief.tag for brief in briefs if brief.tag)
            for what, counter in (("rejected", reasons), ("tags", tags)):
                if counter:
                    yield f"{what}: {', '.join(f'{name} {count}' for name, count in counter.most_common())}"
            if self._seconds:
                ratio = self._seconds / seconds
                yield f"{self._seconds / 3600:.1f} h of sound in {seconds / 60:.1f} min: {ratio:.0f} × real time"


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
