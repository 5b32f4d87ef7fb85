"""Songs one after the other through decoder, model and tagger, which work at the same time."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment, SongSummary
from tumbao.components.ingest.paths import is_remote
from tumbao.components.ingest.prefetch import Prefetch
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.hierarchy import main_genres
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.classify.answers import Answer
from tumbao.serving.classify.inputs import Song, stamp
from tumbao.serving.classify.tags import Outcome, Tagger, Tagging
from tumbao.serving.predict import Classifier, SongPrediction

T = TypeVar("T")
R = TypeVar("R")

_TAGGED_AT_ONCE = 2
_MAX_WORKERS = 3  # more decode faster than the model answers
_FRAGMENTS_AHEAD = 8  # of each song: 21 MB


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A song that is being decoded.

    Parameters
    ----------
    song : Song
        Which.
    stamp : tuple of int or None
        What its file was before, see `audio_files.stamp`.
    items : iterable of Fragment and SongSummary
        Its sound, as `fragments.read` gives it.
    """

    song: Song
    stamp: tuple[int, int] | None
    items: Iterable[Fragment | SongSummary]


@contextlib.contextmanager
def decoding(songs: Sequence[Song], spec: MelSpec) -> Iterator[Iterator[Decoded]]:
    """Decode songs in worker processes, a few ahead: a hostile file costs its own answer and no other.

    Parameters
    ----------
    songs : sequence of Song
        Which.
    spec : MelSpec
        Gives the rate and the fragments' length.

    Yields
    ------
    decoded : iterator of Decoded
        In their order. The first are begun with before one asks for them; at the end of the context all threads and
        processes end.
    """
    workers = min(cpu_count(), _MAX_WORKERS)
    begun: collections.deque[tuple[Decoded, Prefetch[Fragment | SongSummary] | None]] = collections.deque()

    def begin(song: Song) -> None:
        items = None if song.fault else Prefetch(read_song(pool, song.part, spec, None), _FRAGMENTS_AHEAD)
        begun.append((Decoded(song, stamp(song.part), items or ()), items))

    def in_order() -> Iterator[Decoded]:
        left = iter(songs[workers:])
        while begun:
            yield begun[0][0]
            items = begun.popleft()[1]
            if items is not None:
                items.close()
            if song := next(left, None):
                begin(song)

    with WorkerPool() as pool:
        for song in songs[:workers]:
            begin(song)
        try:
            yield in_order()
        finally:
            for _, items in begun:
                if items is not None:
                    items.close()


def answers(classifier: Classifier, songs: Iterator[Decoded], tagger: Tagger | None) -> Iterator[Answer]:
    """Classify songs, and tag those of which the model is confident.

    The model runs in one interpreter with all threads: several with one thread each were slower beside the decoders.

    Parameters
    ----------
    classifier : Classifier
        The model.
    songs : iterator of Decoded
        From `decoding`; the answer for a faulty one is its fault.
    tagger : Tagger or None
        Writes the tags, unless none are to be written.

    Yields
    ------
    answer : Answer
        In the order of the songs.
    """
    classified = _classified(classifier, songs)
    if tagger is None:
        yield from classified
        return
    genres = main_genres(classifier.info.genres)

    def tag(answer: Answer) -> Tagging | None:
        song = answer.said
        if isinstance(song, AudioError) or not song.answer.confident:
            return None
        return write_tag(tagger, answer.part, genres[song.answer.genre])

    for answer, tagging in in_threads(tag, classified):
        seen = stamp(answer.part) if tagging and tagging.outcome is Outcome.WRITTEN else answer.stamp
        yield dataclasses.replace(answer, stamp=seen, tagging=tagging)


def write_tag(tagger: Tagger, part: AudioSegment, genre: str) -> Tagging:
    """Write a genre into the tags of a song's file, if the file is the song.

    Parameters
    ----------
    tagger : Tagger
        Writes it.
    part : AudioSegment
        The song.
    genre : str
        As the model calls it; of a sub-genre, its genre.

    Returns
    -------
    tagging : Tagging
        What was done.
    """
    if not is_file(part):
        return Tagging(Outcome.IMPOSSIBLE, "cannot be tagged: the song is a part of it, or it lies in a bucket")
    return tagger.write(part.path, genre)


def is_file(part: AudioSegment) -> bool:
    """Tell whether a song is a whole file of this machine.

    Parameters
    ----------
    part : AudioSegment
        The song.

    Returns
    -------
    whole : bool
        False for a part of a file, and for what lies in a bucket.
    """
    return not part.start_seconds and part.end_seconds is None and not is_remote(part.path)


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Work on a few at a time, while the next are being made.

    Parameters
    ----------
    work : callable
        What is to be done with each.
    items : iterable
        What it is to be done with.

    Yields
    ------
    item : object
        In their order.
    result : object
        What came of it.
    """
    waiting: collections.deque[tuple[T, Future[R]]] = collections.deque()
    pool = ThreadPoolExecutor(_TAGGED_AT_ONCE)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            while waiting and (waiting[0][1].done() or len(waiting) > 2 * _TAGGED_AT_ONCE):
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _classified(classifier: Classifier, songs: Iterator[Decoded]) -> Iterator[Answer]:
    for decoded in songs:
        part = decoded.song.part
        said: SongPrediction | AudioError
        try:
            said = decoded.song.fault or classifier.answer(part.path, decoded.items)
        except AudioError as error:
            said = error
        yield Answer(part, decoded.stamp, said)
