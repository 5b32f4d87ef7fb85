"""The command `tumbao explain`: write a page on what a model has learned, with sounds and images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from rich.console import Console
from rich.markup import escape

from tumbao.components.ingest import progress, song_cache
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.records import decode_levels
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UserError
from tumbao.schema.genres import find_genre, unknown_genre
from tumbao.serving.classify.batch import decoding
from tumbao.serving.classify.inputs import find_audio_files
from tumbao.serving.explain.activation_maximization import (
    FRAGMENT_STEPS,
    NOISE_STEPS,
    MaximizedImage,
    blocks,
    discriminative_filters,
    maximize,
)
from tumbao.serving.explain.attribution_report import AttributionReport, attribute_genre
from tumbao.serving.explain.library_context import LibraryContext, QueryFragment, library_context, typical
from tumbao.serving.explain.network import Network, NoGradientError, load, log_odds
from tumbao.serving.explain.page import (
    attribution_section,
    filters_section,
    genres_section,
    neighbours_section,
    write_explanation,
)
from tumbao.serving.formatting import clock


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Options of `tumbao explain`; see its help. Without `genres`, all genres of the model are meant."""

    model: Path
    songs: tuple[AnyPath, ...]
    data: AnyPath | None
    layout: str
    workspace: Path
    genres: tuple[str, ...]
    seed: int
    out: Path


class _Start(NamedTuple):
    """Music from which activation maximization may start."""

    name: str
    levels: np.ndarray
    scores: np.ndarray


def run_explain(options: ExplainOptions, error_console: Console, console: Console) -> int:
    """Analyse a model, write the page, and return the exit code."""
    network = load(options.model)
    genres = _indices(network, options.genres)
    with ProgressDisplay(error_console) as display, progress.listen(display):
        sections, unread = _sections(options, network, genres, display)
    page = write_explanation(network.info, sections, unread, options.seed, options.out)
    console.print(escape(str(page)), highlight=False, soft_wrap=True)
    return 1 if unread else 0


def _sections(
    options: ExplainOptions, network: Network, genres: Sequence[int], display: ProgressDisplay
) -> tuple[list[Markup], list[tuple[str, str]]]:
    """Create the page's sections; return them, and the songs that are not explained, with the reason for each."""
    prepared = context = None
    if options.data is not None:
        prepared = Preparation(options.data, options.workspace, network.genres, options.layout, "", display)
    explained, unread = _attributed(options, network, display)
    reports = [one for one, _ in explained]
    if prepared:
        library, colours, queries = prepared.library(network.spec), palette(network.spec), []
        for one, path in explained:
            fragment = one.fragments[one.decisive]
            queries.append(QueryFragment(one.song, Path(path), fragment.start_seconds, colours[fragment.levels]))
        context = library_context(network, prepared.catalog, library, queries, options.workspace)
    sections = _maximized(network, genres, reports, context, options.seed)
    if reports:
        sections.append(attribution_section(reports, network))
    if context:
        sections.append(neighbours_section(context, network.spec))
    return sections, unread


def _indices(network: Network, names: Sequence[str]) -> list[int]:
    found = {name: find_genre(name, network.genres) for name in names or network.genres}
    for name, genre in found.items():
        if not genre:
            raise UserError(f"A genre that the model does not know: {unknown_genre(name, network.genres)}")
    return [network.genres.index(genre) for genre in dict.fromkeys(found.values())]


def _attributed(
    options: ExplainOptions, network: Network, display: ProgressDisplay
) -> tuple[list[tuple[AttributionReport, str]], list[tuple[str, str]]]:
    """Explain songs; return the results with the songs' paths, and the other songs' names with the reason for each."""
    songs = find_audio_files(options.songs).songs if options.songs else ()
    explained, unread = [], []
    with decoding(songs, network.spec) as begun:
        for decoded in begun:
            path = decoded.song.part.path
            name = path.rpartition("/")[2]
            display.say(f"  {escape(name)}")
            try:
                if decoded.song.fault:
                    raise decoded.song.fault
                explained.append((attribute_genre(network, name, decoded.items, options.seed), path))
            except AudioError as error:
                unread.append((name, error.message))
                display.say(f"  [red]not explained:[/red] {escape(name)}: {escape(error.message)}")
    return explained, unread


def _maximized(
    network: Network,
    genres: Sequence[int],
    reports: Sequence[AttributionReport],
    context: LibraryContext | None,
    seed: int,
) -> list[Markup]:
    """Maximize the activation of genres, and choose filters; without a library, filters are chosen on the results."""
    try:
        network.genre_gradient  # noqa: B018 - raises if there is none
    except NoGradientError as error:
        reason = f"Filters are shown only for models based on VGG-16. {error}"
        return [genres_section([], network, str(error)), filters_section([], network, reason=reason)]
    starts = _starts(network, reports, context)
    progress.start("activation maximization", len(genres) * (NOISE_STEPS + FRAGMENT_STEPS * bool(starts)))
    images: list[MaximizedImage] = []
    for genre in genres:
        images.append(maximize(network, genre, seed))
        if starts:
            evidence = log_odds(np.stack([one.scores for one in starts]), genre).numpy()
            start = starts[int(evidence.argmax())]
            images.append(maximize(network, genre, seed, (start.name, start.levels)))
    return [genres_section(images, network), _filters(network, genres, images, context, seed)]


def _starts(network: Network, reports: Sequence[AttributionReport], context: LibraryContext | None) -> list[_Start]:
    """Collect starting points: the decisive fragment of each song, and from the library a typical one of each genre."""
    starts = []
    for one in reports:
        fragment = one.fragments[one.decisive]
        starts.append(_Start(f"{one.song}, from {clock(fragment.start_seconds)}", fragment.levels, fragment.scores))
    if context is None:
        return starts
    library, activations = context.library, context.activations
    for genre in range(len(network.genres)):
        row = typical(activations.vectors, library.labels, genre)
        if row is not None:
            name = f"{library.songs[row]}, from {clock(float(library.starts[row]))}"
            starts.append(_Start(name, _levels(context, row), activations.logits[row]))
    return starts


def _levels(context: LibraryContext, row: int) -> np.ndarray:
    images = dict(song_cache.images(context.library.archives[row]))
    return decode_levels(images[context.library.members[row]])


def _filters(
    network: Network, genres: Sequence[int], images: Sequence[MaximizedImage], context: LibraryContext | None, seed: int
) -> Markup:
    reason = ""
    if not blocks(network.model):
        reason = "This model is not based on VGG-16, so its filters are not visualized."
    elif len(genres) < 2:
        reason = "Filters are chosen by how well they separate genres; only one genre was selected."
    if reason:
        return filters_section([], network, reason=reason)
    if context is None or not set(genres) <= set(context.library.labels.tolist()):
        pictures = np.stack([image.levels for image in images])
        labels = [network.genres.index(image.genre) for image in images]
        return filters_section(discriminative_filters(network, pictures, labels, seed), network)
    rows: list[int] = []
    for genre in genres:  # evenly spaced fragments of each
        found = np.flatnonzero(context.library.labels == genre)
        spread = np.linspace(0, len(found) - 1, min(5, len(found))).round().astype(int)
        rows += found[np.unique(spread)].tolist()
    pictures = np.stack([_levels(context, row) for row in rows])
    filters = discriminative_filters(network, pictures, context.library.labels[rows].tolist(), seed)
    return filters_section(filters, network, context.catalog.name)
