"""The command `tumbao curate`: find songs whose label looks wrong, and apply verdicts to a library's list of songs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tumbao.analysis.compare.folds import cross_validation
from tumbao.analysis.compare.training import out_of_sample
from tumbao.analysis.curate.label_issues import (
    SongIssue,
    genre_conflicts,
    label_issues,
    outlier_scores,
    pooled_features,
)
from tumbao.analysis.curate.page import PAGE, SUSPECTS, Curation, write_curation
from tumbao.analysis.curate.verdicts import correct, read_verdicts, write_list
from tumbao.components.ingest import progress
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import is_synthetic
from tumbao.components.ingest.paths import AnyPath
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UserError
from tumbao.trainer.models.registry import find_model

LISTED = 12
"""Largest number of songs in the terminal's table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of `tumbao curate`.

    - `library`, `layout`: a folder or a list of songs, and its form, one of `formats.LAYOUTS`.
    - `workspace`: folder of rendered songs and features.
    - `folds`: folds of the cross-validation.
    - `seed`: of the cross-validation and of the trainings.
    - `weights`: file of the backbone's weights, `random`, or empty to search for them.
    - `top`: largest number of songs on the page.
    """

    library: AnyPath
    layout: str
    genres: tuple[str, ...]
    workspace: Path
    model: str
    folds: int
    seed: int
    weights: str
    top: int


def curate(asked: Asked, out: Path, noise: Console, console: Console) -> None:
    """Find labels that look wrong, and write the page and its tables to the folder `out`.

    Progress and rejected files are printed to `noise`, the result to `console`. An unusable library or setting raises a
    `ValueError`.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"Expected a folder to write the page to. Received: {out}, which is a file.")
    model = find_model(asked.model)
    training = model.settings(seed=asked.seed)
    backbone = model.backbone_for(training)
    with ProgressDisplay(noise) as watch, progress.listen(watch):
        prepared = Preparation(asked.library, asked.workspace, asked.genres, asked.layout, asked.weights, watch)
        library = prepared.library(backbone.mel_spec)
        divisions = cross_validation(library, "song", asked.folds, asked.seed)
        arrays, _ = prepared.features(backbone, training.augment)
        watch.say(f"Cross-validation of {model.name} in {asked.folds} parts")
        weights = prepared.backbone_weights(backbone).path
        probabilities = out_of_sample(model, training, library, arrays, divisions, weights)
        entries = read_library(asked.library.absolute(), asked.layout, asked.genres).entries
        conflicts = genre_conflicts(entries, library.rejected)
        curation = Curation(
            catalog=prepared.catalog,
            library=library,
            spec=backbone.mel_spec,
            model=model.name,
            folds=asked.folds,
            seed=asked.seed,
            probabilities=probabilities,
            issues=label_issues(library, probabilities, conflicts),
            outlier_scores=outlier_scores(pooled_features(arrays[0]), library.labels, np.array(library.songs, object)),
            conflicts=conflicts,
        )
        write_curation(curation, out, asked.top)
    _tell(curation, out, console)


def _tell(curation: Curation, out: Path, console: Console) -> None:
    issues = curation.issues
    label = " (synthetic library)" if curation.catalog.synthetic else ""
    console.print(
        f"{issues.song_count} songs: {curation.wrong} labels look wrong, "
        f"{len(issues.songs) - curation.wrong} more in doubt; {curation.model} agrees with "
        f"{issues.agreeing / issues.song_count:.1%} of the labels{label}",
        highlight=False,
        soft_wrap=True,
    )
    if issues.songs:
        console.print(_table(issues.songs[:LISTED]))
    for one in curation.conflicts:
        console.print(
            f"one recording, two genres: {escape(one.song)} ({escape(one.genre)}) and, left out, "
            f"{escape(one.duplicate)} ({escape(one.duplicate_genre)})",
            highlight=False,
            soft_wrap=True,
        )
    more = len(issues.songs) - LISTED
    for line in (f"{more} more in {out / SUSPECTS}" if more > 0 else "", str(out / PAGE)):
        if line:
            console.print(escape(line), highlight=False, soft_wrap=True)


def _table(songs: tuple[SongIssue, ...]) -> Table:
    table = Table()
    for name in ("song", "given", "suggested", "score", "fragments", "looks"):
        table.add_column(name, overflow="fold", no_wrap=name != "song")
    for one in songs:
        status = f"[red]{one.status}[/red]" if one.wrong else one.status
        names = escape(one.song), escape(one.given), escape(one.suggested)
        table.add_row(*names, f"{one.score:.3f}", f"{one.disagreeing} of {len(one.rows)}", status)
    return table


def apply(verdicts: Path, library: AnyPath, out: Path, layout: str, genres: tuple[str, ...], console: Console) -> None:
    """Write a library's list of songs with a person's verdicts applied; the library itself is not changed.

    `verdicts` is the table written by `curate` with verdicts filled in, `out` a new .csv file. Verdicts may name the
    given genres and those of the library. Verdicts that are invalid or do not fit the library raise a `ValueError`, as
    does an `out` that cannot be written.
    """
    listed = read_library(library.absolute(), layout, genres)
    entries = [entry for entry in listed.entries if not entry.fault]
    faulty = [entry for entry in listed.entries if entry.fault]
    known = dict.fromkeys((*genres, *sorted(entry.genre for entry in entries if entry.genre)))
    corrections = correct(entries, read_verdicts(verdicts, tuple(known)))
    synthetic = is_synthetic(library if library.is_dir() else library.parent)
    write_list(corrections.entries, out, synthetic=synthetic)
    lines = [*listed.notes, *(f"{song}: {was} → {genre}" for song, was, genre in corrections.changed)]
    lines += [f"{entry.song}: {entry.fault}, rejected" for entry in faulty]
    lines += [f"{song}: {genre}, rejected" for song, genre in corrections.rejected]
    rejected = len(faulty) + sum(entry.song in dict(corrections.rejected) for entry in entries)
    lines.append(
        f"found {len(listed.entries)} = listed {len(corrections.entries)} + rejected {rejected}; "
        f"{len(corrections.changed)} with another genre, {len(corrections.undecided)} undecided as they were"
        f"{' (synthetic library)' if synthetic else ''}"
    )
    for line in (*lines, str(out)):
        console.print(escape(line), highlight=False, soft_wrap=True)
