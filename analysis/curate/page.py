"""The curation page, with tables beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.analysis.curate.duplicates import Contradiction
from tumbao.analysis.curate.label_issues import Suspicion
from tumbao.analysis.curate.outliers import LIMIT
from tumbao.analysis.curate.table import COLUMNS, KEEP, REJECT, write_suspects
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import Catalog
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.tables import write_csv
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, excerpts
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template, write_page

PAGE, SUSPECTS, FRAGMENTS = "index.html", "suspects.csv", "fragments.csv"
"""File names."""

FRAGMENTS_PER_SONG = 4
"""Fragments of a song on the page, those that contradict the label most first."""

SINGLE_FRAGMENTS = 12
"""Maximum number of strays, and of outliers, on the page."""

LOW_AGREEMENT = 0.7
"""Share of songs on which model and labels agree, below which the page warns about its own list."""

_BARS = 5
"""Genres whose probability is shown: the given one and the most probable others."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curation:
    """Results for a library of n fragments.

    `folds` and `seed` are those of the cross-validation. `probabilities`, float32 [n, genres], are out of sample.
    `deviations`, float64 [n], are those of `outliers.strangeness`. `copies` are duplicates with different genres.
    """

    catalog: Catalog
    library: RenderedLibrary
    spec: MelSpec
    model: str
    folds: int
    seed: int
    probabilities: np.ndarray
    suspicion: Suspicion
    deviations: np.ndarray
    copies: Sequence[Contradiction]

    @property
    def wrong(self) -> int:
        """Number of songs whose label looks wrong."""
        return sum(one.wrong for one in self.suspicion.suspects)

    @property
    def outliers(self) -> tuple[int, ...]:
        """Rows of the outliers, the farthest from their genre first."""
        rows = np.flatnonzero(self.deviations > LIMIT)
        return tuple(rows[np.argsort(-self.deviations[rows], kind="stable")].tolist())


def write_curation(curation: Curation, out: Path, top: int) -> None:
    """Write the page, ``suspects.csv`` for the verdicts, and ``fragments.csv`` with all fragments in doubt.

    The page shows at most `top` songs; the tables contain all.
    """
    suspects = curation.suspicion.suspects
    strays, outliers = curation.suspicion.strays, curation.outliers
    write_suspects(out / SUSPECTS, suspects)
    write_whole(out / FRAGMENTS, _fragments(curation).encode())
    shown = [row for one in suspects[:top] for row in one.rows[:FRAGMENTS_PER_SONG]]
    single = [*strays[:SINGLE_FRAGMENTS], *outliers[:SINGLE_FRAGMENTS]]
    found = excerpts(curation.library, curation.catalog.songs, [*shown, *single], curation.spec)
    page = template(Path(__file__).parent).render(
        curation=curation,
        library=curation.library,
        suspicion=curation.suspicion,
        suspects=suspects[:top],
        left_out=len(suspects) - len(suspects[:top]),
        per_song=FRAGMENTS_PER_SONG,
        strays=strays[:SINGLE_FRAGMENTS],
        strays_left_out=len(strays) - len(strays[:SINGLE_FRAGMENTS]),
        outliers=outliers[:SINGLE_FRAGMENTS],
        outliers_left_out=len(outliers) - len(outliers[:SINGLE_FRAGMENTS]),
        limit=LIMIT,
        agreement=curation.suspicion.agreeing / curation.suspicion.songs,
        low_agreement=LOW_AGREEMENT,
        excerpts=found,
        size=PICTURE_SIZE,
        clock=clock,
        data_uri=data_uri,
        bars=lambda probabilities, given: _chosen(curation.library.genres, probabilities, given),
        keep=KEEP,
        reject=REJECT,
        verdict_column=COLUMNS[-1],
    )
    write_page(out / PAGE, page)


def _chosen(genres: Sequence[str], probabilities: Sequence[float], given: str) -> list[tuple[str, float]]:
    """Return the genres whose probability is shown, in the order of all genres."""
    ranked = sorted(zip(genres, map(float, probabilities), strict=True), key=lambda one: (one[0] != given, -one[1]))
    chosen = {genre for genre, _ in ranked[:_BARS]}
    return [(genre, float(value)) for genre, value in zip(genres, probabilities, strict=True) if genre in chosen]


def _fragments(curation: Curation) -> str:
    """Return CSV of the fragments of suspects, the strays and the outliers, in the library's order."""
    library, judged = curation.library, curation.suspicion.fragments
    of_suspects = {row for one in curation.suspicion.suspects for row in one.rows}
    outliers = set(curation.outliers)
    columns = ("song", "file", "start", "given", "likeliest", "score", "looks_wrong", "outlier", *library.genres)
    rows: list[tuple[object, ...]] = []
    for row in sorted(of_suspects | set(curation.suspicion.strays) | outliers):
        names = library.genres[library.labels[row]], library.genres[judged.likeliest[row]]
        place = library.songs[row], library.files[row], f"{library.starts[row]:g}"
        marks = int(judged.wrong[row]), int(row in outliers)
        shares = (f"{value:.4f}" for value in curation.probabilities[row])
        rows.append((*place, *names, f"{judged.scores[row]:.4f}", *marks, *shares))
    return write_csv(columns, rows)
