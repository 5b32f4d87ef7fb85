"""The command `tumbao explain`: write a page on what a model has learned, with sounds and images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from rich.console import Console
from rich.markup import escape

from tumbao.components.ingest import progress, song_cache
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.records import decode_image
from tumbao.datasets.demo import instruments
from tumbao.pipeline.preparation import Preparation
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES, find_genre, unknown_genre
from tumbao.serving.classify.batch import decoding
from tumbao.serving.classify.inputs import find_audio_files
from tumbao.serving.explain.activation_maximization import FRAGMENT_STEPS, NOISE_STEPS, Dream, Dreamer
from tumbao.serving.explain.attribution_report import Why, why
from tumbao.serving.explain.filters import blocks, telling
from tumbao.serving.explain.inversion import fidelity, known_sound, levels_of
from tumbao.serving.explain.library_context import Placed, Surroundings, surroundings
from tumbao.serving.explain.neighbours import typical
from tumbao.serving.explain.neighbours_page import neighbours_section
from tumbao.serving.explain.network import Hidden, Network, NoGradientError, load, log_odds
from tumbao.serving.explain.page import (
    attribution_section,
    fidelity_section,
    filters_section,
    genres_section,
    instruments_section,
    write_explanation,
)
from tumbao.serving.formatting import clock

DONE, SOME_UNREAD, INTERRUPTED = 0, 1, 130

TELLING = 5
"""Fragments per genre for the choice of filters, if there is a library."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of `tumbao explain`.

    - `model`: folder of pushed models, or one pushed version.
    - `songs`: files, folders and lists of songs to explain; may be empty.
    - `data`, `layout`: the library in which to find neighbours, and its form, one of `formats.LAYOUTS`.
    - `workspace`: folder of rendered songs of the library.
    - `genres`: genres for activation maximization; empty for all genres of the model.
    - `seed`: of everything that is random.
    - `out`: folder of the page.
    """

    model: Path
    songs: tuple[AnyPath, ...]
    data: AnyPath | None
    layout: str
    workspace: Path
    genres: tuple[str, ...]
    seed: int
    out: Path


@dataclasses.dataclass(frozen=True, eq=False)
class _Start:
    """Music from which activation maximization may start."""

    name: str
    levels: np.ndarray
    scores: np.ndarray


def explain(asked: Asked, noise: Console, console: Console) -> int:
    """Analyse a model and write the page.

    Progress and unreadable songs are printed to `noise`, the page's path to `console`. Returns the exit code: 0 if
    every song was explained, 1 if not, 130 if interrupted. An unusable model, library or setting raises a `ValueError`.
    """
    if asked.out.exists() and not asked.out.is_dir():
        raise UserError(f"Expected a folder to write the page to. Received: {asked.out}, which is a file.")
    network = load(asked.model)
    genres = _indices(network, asked.genres)
    try:
        with ProgressDisplay(noise) as watch, progress.listen(watch):
            sections, unread = _sections(asked, network, genres, watch)
    except KeyboardInterrupt:
        noise.print("Interrupted: no page was written. What was drawn of a library is kept.", soft_wrap=True)
        return INTERRUPTED
    page = write_explanation(network.info, sections, unread, asked.seed, asked.out)
    console.print(escape(str(page)), highlight=False, soft_wrap=True)
    return SOME_UNREAD if unread else DONE


def _sections(
    asked: Asked, network: Network, genres: Sequence[int], watch: ProgressDisplay
) -> tuple[list[Markup], list[tuple[str, str]]]:
    """Create the page's sections; return them, and the songs that are not explained, with the reason for each."""
    prepared = None
    if asked.data is not None:
        prepared = Preparation(asked.data, asked.workspace, network.genres, asked.layout, "", watch)
    explained, unread = _explained(asked, network, watch)
    whys = [one for one, _ in explained]
    hidden = Hidden(network)
    around = _around(prepared, asked.workspace, network, hidden, explained) if prepared else None
    sections = [*_of_genres(network, genres, whys, around, asked.seed), _kept(network, whys)]
    if whys:
        sections.append(attribution_section(whys, network))
    if around:
        sections.append(neighbours_section(around, network.spec))
    spec, chosen = network.spec, {network.genres[genre] for genre in genres}
    if network.info.training_data.synthetic and chosen & set(GENRES):
        rate, rest = spec.sample_rate_hz, set(network.genres) - chosen
        told = instruments.listen(hidden.logits, network.genres, rate, spec.fragment_seconds, without=rest)
        sections.append(instruments_section(told))
    return sections, unread


def _indices(network: Network, names: Sequence[str]) -> list[int]:
    for name in names:
        if not find_genre(name, network.genres):
            raise UserError(f"A genre that the model does not know: {unknown_genre(name, network.genres)}")
    chosen = dict.fromkeys(find_genre(name, network.genres) for name in names or network.genres)
    return [network.genres.index(name) for name in chosen]


