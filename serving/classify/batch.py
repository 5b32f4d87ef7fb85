"""Classification of many songs: decoder, model and tagger work concurrently."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from rich.text import Text

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment, SongSummary, decoded_part
from tumbao.components.ingest.paths import is_remote
from tumbao.components.ingest.tables import encode_text
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.hierarchy import main_genres
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.classify.inputs import Song, stamp
from tumbao.serving.classify.tags import Outcome, Tagger, Tagging
from tumbao.serving.formatting import TerminalConsole, clock, one_line
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import SongPrediction, TFLiteModel, summary

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterator over a generator's items; a thread keeps up to `buffer_size` of them ready until `close` is called.

    The thread starts at once, and runs and closes the generator. An exception is raised after the items before it.
    """

    def __init__(self, items: Generator[T, None, None], buffer_size: int) -> None:
        self._source = items
        self._items: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(buffer_size)
        self._closed = threading.Event()
        threading.Thread(target=self._fill, name="prefetch", daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._items.get()
        if isinstance(item, BaseException):
            self._items.put(item)  # for later calls
            raise item
        self._room.release()
        return item

    def close(self) -> None:
        """Stop the thread after its current item."""
        self._closed.set()
        self._room.release()

    def _fill(self) -> None:
        end: BaseException = StopIteration()
        try:
            with contextlib.closing(self._source):
                for item in self._source:
                    self._room.acquire()
                    if self._closed.is_set():
                        return
                    self._items.put(item)
        except BaseException as error:
            end = error
        finally:
            self._items.put(end)


SYNTHETIC_WARNING = "This model was trained on synthetic songs: its answers for real recordings are not reliable."
UNDECIDED_WARNING = "It is undecided whether this model is good enough: it was tested on too few songs."


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer for one song; `stamp` identifies the state of its file, `tagging` is None if no tag was wanted."""

    part: AudioSegment
    stamp: tuple[int, int] | None
    result: SongPrediction | AudioError
    tagging: Tagging | None = None


def table_writer(info: ModelInfo, out: TextIO) -> Callable[[Answer], None]:
    """Return a function that prints an answer: the song, its genre and votes, and a line with a bar per fragment."""
    console = TerminalConsole(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)
    width = max(map(len, info.genres))
    if info.training_data.synthetic:
        console.print(Text(SYNTHETIC_WARNING, style="yellow"))
    if info.decision == "undecided":
        console.print(Text(UNDECIDED_WARNING, style="yellow"))

    def write(answer: Answer) -> None:
        part, result = answer.part, answer.result
        begin = f" from {clock(part.start_seconds)}" if part.start_seconds or part.end_seconds is not None else ""
        end = f" to {clock(part.end_seconds)}" if part.end_seconds is not None else ""
        console.print(Text(f"{text(part.path)}{begin}{end}", style="bold"))
        if isinstance(result, AudioError):
            console.print(Text(one_line(f"  rejected: it {result.message}"), style="red"))
            return
        song = result.answer
        ranked = sorted(range(len(info.genres)), key=lambda g: (song.votes[g], song.probabilities[g]), reverse=True)
        votes = ", ".join(f"{info.genres[g]} {song.votes[g]}" for g in ranked if song.votes[g])
        nearest, probability = info.genres[song.genre], f"{song.probabilities[song.genre]:.2f}"
        values = summary(result, info)
        if "main_genre" in values:
            probability += f", {values['main_genre']} {values['main_probability']:.2f}"
        headline = (
            Text.assemble((f"{nearest:<{width}}", "bold green"), f" {probability}")
            if song.confident
            else Text.assemble(("none of these with confidence", "bold yellow"), f" (nearest: {nearest} {probability})")
        )
        console.print(Text.assemble("  ", headline, f"  votes: {votes}"))
        for note in _notes(result, answer.tagging, info):
            console.print(Text(one_line(f"  {note}"), style="yellow"))
        for fragment in result.fragments:
            span = _span(fragment.start_seconds, fragment.end_seconds)
            share = fragment.probabilities[fragment.genre]
            line = f"    {span:<13}{info.genres[fragment.genre]:<{width}} {share:.2f} "
            console.print(Text.assemble(line, ("█" * round(share * 20), "cyan")))

    return write


def _notes(result: SongPrediction, tagging: Tagging | None, info: ModelInfo) -> Iterator[str]:
    if result.truncated:
        yield f"the file is truncated: decoded {decoded_part(result.duration_seconds, result.declared_seconds)}"
    if result.audio_tracks > 1:
        yield f"decoded audio track {result.audio_track} of {result.audio_tracks}, the default one of players"
    if result.padded:
        yield f"shorter than {info.mel.fragment_seconds:.0f} s: repeated until then"
    if result.silent:
        fragments = "fragment was" if result.silent == 1 else "fragments were"
        yield f"{result.silent} silent {fragments} ignored"
    if outside := sum(not fragment.in_distribution for fragment in result.fragments):
        fragments = f"{outside} of {len(result.fragments)} fragments"
        yield f"{fragments} are out of distribution: unlike the songs that the model was trained on"
    if len(result.sections) > 1:
        parts = (f"{_span(part.start_seconds, part.end_seconds)} {info.genres[part.genre]}" for part in result.sections)
        yield f"changes its genre: {', '.join(parts)}"
    if tagging and tagging.outcome is Outcome.WRITTEN:
        yield "the genre was written to its tags"
    elif tagging and tagging.sentence:
        yield f"the file {tagging.sentence}"


def text(path: str | Path) -> str:
    """Convert a path of any bytes to text on a single terminal line."""
    return one_line(encode_text(str(path)))


def _span(start_seconds: float, end_seconds: float) -> str:
    return f"{clock(start_seconds)}–{clock(end_seconds)}"


R = TypeVar("R")

_TAGGED_AT_ONCE = 2
_MAX_WORKERS = 3  # more decode faster than the model classifies
_FRAGMENTS_AHEAD = 8  # of each song: 21 MB


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A song that is being decoded, and the state of its file before; `items` are as `fragments.read` yields them."""

    song: Song
    stamp: tuple[int, int] | None
    items: Prefetch[Fragment | SongSummary]


@contextlib.contextmanager
def decoding(songs: Sequence[Song], spec: MelSpec, pool: WorkerPool | None = None) -> Iterator[Iterator[Decoded]]:
    """Decode songs in worker processes, a few ahead, so that a hostile file affects only its own answer.

    A pool that is given stays open.
    """
    workers = min(cpu_count(), _MAX_WORKERS)
    begun: collections.deque[Decoded] = collections.deque()

    def read(song: Song) -> Generator[Fragment | SongSummary, None, None]:
        if not song.fault:
            yield from read_song(open_pool, song.part, spec, None)

    def begin(song: Song) -> None:
        begun.append(Decoded(song, stamp(song.part), Prefetch(read(song), _FRAGMENTS_AHEAD)))

    def in_order() -> Iterator[Decoded]:
        left = iter(songs[workers:])
        while begun:
            yield begun[0]
            begun.popleft().items.close()
            if song := next(left, None):
                begin(song)

    with contextlib.nullcontext(pool) if pool else WorkerPool() as open_pool:
        for song in songs[:workers]:
            begin(song)
        try:
            yield in_order()
        finally:
            for decoded in begun:
                decoded.items.close()


def answers(classifier: TFLiteModel, songs: Iterator[Decoded], tagger: Tagger | None) -> Iterator[Answer]:
    """Classify songs in their order, and tag those with a confident answer if there is a tagger."""
    genres = main_genres(classifier.info.genres)

    def classify() -> Iterator[Answer]:
        for decoded in songs:
            result: SongPrediction | AudioError
            try:
                result = decoded.song.fault or classifier.answer(decoded.items)
            except AudioError as error:
                result = error
            yield Answer(decoded.song.part, decoded.stamp, result)

    def tagged(answer: Answer) -> Answer:
        song = answer.result
        if not tagger or isinstance(song, AudioError) or not song.answer.confident:
            return answer
        tagging = write_tag(tagger, answer.part, genres[song.answer.genre])
        new_stamp = stamp(answer.part) if tagging.outcome is Outcome.WRITTEN else answer.stamp
        return dataclasses.replace(answer, stamp=new_stamp, tagging=tagging)

    if tagger is None:
        yield from classify()
    else:
        yield from (answer for _, answer in in_threads(tagged, classify()))


def write_tag(tagger: Tagger, part: AudioSegment, genre: str) -> Tagging:
    """Write a genre into the tags of a song that is a whole local file."""
    if not is_file(part):
        return Tagging(Outcome.IMPOSSIBLE, "cannot be tagged: the song is only a part of it, or it is in a bucket")
    return tagger.write(part.path, genre)


def is_file(part: AudioSegment) -> bool:
    """Check whether a song is a whole file on this machine, not a part of one or an object in a bucket."""
    return not part.start_seconds and part.end_seconds is None and not is_remote(part.path)


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Apply a function to items in a few threads while further ones are produced; yield item and result in order."""
    waiting: collections.deque[tuple[T, Future[R]]] = collections.deque()
    pool = ThreadPoolExecutor(_TAGGED_AT_ONCE)

    def finished(ahead: int) -> Iterator[tuple[T, R]]:
        while waiting and (waiting[0][1].done() or len(waiting) > ahead):
            item, result = waiting.popleft()
            yield item, result.result()

    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            yield from finished(2 * _TAGGED_AT_ONCE)
        yield from finished(0)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
