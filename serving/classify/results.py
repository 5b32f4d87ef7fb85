"""Results of the Python API."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import SongPrediction, song_values

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped] # optional


@dataclasses.dataclass(frozen=True)
class ClassifiedSection:
    """A part of a song with one genre; the next section has another one.

    Attributes
    ----------
    start_seconds, end_seconds : float
        Position in the song, in seconds.
    genre : str
        The genre of the section.
    probability : float
        Mean probability of the genre over the section's fragments, in [0, 1].
    fragments : int
        Number of fragments, at least 1.
    """

    start_seconds: float
    end_seconds: float
    genre: str
    probability: float
    fragments: int


@dataclasses.dataclass(frozen=True)
class ClassifiedFragment:
    """A fragment of a song, by default of 30 seconds.

    Attributes
    ----------
    start_seconds, end_seconds : float
        Position in the song, in seconds, without padding.
    genre : str
        The most probable genre.
    familiar : bool
        Whether the fragment is in distribution: like those of the training songs.
    probabilities : Mapping of str to float
        Calibrated probability of each genre, in [0, 1]; they sum to 1.
    """

    start_seconds: float
    end_seconds: float
    genre: str
    familiar: bool
    probabilities: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Classification:
    """The answer for one song.

    Attributes
    ----------
    path : str
        The file, or an empty text for samples in memory.
    part_start_seconds, part_end_seconds : float, float or None
        The part of the file, in seconds, if a list of songs names one; otherwise 0 and None.
    genre : str or None
        The genre of the song, or None if the model is not confident: none of these with confidence.
    nearest : str
        The most probable genre, even if the model is not confident.
    probability : float
        Probability of `nearest`, in [0, 1].
    probabilities : Mapping of str to float
        Probability of each genre, in [0, 1]: the mean over the fragments.
    votes : Mapping of str to int
        Number of fragments of which each genre is the most probable one.
    sections : tuple of ClassifiedSection
        The parts of a medley; a single one for other songs.
    fragments : tuple of ClassifiedFragment
        The fragments in temporal order, without the silent ones.
    duration_seconds : float
        Length of the decoded audio, in seconds.
    truncated : bool
        Whether the file is cut off.
    """

    path: str
    part_start_seconds: float
    part_end_seconds: float | None
    genre: str | None
    nearest: str
    probability: float
    probabilities: Mapping[str, float]
    votes: Mapping[str, int]
    sections: tuple[ClassifiedSection, ...]
    fragments: tuple[ClassifiedFragment, ...]
    duration_seconds: float
    truncated: bool
    _values: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all values under the names of ``tumbao classify --json``.

        Returns
        -------
        dict
            Values that `json.dumps` accepts; docs/classify.md describes them.
        """
        return dict(self._values)

    def to_pandas(self) -> pd.DataFrame:
        """Return the fragments as a table, which needs pandas.

        Returns
        -------
        pandas.DataFrame
            A row for each fragment: its attributes, and a column ``p_<genre>`` for the probability of each genre.
        """
        rows = [dataclasses.asdict(fragment) for fragment in self.fragments]
        return _pandas().DataFrame([row | _columns(row.pop("probabilities")) for row in rows])


@dataclasses.dataclass(frozen=True)
class Rejection:
    """A song that cannot be classified.

    Attributes
    ----------
    path : str
        The file.
    part_start_seconds, part_end_seconds : float, float or None
        The part of the file, as in `Classification`.
    reason : str
        The kind of error, for counts: ``damaged``, ``silent``, ``too short`` and others.
    message : str
        What is wrong, as the continuation of the file's name.
    """

    path: str
    part_start_seconds: float
    part_end_seconds: float | None
    reason: str
    message: str
    _values: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all values under the names of ``tumbao classify --json``.

        Returns
        -------
        dict
            Values that `json.dumps` accepts, with ``reason`` and ``message`` below ``error``.
        """
        return dict(self._values)


class Results(Iterator[Classification | Rejection]):
    """The results of `Classifier.classify_many`: an iterator, in the order of the songs.

    Songs are decoded a few ahead of the one that is asked for. One thread at a time may iterate.

    Parameters
    ----------
    results : iterator
        The results.
    count : int
        Number of songs.
    notes : tuple of str
        Messages about the search for songs, such as the number of files that are left out; also an attribute.

    See Also
    --------
    tumbao.Classifier.classify_many : Makes the results.
    """

    def __init__(self, results: Iterator[Classification | Rejection], count: int, notes: tuple[str, ...]) -> None:
        self._results, self._count, self.notes = results, count, notes

    def __len__(self) -> int:
        """Return the number of songs, whether their results have been taken or not."""
        return self._count

    def __next__(self) -> Classification | Rejection:
        """Return the result of the next song."""
        return next(self._results)

    def to_pandas(self) -> pd.DataFrame:
        """Return the remaining results as a table, which needs pandas.

        Returns
        -------
        pandas.DataFrame
            A row for each song, also for a rejected one, whose ``reason`` and ``message`` are set: the values of
            `Classification`, with a column ``p_<genre>`` for the probability of each genre.
        """
        pandas = _pandas()
        rows = []
        for result in self:
            row = result.to_dict()
            row |= row.pop("error", {}) | _columns(row.pop("probabilities", {}))
            rows.append({name: value for name, value in row.items() if not isinstance(value, list | dict)})
        return pandas.DataFrame(rows)


def classification(part: AudioSegment, song: SongPrediction, info: ModelInfo) -> Classification:
    """Make the public result of a song's prediction."""
    values = _part(part) | song_values(song, info)
    named = {"sections": ClassifiedSection, "fragments": ClassifiedFragment}
    fields = [field.name for field in dataclasses.fields(Classification) if field.name in values]
    typed = {name: tuple(_made(kind, one) for one in values[name]) for name, kind in named.items()}
    return Classification(**{name: values[name] for name in fields} | typed, _values=values)


def rejection(part: AudioSegment, error: AudioError) -> Rejection:
    """Make the public result of a song that cannot be read."""
    about = {"reason": error.reason.value, "message": error.message}
    where = _part(part)
    return Rejection(**where, reason=about["reason"], message=about["message"], _values=where | {"error": about})


def _part(part: AudioSegment) -> dict[str, Any]:
    return {
        "path": part.path,
        "part_start_seconds": part.start_seconds,
        "part_end_seconds": part.end_seconds,
    }


def _made(kind: type, values: Mapping[str, Any]) -> Any:
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})


def _columns(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {f"p_{genre}": value for genre, value in probabilities.items()}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas") from error
    return pandas
