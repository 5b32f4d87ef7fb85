"""Songs whose label a person should check, the clearest cases first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.analysis.curate.confident_learning import Judgement, judge
from tumbao.analysis.curate.duplicates import Contradiction
from tumbao.components.ingest.rendered_library import RenderedLibrary


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A song whose genre is in doubt.

    `file` is its first file. `score` is the normalised margin of its mean probabilities in 0..1; a lower score is a
    clearer case. `wrong` says that confident learning considers the label wrong; otherwise it is only doubtful.
    `probabilities` are means over the fragments, in the order of the library's genres. `rows` are its fragments in the
    library, those that contradict the label most first. `disagreeing` counts the fragments whose most probable genre is
    not the given one. `copies` are duplicates with other genres.
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
        """State of the label: ``wrong``, ``doubtful``, or ``copied`` if only a duplicate contradicts it."""
        if self.wrong:
            return "wrong"
        return "doubtful" if self.score <= 0.5 else "copied"


@dataclasses.dataclass(frozen=True, eq=False)
class Suspicion:
    """Result for all labels of a library.

    `agreeing` counts the songs whose most probable genre is the given one. `suspects` are labels that look wrong, then
    doubtful ones, then those that only a duplicate contradicts, each by score. `strays` are the fragments, by score,
    whose label looks wrong although their song is no suspect. `fragments` judges each fragment. `joint` [genres,
    genres] are estimated counts of songs by given genre (rows) and true genre (columns).
    """

    songs: int
    agreeing: int
    suspects: tuple[Suspect, ...]
    strays: tuple[int, ...]
    fragments: Judgement
    joint: np.ndarray


def suspect(library: RenderedLibrary, probabilities: np.ndarray, copies: Sequence[Contradiction] = ()) -> Suspicion:
    """Judge songs by the mean of their fragments' probabilities, and fragments by their own.

    `probabilities` [n, genres] are those of `compare.training.out_of_sample`; each fragment needs an answer.
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