def _explained(
    asked: Asked, network: Network, watch: ProgressDisplay
) -> tuple[list[tuple[Why, str]], list[tuple[str, str]]]:
    """Explain songs; return the results with the songs' paths, and the other songs' names with the reason for each."""
    songs = find_audio_files(asked.songs).songs if asked.songs else ()
    explained, unread = [], []
    with decoding(songs, network.spec) as begun:
        for decoded in begun:
            path = decoded.song.part.path
            name = path.rpartition("/")[2]
            watch.say(f"  {escape(name)}")
            try:
                if decoded.song.fault:
                    raise decoded.song.fault
                explained.append((why(network, name, decoded.items, asked.seed), path))
            except AudioError as error:
                unread.append((name, error.sentence))
                watch.say(f"  [red]not explained:[/red] {escape(name)}: {escape(error.sentence)}")
    return explained, unread


def _around(
    prepared: Preparation, workspace: Path, network: Network, hidden: Hidden, explained: Sequence[tuple[Why, str]]
) -> Surroundings:
    colours = palette(network.spec)
    placed = []
    for one, path in explained:
        piece = one.pieces[one.decisive]
        placed.append(Placed(one.song, Path(path), piece.start_seconds, colours[piece.levels]))
    library = prepared.library(network.spec)
    return surroundings(hidden, network.info, prepared.catalog, library, placed, workspace / "explained")


def _of_genres(
    network: Network, genres: Sequence[int], whys: Sequence[Why], around: Surroundings | None, seed: int
) -> list[Markup]:
    """Maximize the activation of genres, and choose filters; without a library, filters are chosen on the results."""
    try:
        dreamer = Dreamer(network)
    except NoGradientError as error:
        trouble = f"Filters are shown of models with VGG-16 only. {error}"
        return [genres_section([], network, str(error)), filters_section([], network, trouble=trouble)]
    starts = _starts(network, whys, around)
    progress.start("dream", len(genres) * (NOISE_STEPS + FRAGMENT_STEPS * bool(starts)))
    dreams: list[Dream] = []
    for genre in genres:
        dreams.append(dreamer.from_noise(genre, seed))
        if starts:
            evidence = log_odds(np.stack([one.scores for one in starts]), genre).numpy()
            start = starts[int(evidence.argmax())]
            dreams.append(dreamer.from_fragment(genre, start.levels, start.name, seed))
    return [genres_section(dreams, network), _filters(network, genres, dreams, around, seed)]


def _starts(network: Network, whys: Sequence[Why], around: Surroundings | None) -> list[_Start]:
    """Collect starting points: the decisive fragment of each song, and from the library a typical one of each genre."""
    starts = []
    for one in whys:
        piece = one.pieces[one.decisive]
        starts.append(_Start(f"{one.song}, from {clock(piece.start_seconds)}", piece.levels, piece.scores))
    if around is None:
        return starts
    library, seen = around.library, around.seen
    for genre in range(len(network.genres)):
        row = typical(seen.vectors, library.labels, genre)
        if row is not None:
            name = f"{library.songs[row]}, from {clock(float(library.starts[row]))}"
            starts.append(_Start(name, _levels(network, around, row), seen.logits[row]))
    return starts


def _levels(network: Network, around: Surroundings, row: int) -> np.ndarray:
    images = dict(song_cache.images(around.library.archives[row]))
    return levels_of(decode_image(images[around.library.members[row]]), network.spec)


def _filters(
    network: Network, genres: Sequence[int], dreams: Sequence[Dream], around: Surroundings | None, seed: int
) -> Markup:
    if not blocks(network.model):
        trouble = "This model is not built on VGG-16: its filters are not patterns of a picture, and none are shown."
        return filters_section([], network, trouble=trouble)
    if len(genres) < 2:
        trouble = "Filters are chosen by what tells genres apart; one genre alone was asked for."
        return filters_section([], network, trouble=trouble)
    if around is not None and set(genres) <= set(around.library.labels.tolist()):
        of = [row for genre in genres for row in _spread(np.flatnonzero(around.library.labels == genre))]
        pictures = np.stack([_levels(network, around, row) for row in of])
        filters = telling(network, pictures, around.library.labels[of].tolist(), seed)
        return filters_section(filters, network, around.catalog.name)
    pictures = np.stack([dream.levels for dream in dreams])
    filters = telling(network, pictures, [network.genres.index(dream.genre) for dream in dreams], seed)
    return filters_section(filters, network)


def _spread(rows: np.ndarray) -> list[int]:
    """Choose up to `TELLING` evenly spaced rows."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(TELLING, len(rows))).round().astype(int))
    return rows[chosen].tolist()


def _kept(network: Network, whys: Sequence[Why]) -> Markup:
    """Measure how much of the sound a mel image keeps, on the first song or on a synthetic sound."""
    spec = network.spec
    if whys:
        name = f"{whys[0].song}, from {clock(whys[0].pieces[whys[0].decisive].start_seconds)}"
        return fidelity_section(fidelity(name, whys[0].original, spec), spec)
    return fidelity_section(fidelity("plucked scale and drum", known_sound(spec), spec), spec)
