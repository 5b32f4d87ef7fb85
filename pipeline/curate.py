"""The command `tumbao curate`: find songs whose label looks wrong, and apply verdicts to a library's list of songs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tumbao.analysis.curate.label_issues import (
    SongIssue,
    genre_conflicts,
    label_issues,
    outlier_scores,
    pooled_features,
)
from tumbao.analysis.curate.page import PAGE, SUSPECTS, Curation, write_curation
from tumbao.analysis.curate.verdicts import correct, read_verdicts, write_list
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import is_synthetic
from tumbao.components.ingest.paths import AnyPath
from tumbao.pipeline.preparation import Preparation
from tumbao.trainer.cross_validation import library_folds, out_of_fold
from tumbao.trainer.models.spec import ModelSpec

LISTED = 12
"""Largest number of songs in the terminal's table."""


def curate(
    model: ModelSpec, prepared: Preparation, folds: int, seed: int, top: int, out: Path, console: Console
) -> None:
    """Find labels that look wrong, and write the page, with at most `top` songs, and its tables to the folder `out`."""
    training = model.settings(seed=seed)
    backbone = model.backbone_for(training)
    library = prepared.library(backbone.mel_spec)
    splits = library_folds(library, "song", {}, folds, seed)
    arrays = prepared.features(backbone, training.augment)
    prepared.display.say(f"Cross-validation of {model.name} in {folds} parts")
    weights = prepared.backbone_weights(backbone).path
    probabilities = out_of_fold(model, training, library, arrays, splits, weights)
    entries = read_library(prepared.data.absolute(), prepared.layout, prepared.genres).entries
    conflicts = genre_conflicts(entries, library.rejected)
    curation = Curation(
        catalog=prepared.catalog,
        library=library,
        spec=backbone.mel_spec,
        model=model.name,
        folds=folds,
        seed=seed,
        probabilities=probabilities,
        issues=label_issues(library, probabilities, conflicts),
        outlier_scores=outlier_scores(pooled_features(arrays[0]), library.labels, np.array(library.songs, object)),
        conflicts=conflicts,
    )
    write_curation(curation, out, top)
    _print_summary(curation, out, console)


def _print_summary(curation: Curation, out: Path, console: Console) -> None:
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
    lines = [
        f"one recording, two genres: {one.song} ({one.genre}) and, left out, {one.duplicate} ({one.duplicate_genre})"
        for one in curation.conflicts
    ]
    if len(issues.songs) > LISTED:
        lines.append(f"{len(issues.songs) - LISTED} more in {out / SUSPECTS}")
    for line in (*lines, str(out / PAGE)):
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
    """Write a library's list of songs with a person's verdicts applied; the library itself is not changed."""
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
