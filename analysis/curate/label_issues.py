"""Label issues: songs and fragments whose label a person should check, the clearest cases first.

Labels are checked by confident learning (Northcutt, Jiang & Chuang 2021, in their library cleanlab), by duplicates with
another genre, and by the distance of a fragment from the other songs of its genre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tumbao.components.ingest.library import Rejected
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.rendered_library import RenderedLibrary

NEIGHBOURS = 5  # number of nearest fragments whose distance is averaged

OUTLIER_LIMIT = 3.5
"""Robust standard deviations above the median from which a fragment is an outlier (Iglewicz & Hoaglin 1993)."""

_BLOCK = 1_024


class LabelQuality(NamedTuple):
    """Result of confident learning for n labels."""

    wrong: np.ndarray  # [n]: which labels look wrong
    scores: np.ndarray  # [n]: normalised margins in 0–1; below 0.5 another label is more probable
    predicted: np.ndarray  # [n]: most probable labels
    joint: np.ndarray  # [genres, genres]: estimated counts by given genre (rows) and true genre (columns)


@dataclasses.dataclass(frozen=True)
class GenreConflict:
    """A song, and a duplicate of it with another genre, which ingest rejects; `path` is the duplicate's file."""

    song: str
    genre: str
    duplicate: str
    duplicate_genre: str
    path: str


@dataclasses.dataclass(frozen=True)
class SongIssue:
    """A song whose genre is in doubt."""

    song: str
    file: str
    given: str
    suggested: str
    score: float  # normalised margin of its mean probabilities
    wrong: bool  # by confident learning
    probabilities: tuple[float, ...]
    rows: tuple[int, ...]  # fragments in the library, those that contradict the label most first
    disagreeing: int  # fragments whose most probable genre is not the given one
    conflicts: tuple[GenreConflict, ...] = ()

    @property
    def status(self) -> str:
        """State of the label: ``wrong``, ``doubtful``, or ``copied`` if only a duplicate contradicts it."""
        if self.wrong:
            return "wrong"
        return "doubtful" if self.score <= 0.5 else "copied"


@dataclasses.dataclass(frozen=True, eq=False)
class LabelIssues:
    """Label issues of a library, by score."""

    song_count: int
    agreeing: int  # songs whose most probable genre is the given one
    songs: tuple[SongIssue, ...]  # labels that look wrong, doubtful ones, and those that only a duplicate contradicts
    fragments: tuple[int, ...]  # rows whose label looks wrong although their song is not among `songs`
    quality: LabelQuality  # of all fragments
    joint: np.ndarray  # of songs


def confident_learning(labels: np.ndarray, probabilities: np.ndarray) -> LabelQuality:
    """Estimate which labels [n] are wrong from out-of-sample probabilities [n, genres].

    A label is contradicted if another genre is at least as probable as it is on average for its own songs, so the model
    may be unsure, or surer of one genre than of another.
    """
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    joint = compute_confident_joint(labels, probabilities)
    return LabelQuality(
        wrong=find_label_issues(labels, probabilities, confident_joint=joint, n_jobs=1),
        scores=get_label_quality_scores(labels, probabilities, method="normalized_margin"),
        predicted=probabilities.argmax(axis=1),
        joint=joint,
    )


def genre_conflicts(entries: Sequence[Entry], rejected: Sequence[Rejected]) -> tuple[GenreConflict, ...]:
    """Return the duplicates whose genre is not that of the song that is used, in the order of `rejected`."""
    genres = {entry.song: entry.genre for entry in entries}
    original_of = {one.song: one.duplicate_of for one in rejected if one.duplicate_of}
    found = []
    for one in rejected:
        if one.song not in original_of:
            continue
        song, visited = original_of[one.song], {one.song}
        while original_of.get(song, one.song) not in visited:  # a duplicate of another
            visited.add(song)
            song = original_of[song]
        duplicate_genre = entries[one.entry].genre
        if duplicate_genre != genres[song]:
            found.append(GenreConflict(song, genres[song], one.song, duplicate_genre, one.path))
    return tuple(found)


