"""The classifier of the Python API."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import read_samples
from tumbao.components.ingest.paths import RemotePath
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.errors import UserError
from tumbao.serving import predict
from tumbao.serving.classify.batch import answers, decoding
from tumbao.serving.classify.inputs import Song, find_audio_files
from tumbao.serving.classify.results import Classification, Rejection, Results, classification, rejection

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
MAX_CHANNELS = 64
"""More are taken for samples, in an array that is transposed."""


class Classifier:
    """A pushed model that classifies songs, without TensorFlow.

    Parameters
    ----------
    path : str or os.PathLike
        Folder of pushed models, of which the newest is used, or of one version; also in a bucket (``gs://…``), which
        needs TensorFlow.
    precision : {"int8", "dynamic", "float16"}, optional
        Precision of the network's weights. By default, the smallest one that the model has.
    threads : int, optional
        Number of threads that compute a fragment. By default, one for each CPU.

    Attributes
    ----------
    genres : tuple of str
        The genres, in the order of the model's outputs.
    info : ModelInfo
        The description of the model: its training data, metrics and thresholds, as in model.json.

    Raises
    ------
    UserError
        If there is no model at this path, or it is not complete.

    See Also
    --------
    tumbao.train : Train a model.

    Notes
    -----
    All methods may be called from several threads; the model computes one fragment at a time. Files are decoded in
    worker processes, which start with the first file, so that a file that crashes its decoder affects nothing else.
    `close`, or the end of a ``with`` block, ends them.

    Examples
    --------
    >>> import tumbao
    >>> with tumbao.Classifier("pushed") as classifier:
    ...     song = classifier.classify("song.wav")
    >>> song.genre, song.votes["salsa"], song.duration_seconds
    ('salsa', 1, 31.0)
    """

    def __init__(self, path: str | os.PathLike[str], *, precision: str = "", threads: int | None = None) -> None:
        self._model = predict.TFLiteModel(_text(path), precision, threads)
        self._pool = WorkerPool()
        self.info = self._model.info
        self.genres = self.info.genres

    def __enter__(self) -> Classifier:
        """Return the classifier itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the classifier."""
        self.close()

    def close(self) -> None:
        """End the worker processes; nothing can be classified afterwards."""
        self._pool.close()

    def classify(self, song: str | os.PathLike[str] | np.ndarray, rate: int | None = None) -> Classification:
        """Classify one song.

        Parameters
        ----------
        song : str, os.PathLike or numpy.ndarray
            A file in any format that ``tumbao classify`` reads, or samples: float [n] (mono) or [n, channels] in
            [-1, 1], as soundfile returns them. Louder fragments are scaled down.
        rate : int, optional
            Sampling rate of the samples in Hz, from 1,000 to 1,000,000. Only with samples.

        Returns
        -------
        Classification
            The answer.

        Raises
        ------
        AudioError
            If the file cannot be decoded, or the song is silent or shorter than 3 seconds.
        UserError
            If the arguments are invalid, or the classifier is closed.

        Examples
        --------
        >>> import numpy as np
        >>> import tumbao
        >>> classifier = tumbao.Classifier("pushed")
        >>> seconds = np.arange(10 * 44_100) / 44_100
        >>> classifier.classify(0.9 * np.sin(2 * np.pi * 220 * seconds), rate=44_100).nearest
        'salsa'
        """
        self._require_open()
        if isinstance(song, np.ndarray):
            samples, rate_hz = _channels(song), _rate(rate)
            prediction = self._model.answer(read_samples(samples, rate_hz, self.info.mel))
            return classification(AudioSegment(""), prediction, self.info)
        if rate is not None:
            raise UserError(f"Expected a rate with samples only: a file has its own. Received: rate={rate}")
        part = AudioSegment(_text(song))
        items = read_song(self._pool, part, self.info.mel, None)
        return classification(part, self._model.answer(items), self.info)

    def classify_many(self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Results:
        """Classify many songs.

        Parameters
        ----------
        paths : str, os.PathLike or iterable of them
            Files, folders and lists of songs, as for ``tumbao classify``. A song that is named twice is classified
            once; in folders, files that are no audio by their names are left out, and `Results.notes` counts them.

        Returns
        -------
        Results
            An iterator with a `Classification` or a `Rejection` for each song, in their order.

        Raises
        ------
        UserError
            If a path does not exist or there are no songs, or the classifier is closed.

        Examples
        --------
        >>> import tumbao
        >>> with tumbao.Classifier("pushed") as classifier:
        ...     for song in classifier.classify_many(["song.wav", "broken.mp3"]):
        ...         print(song.reason if isinstance(song, tumbao.Rejection) else song.genre)
        salsa
        unsupported
        """
        self._require_open()
        named = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not named:
            raise UserError("Expected at least one file, folder or list of songs. Received: none.")
        found = find_audio_files([_text(path) for path in named])
        return Results(self._results(found.songs), len(found.songs), found.notes)

    def _results(self, songs: Sequence[Song]) -> Iterator[Classification | Rejection]:
        self._require_open()
        with decoding(songs, self.info.mel, self._pool) as decoded:
            for answer in answers(self._model, decoded, None):
                if isinstance(answer.result, AudioError):
                    yield rejection(answer.part, answer.result)
                else:
                    yield classification(answer.part, answer.result, self.info)

    def _require_open(self) -> None:
        if not self._pool.close.alive:
            raise UserError("Expected an open classifier. Received: a closed one; make another.")


def _text(path: Any) -> str:
    if isinstance(path, RemotePath):
        return str(path)
    try:
        return os.fspath(path)
    except TypeError as error:
        raise UserError(f"Expected a path or an array of samples. Received: {type(path).__name__}") from error


def _channels(samples: np.ndarray) -> np.ndarray:
    """Return samples as [channels, n]."""
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"Expected samples in float, in [-1, 1]. Received: {samples.dtype}; divide int16 by 32768, for example."
        )
    if samples.ndim == 1:
        return samples[np.newaxis]
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS:
        raise UserError(f"Expected samples [n] or [n, channels]. Received: an array of the shape {samples.shape}")
    return samples.T


def _rate(rate: Any) -> int:
    hertz = float(rate) if isinstance(rate, numbers.Real) else 0.0
    if not hertz.is_integer() or not LOWEST_RATE_HZ <= hertz <= HIGHEST_RATE_HZ:
        raise UserError(
            f"Expected the rate of the samples in whole Hz, from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}. "
            f"Received: rate={rate!r}"
        )
    return int(hertz)
