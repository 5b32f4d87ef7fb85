"""Which songs a person should listen to again, the clearest cases first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.analysis.curate.confident_learning import Judgement, judge
from tumbao.analysis.curate.duplicates import Contradiction
from tumbao.components.ingest.rendered_library import Library


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A song whose genre is in doubt.

    Parameters
    ----------
    song : str
        Its identifier.
    file : str
        Its file, the first if there are several.
    given : str
        Its genre in the library.
    suggested : str
        The genre that it seems to have.
    score : float
        Normalised margin of the song's mean probabilities in 0..1: the lower, the clearer.
    wrong : bool
        Whether confident learning takes the label for wrong; otherwise it is only doubtful.
    probabilities : tuple of float
        Mean over the fragments, in the order of the library's genres.
    rows : tuple of int
        Its fragments in the library, those first that contradict the label most.
    disagreeing : int
        Fragments whose own most probable genre is not the given one.
    copies : tuple of Contradiction
        The same recording under other genres.
    """

    song: str
    file: str
    given: str
    suggested: str
    score: float
    wrong: bool
    probabilities: tuple[float, ...]
    rows: tuple[int, ...]
    disagreeing: int
    copies: tuple[Contradiction, ...] = ()

    @property
    def looks(self) -> str:
        """How its label looks: `wrong`, `doubtful`, or `copied` where nothing but a copy contradicts it."""
        if self.wrong:
            return "wrong"
        return "doubtful" if self.score <= 0.5 else "copied"


@dataclasses.dataclass(frozen=True, eq=False)
class Suspicion:
    """What is thought of all labels.

    Parameters
    ----------
    songs : int
        Songs in all.
    agreeing : int
        Songs whose most probable genre is the given one.
    suspects : tuple of Suspect
        Labels that look wrong, then doubtful ones, then those that only a copy contradicts; each by score.
    strays : tuple of int
        Fragments whose label looks wrong while their song's does not, by score.
    fragments : Judgement
        Of every fragment's label.
    joint : np.ndarray [shape=(genres, genres), dtype=int64]
        Estimated count of songs by given (row) and true genre (column).
    """

    songs: int
    agreeing: int
    suspects: tuple[Suspect, ...]
    strays: tuple[int, ...]
    fragments: Judgement
    joint: np.ndarray


def suspect(library: Library, probabilities: np.ndarray, copies: Sequence[Contradiction] = ()) -> Suspicion:
    """Judge songs by the mean of their fragments' probabilities, and fragments by their own.

    Parameters
    ----------
    library : Library
        The fragments.
    probabilities : np.ndarray [shape=(n, genres), dtype=float]
        Of `learning.out_of_sample`.
    copies : sequence of Contradiction
        Of `copies.contradictions`.

    Returns
    -------
    suspicion : Suspicion
        What was found.

    Raises
    ------
    ValueError
        If a fragment has no answer.
    """
    names, firsts, number = np.unique(np.array(library.songs, object), return_index=True, return_inverse=True)
    counts = np.bincount(number)
    means = np.stack([np.bincount(number, column) for column in probabilities.T], axis=1) / counts[:, None]
    labels = library.labels[firsts]
    fragments, songs = judge(library.labels, probabilities), judge(labels, means)
    contradicted = {name: tuple(one for one in copies if one.kept == name) for name in {one.kept for one in copies}}
    listed = [
        index for index, name in enumerate(names) if songs.likeliest[index] != labels[index] or name in contradicted
    ]
    found = []
    for index in listed:
        rows = np.flatnonzero(number == index)
        rows = rows[np.argsort(fragments.scores[rows], kind="stable")]
        its_copies = contradicted.get(names[index], ())
        doubted = songs.likeliest[index] != labels[index]
        found.append(
            Suspect(
                song=names[index],
                file=library.files[rows.min()],
                given=library.genres[labels[index]],
                suggested=library.genres[songs.likeliest[index]] if doubted else its_copies[0].copy_genre,
                score=float(songs.scores[index]),
                wrong=bool(songs.wrong[index]),
                probabilities=tuple(means[index].tolist()),
                rows=tuple(rows.tolist()),
                disagreeing=int((fragments.likeliest[rows] != labels[index]).sum()),
                copies=its_copies,
            )
        )
    found.sort(key=lambda one: (not one.wrong, one.score, one.song))
    elsewhere = fragments.wrong & ~np.isin(number, listed)
    strays = np.flatnonzero(elsewhere)
    return Suspicion(
        songs=len(names),
        agreeing=int((songs.likeliest == labels).sum()),
        suspects=tuple(found),
        strays=tuple(strays[np.argsort(fragments.scores[strays], kind="stable")].tolist()),
        fragments=fragments,
        joint=songs.joint,
    )
