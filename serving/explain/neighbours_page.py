"""The page's sections on neighbours and the map, with players."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, Excerpt, excerpts
from tumbao.serving.explain.library_context import LibraryContext, QueryFragment
from tumbao.serving.explain.neighbours import nearest, typical
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template

NEIGHBOURS = 4
"""Number of neighbours shown per fragment."""

MAX_MEDIA_BYTES = 10_000_000
"""Approximate limit for audio and images in the section; further fragments are on the map without sound."""

_BYTES_PER_SECOND, _PICTURE_BYTES = 4_000, 20_000
"""Approximate size of an excerpt's audio per second, and of its image, as embedded in the page."""

MARKERS = (
    "M-8,0a8,8 0 1,0 16,0a8,8 0 1,0 -16,0",
    "M-7,-7H7V7H-7Z",
    "M0,-9L9,7H-9Z",
    "M0,-10L9,0L0,10L-9,0Z",
    "M-3,-9H3V-3H9V3H3V9H-3V3H-9V-3H-3Z",
    "M0,9L9,-7H-9Z",
    "M-9,0L-4.5,-8H4.5L9,0L4.5,8H-4.5Z",
)
"""Markers of the genres on the map, in units of its image; with six colours, they distinguish 42 genres."""

_WIDTH, _HEIGHT, _MARGIN = 1000, 640, 30


@dataclasses.dataclass(frozen=True)
class _Point:
    """A fragment on the map; `row` is None for fragments that are not part of the library."""

    x: float
    y: float
    genre: int
    answer: int
    probability: float
    name: str
    start: str
    row: int | None
    training: bool

    @property
    def wrong(self) -> bool:
        return self.row is not None and self.genre != self.answer


@dataclasses.dataclass(frozen=True)
class _Card:
    """A song placed in the library, and its neighbours as (row, distance)."""

    query: QueryFragment
    answer: int
    probability: float
    found: tuple[tuple[int, float], ...]


def neighbours_section(context: LibraryContext, spec: MelSpec) -> Markup:
    """Render the sections (headings of the second level), with style and script embedded."""
    cards = _cards(context)
    genres = context.library.genres
    typicals = [typical(context.activations.vectors, context.library.labels, genre) for genre in range(len(genres))]
    rows = _players([row for card in cards for row, _ in card.found], typicals, context, spec)
    sounds = excerpts(context.library, context.catalog.songs, rows, spec)
    shown = {row for card in cards for row, _ in card.found} | {row for row in typicals if row is not None}
    html = template(Path(__file__).parent, "neighbours.html.j2").render(
        context=context,
        library=context.library,
        genres=genres,
        synthetic=context.catalog.synthetic,
        cards=cards,
        typicals=[row for row in typicals if row is not None],
        points=_points(context),
        mistakes=context.mistakes.tolist(),
        sounds=sounds,
        unshown=[row for row in sounds if row not in shown],
        with_audio=_with_audio(sounds),
        markers=MARKERS,
        size=PICTURE_SIZE,
        map_size=(_WIDTH, _HEIGHT),
        clock=clock,
        data_uri=data_uri,
    )
    return Markup(html)


def _cards(context: LibraryContext) -> list[_Card]:
    if context.query_activations is None:
        return []
    files = {
        Path(file).resolve(): song for file, song in zip(context.library.files, context.library.songs, strict=True)
    }
    cards = []
    rows = zip(context.queries, context.query_activations.vectors, context.query_activations.probabilities, strict=True)
    for query, vector, probabilities in rows:
        own = {song for file, song in files.items() if file == query.path.resolve()}
        songs = context.library.songs
        found = nearest(vector, context.activations.vectors, songs, NEIGHBOURS, among=context.training, without=own)
        answer = int(probabilities.argmax())
        cards.append(_Card(query, answer, float(probabilities[answer]), tuple(found)))
    return cards


def _players(near: list[int], typicals: Iterable[int | None], context: LibraryContext, spec: MelSpec) -> list[int]:
    """Choose the rows with audio: neighbours, typical fragments, mistakes, then first fragments of songs, and so on."""
    most = int(MAX_MEDIA_BYTES // (spec.fragment_seconds * _BYTES_PER_SECOND + _PICTURE_BYTES))
    numbers = context.library.numbers
    rest = sorted(range(len(numbers)), key=lambda row: (int(numbers[row]), row))
    wanted = [*near, *(row for row in typicals if row is not None), *context.mistakes.tolist(), *rest]
    return list(dict.fromkeys(wanted))[:most]


def _points(context: LibraryContext) -> list[_Point]:
    library, probabilities = context.library, context.activations.probabilities
    positions = [
        (_MARGIN + x * (_WIDTH - 2 * _MARGIN), _HEIGHT - _MARGIN - y * (_HEIGHT - 2 * _MARGIN))
        for x, y in context.positions
    ]
    points = []
    for row, name in enumerate(library.songs):
        answer = int(context.activations.answers[row])
        genre, probability = int(library.labels[row]), float(probabilities[row, answer])
        start, training = clock(float(library.starts[row])), bool(context.training[row])
        points.append(_Point(*positions[row], genre, answer, probability, name, start, row, training))
    if context.query_activations is not None:
        rows = zip(context.queries, positions[len(points) :], context.query_activations.probabilities, strict=True)
        for query, place, shares in rows:
            answer = int(shares.argmax())
            start = clock(query.start_seconds)
            points.append(
                _Point(*place, answer, answer, float(shares[answer]), query.name, start, None, training=False)
            )
    return points


def _with_audio(sounds: dict[int, Excerpt]) -> int:
    return sum(bool(excerpt.mp3) for excerpt in sounds.values())
