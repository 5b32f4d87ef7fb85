"""The curation page, with tables beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.analysis.curate.label_issues import OUTLIER_LIMIT, GenreConflict, LabelIssues
from tumbao.analysis.curate.verdicts import COLUMNS, KEEP, REJECT, write_issues
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import Catalog
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.tables import write_csv
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, excerpts
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template, write_page

PAGE, SUSPECTS, FRAGMENTS = "index.html", "suspects.csv", "fragments.csv"

FRAGMENTS_PER_SONG = 4  # on the page, those that contradict the label most first
SINGLE_FRAGMENTS = 12  # maximum number of fragment issues, and of outliers, on the page
LOW_AGREEMENT = 0.7  # share of songs on which model and labels agree, below which the page warns about its own list
_BARS = 5  # genres whose probability is shown: the given one and the most probable others


@dataclasses.dataclass(frozen=True, eq=False)
class Curation:
    """Results for a library of n fragments, with their out-of-fold probabilities [n, genres]."""

    catalog: Catalog
    library: RenderedLibrary
    spec: MelSpec
    model: str
    folds: int
    seed: int
    probabilities: np.ndarray
    issues: LabelIssues
    outlier_scores: np.ndarray
    conflicts: Sequence[GenreConflict]

    @property
    def wrong(self) -> int:
        """Number of songs whose label looks wrong."""
        return sum(one.wrong for one in self.issues.songs)

    @property
    def outliers(self) -> tuple[int, ...]:
        """Rows of the outliers, the farthest from their genre first."""
        rows = np.flatnonzero(self.outlier_scores > OUTLIER_LIMIT)
        return tuple(rows[np.argsort(-self.outlier_scores[rows], kind="stable")].tolist())


def write_curation(curation: Curation, out: Path, top: int) -> None:
    """Write the page, ``suspects.csv`` for the verdicts, and ``fragments.csv`` with all fragments in doubt.

    The page shows at most `top` songs; the tables contain all.
    """
    issues, outliers = curation.issues, curation.outliers
    write_issues(out / SUSPECTS, issues.songs)
    write_whole(out / FRAGMENTS, _fragments(curation).encode())
    shown = [row for one in issues.songs[:top] for row in one.rows[:FRAGMENTS_PER_SONG]]
    single = [*issues.fragments[:SINGLE_FRAGMENTS], *outliers[:SINGLE_FRAGMENTS]]
    page = template(Path(__file__).parent).render(
        curation=curation,
        library=curation.library,
        issues=issues,
        songs=issues.songs[:top],
        songs_left_out=max(0, len(issues.songs) - top),
        per_song=FRAGMENTS_PER_SONG,
        fragments=issues.fragments[:SINGLE_FRAGMENTS],
        fragments_left_out=max(0, len(issues.fragments) - SINGLE_FRAGMENTS),
        outliers=outliers[:SINGLE_FRAGMENTS],
        outliers_left_out=max(0, len(outliers) - SINGLE_FRAGMENTS),
        limit=OUTLIER_LIMIT,
        agreement=issues.agreeing / issues.song_count,
        low_agreement=LOW_AGREEMENT,
        excerpts=excerpts(curation.library, curation.catalog.songs, [*shown, *single], curation.spec),
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
    """Return CSV of the fragments of listed songs, the fragment issues and the outliers, in the library's order."""
    library, issues, outliers = curation.library, curation.issues, set(curation.outliers)
    of_songs = {row for one in issues.songs for row in one.rows}
    columns = ("song", "file", "start", "given", "likeliest", "score", "looks_wrong", "outlier", *library.genres)
    rows: list[tuple[object, ...]] = []
    for row in sorted(of_songs | set(issues.fragments) | outliers):
        position = library.songs[row], library.files[row], f"{library.starts[row]:g}"
        names = library.genres[library.labels[row]], library.genres[issues.quality.predicted[row]]
        marks = f"{issues.quality.scores[row]:.4f}", int(issues.quality.wrong[row]), int(row in outliers)
        rows.append((*position, *names, *marks, *(f"{value:.4f}" for value in curation.probabilities[row])))
    return write_csv(columns, rows)