def label_issues(
    library: RenderedLibrary, probabilities: np.ndarray, conflicts: Sequence[GenreConflict] = ()
) -> LabelIssues:
    """Check songs by the mean of their fragments' out-of-fold probabilities [n, genres], and fragments by their own."""
    names, firsts, number = np.unique(np.array(library.songs, object), return_index=True, return_inverse=True)
    counts = np.bincount(number)
    means = np.stack([np.bincount(number, column) for column in probabilities.T], axis=1) / counts[:, None]
    labels = library.labels[firsts]
    of_fragments, of_songs = confident_learning(library.labels, probabilities), confident_learning(labels, means)
    by_song = {name: tuple(one for one in conflicts if one.song == name) for name in {one.song for one in conflicts}}
    contradicted = of_songs.predicted != labels
    listed = [index for index, name in enumerate(names) if contradicted[index] or name in by_song]
    found = []
    for index in listed:
        rows = np.flatnonzero(number == index)
        rows = rows[np.argsort(of_fragments.scores[rows], kind="stable")]
        own = by_song.get(names[index], ())
        found.append(
            SongIssue(
                song=names[index],
                file=library.files[rows.min()],
                given=library.genres[labels[index]],
                suggested=library.genres[of_songs.predicted[index]] if contradicted[index] else own[0].duplicate_genre,
                score=float(of_songs.scores[index]),
                wrong=bool(of_songs.wrong[index]),
                probabilities=tuple(means[index].tolist()),
                rows=tuple(rows.tolist()),
                disagreeing=int((of_fragments.predicted[rows] != labels[index]).sum()),
                conflicts=own,
            )
        )
    found.sort(key=lambda one: (not one.wrong, one.score, one.song))
    elsewhere = np.flatnonzero(of_fragments.wrong & ~np.isin(number, listed))
    return LabelIssues(
        song_count=len(names),
        agreeing=int((~contradicted).sum()),
        songs=tuple(found),
        fragments=tuple(elsewhere[np.argsort(of_fragments.scores[elsewhere], kind="stable")].tolist()),
        quality=of_fragments,
        joint=of_songs.joint,
    )


def pooled_features(features: np.ndarray) -> np.ndarray:
    """Average features [n, ..., channels] to standardised vectors, float32 [n, channels].

    The features are read in blocks, so they may be memory-mapped.
    """
    from sklearn.preprocessing import StandardScaler

    between = tuple(range(1, features.ndim - 1))
    blocks = (features[begin : begin + _BLOCK].astype(np.float32) for begin in range(0, len(features), _BLOCK))
    return StandardScaler().fit_transform(np.concatenate([block.mean(axis=between) for block in blocks]))


def outlier_scores(vectors: np.ndarray, labels: np.ndarray, songs: np.ndarray) -> np.ndarray:
    """Return the outlier score of each fragment, float64 [n].

    It is the mean distance to the nearest fragments of other songs of the same genre, in robust standard deviations
    above the genre's median; 0 if the genre has no other song.
    """
    from scipy.stats import median_abs_deviation
    from sklearn.metrics import pairwise_distances_chunked

    scores = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own_songs = songs[rows]
        if (own_songs == own_songs[0]).all():
            continue

        def mean_nearest(distances: np.ndarray, start: int, own_songs: np.ndarray = own_songs) -> np.ndarray:
            same = own_songs[start : start + len(distances), None] == own_songs
            return np.nanmean(np.sort(np.where(same, np.nan, distances), axis=1)[:, :NEIGHBOURS], axis=1)

        distances = np.concatenate([*pairwise_distances_chunked(vectors[rows], reduce_func=mean_nearest)])
        spread = median_abs_deviation(distances, scale="normal")
        scores[rows] = (distances - np.median(distances)) / spread if spread else 0.0
    return scores
