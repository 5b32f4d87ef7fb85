"""The explanation of a model as one self-contained page, section by section."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image
from scipy.ndimage import gaussian_filter

from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_png
from tumbao.datasets.demo.instruments import MUTED, OTHER_RHYTHM, OTHER_SOUND, Ablation, MeanEffect, mean_effects
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, excerpts, mp3
from tumbao.serving.explain.activation_maximization import N_PERMUTATIONS, Filter, MaximizedImage
from tumbao.serving.explain.attribution import (
    BANDS,
    CELLS,
    SHARES,
    SIGNIFICANCE_LEVEL,
    Faithfulness,
    limit_of_chance,
)
from tumbao.serving.explain.attribution_report import MAX_SHARE, METHODS, AttributionReport, band_edges
from tumbao.serving.explain.inversion import Fidelity, semitone_hz
from tumbao.serving.explain.library_context import LibraryContext, QueryFragment, nearest, typical
from tumbao.serving.explain.network import Network
from tumbao.serving.formatting import clock, percent
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.page import data_uri, template, write_page
from tumbao.serving.style import frequencies, height_of

PAGE = "index.html"
"""Name of the file."""

_HEADING = re.compile(r'<h2 id="([^"]+)">([^<]+)')


def write_explanation(
    info: ModelInfo, sections: Sequence[Markup], rejected: Sequence[tuple[str, str]], seed: int, out: Path
) -> Path:
    """Write the page to the folder `out`, which is created if missing, and return the page's path.

    Headings of the second level with ids in `sections` become the table of contents. `rejected` are songs that could
    not be explained, with the reasons. `seed` is the one used for all sections.
    """
    headings = [found for section in sections for found in _HEADING.findall(section)]
    contents = [(name, Markup(text).unescape().strip()) for name, text in headings]
    page = _render("template", info=info, sections=sections, contents=contents, rejected=rejected, seed=seed)
    write_page(out / PAGE, page)
    return out / PAGE


def _render(name: str, **values: Any) -> Markup:
    return Markup(template(Path(__file__).parent, f"{name}.html.j2").render(**values))


_COMPRESSION = 0.75
"""48 kbit/s at 22,050 Hz keep audio up to 10 kHz; half that rate would end at 6 kHz."""


def picture(levels: np.ndarray, spec: MelSpec) -> str:
    """Encode a mel image (uint8 [height, width], in palette steps) as the data URI of a PNG."""
    return data_uri("image/png", to_png(levels, palette(spec)))


def player(samples: np.ndarray, spec: MelSpec) -> str:
    """Encode mono samples in [-1, 1] as the data URI of an MP3."""
    return data_uri("audio/mpeg", mp3(samples, spec.sample_rate_hz, _COMPRESSION))


def fidelity_section(result: Fidelity, spec: MelSpec) -> Markup:
    """Render the section (HTML, id ``fidelity``), with audio embedded."""
    return _render(
        "fidelity",
        result=result,
        spec=spec,
        semitone_hz=round(semitone_hz(spec), -1),
        column_ms=1_000 * spec.fragment_seconds / spec.image_width,
        player=lambda samples: player(samples, spec),
    )


ENOUGH = 0.9
"""A generated image counts as its genre above this probability."""


def genres_section(images: Sequence[MaximizedImage], network: Network, reason: str = "") -> Markup:
    """Render the section (HTML, id ``genres``), with images and audio embedded.

    `images` are grouped by genre; `reason` is the reason if there are none.
    """
    spec = network.spec
    return _render(
        "genres",
        images=images,
        reason=reason,
        synthetic=network.info.training_data.synthetic,
        enough=ENOUGH,
        convincing=sum(image.image_probability > ENOUGH for image in images),
        surviving=sum(image.audio_probability > ENOUGH for image in images),
        noisy=[image.genre for image in images if not image.origin and image.start_probability > ENOUGH],
        distance=float(np.mean([image.distance_db for image in images])) if images else 0.0,
        seconds=spec.fragment_seconds,
        frequencies=frequencies(spec),
        picture=lambda levels: picture(levels, spec),
        player=lambda samples: player(samples, spec),
    )


def filters_section(filters: Sequence[Filter], network: Network, source: str = "", reason: str = "") -> Markup:
    """Render the section (HTML, id ``filters``), with images and audio embedded.

    `source` names the library whose fragments selected the filters; it is empty if generated images did. `reason` is
    the reason if there are no filters.
    """
    return _render(
        "filters",
        filters=filters,
        grouped=[(layer, list(row)) for layer, row in itertools.groupby(filters, lambda one: one.layer)],
        of_library=bool(source),
        source=source,
        permutations=N_PERMUTATIONS,
        significance=SIGNIFICANCE_LEVEL,
        reason=reason,
        learned=network.info.versions.get("backbone_weights") != "random",
        tuned=network.fine_tuned,
        synthetic=network.info.training_data.synthetic,
        picture=lambda levels: picture(levels, network.spec),
        player=lambda samples: player(samples, network.spec),
    )


LARGE, SMALL = (600, 400), (300, 150)
"""Width and height of the images, in pixels."""


def attribution_section(reports: Sequence[AttributionReport], network: Network) -> Markup:
    """Render the section (HTML, id ``attribution``), with images and audio embedded."""
    spec = network.spec
    return _render(
        "attribution",
        reports=reports,
        genres=network.genres,
        synthetic=network.info.training_data.synthetic,
        seconds=spec.fragment_seconds,
        share=MAX_SHARE,
        cells=CELLS,
        shares=SHARES,
        methods=METHODS,
        clock=clock,
        hertz=hertz,
        verdict=verdict,
        beats_chance=lambda report, gain: gain > _limit(report),
        limit=_limit,
        significance=SIGNIFICANCE_LEVEL,
        ends=_ends,
        curves=_curves,
        frequencies=frequencies(spec),
        bands=[(low, high) for high, low in itertools.pairwise(band_edges(spec, BANDS))],
        large=lambda fragment, importance: data_uri("image/jpeg", overlay(fragment.levels, importance, LARGE)),
        small=lambda fragment: data_uri("image/jpeg", overlay(fragment.levels, fragment.map, SMALL)),
        player=lambda samples: player(samples, spec),
        height_of=lambda hz: height_of(hz, spec),
    )


def hertz(hz: float) -> str:
    """Format a frequency with two significant digits and a unit that stays on the same line."""
    return f"{float(f'{hz:.2g}'):g}\N{NO-BREAK SPACE}Hz" if hz < 1_000 else f"{hz / 1_000:.2g}\N{NO-BREAK SPACE}kHz"


def verdict(report: AttributionReport, gain: float) -> str:
    """Describe whether a map with the given `Faithfulness.gain` is better than chance and than the loudness order."""
    if gain <= _limit(report):
        return "no better than chance"
    return "better than chance" if gain > report.loudest.gain else "better than chance, not than loudness"


def _limit(report: AttributionReport) -> float:
    return limit_of_chance([one.gain for one in report.random], len(report.methods))


def _ends(report: AttributionReport) -> tuple[int, int]:
    """Find the multiples of ten log-odds that bound all curves of a song."""
    values = np.concatenate([[*one.deletion, *one.insertion] for _, _, one in _curves(report)])
    return 10 * math.floor(values.min() / 10), 10 * math.floor(values.max() / 10 + 1)


def _curves(report: AttributionReport) -> list[tuple[str, str, Faithfulness]]:
    """List the curves of a song as (class of the line, name, curve); the reference curves come first and lie below."""
    return [
        *(("random", "", one) for one in report.random),
        ("loud", "", report.loudest),
        *((f"method-{METHODS.index(method.name)}", method.name, method.faithfulness) for method in report.methods),
    ]


FOR, AGAINST = (255, 150, 30), (70, 160, 255)
"""RGB; orange and blue can be distinguished with every kind of colour vision."""

_BLUR = 1 / 75
"""Standard deviation of the blur, as a share of the image's sides; single pixels would not be visible."""

_FULL_PERCENTILE = 99
"""Percentile of the map's absolute values that gets full colour."""


def overlay(levels: np.ndarray, importance: np.ndarray, size: tuple[int, int]) -> bytes:
    """Blend a map with its mel image (levels uint8) and encode it as JPEG of `size` (width, height) pixels."""
    blurred = gaussian_filter(importance.astype(np.float64), [side * _BLUR for side in importance.shape])
    full = np.percentile(np.abs(blurred), _FULL_PERCENTILE)
    strength = np.clip(blurred / full, -1, 1)[..., np.newaxis] if full else np.zeros((*levels.shape, 1))
    brightness = levels[..., np.newaxis] / 255
    tint = np.where(strength > 0, FOR, AGAINST) * (0.3 + 0.7 * brightness)
    grey = 170 * brightness * np.ones(3)
    mixed = grey + np.abs(strength) * (tint - grey)
    buffer = io.BytesIO()
    picture = Image.fromarray(mixed.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


_SPELLINGS = {"guira": "güira", "bongo": "bongó"}
"""Display names of instruments whose spelling a MIDI file cannot hold."""

_CONTROLS = {MUTED: "", OTHER_SOUND: "the same notes with another sound", OTHER_RHYTHM: "the same sound, out of rhythm"}


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of a genre's table; its mean starts at `left` and its range at `low`, in percent of the scale's width."""

    name: str
    control: str
    result: MeanEffect
    left: float
    width: float
    low: float
    span: float


def instruments_section(results: Sequence[Ablation]) -> Markup:
    """Render the section from the results of `ablate_instruments`, with its style embedded."""
    averaged = [(result, mean_effects(result.effects)) for result in results]
    ends = [end for _, rows in averaged for row in rows for end in (row.low, row.high)]
    least, most = min([0.0, *ends]), max([0.0, *ends])
    span = max(most - least, 1e-9)
    tables = [(result, [_row(row, least, span) for row in rows], _findings(rows)) for result, rows in averaged]
    return _render("instruments", tables=tables, zero=100 * -least / span)


def _row(result: MeanEffect, least: float, span: float) -> _Row:
    ends = sorted((0.0, result.log_odds_change))
    left, right, low, high = (100 * (value - least) / span for value in (*ends, result.low, result.high))
    return _Row(
        _SPELLINGS.get(result.instrument, result.instrument),
        _CONTROLS[result.change],
        result,
        left,
        right - left,
        low,
        high - low,
    )


def _findings(rows: Sequence[MeanEffect]) -> list[str]:
    """Describe the results of the table in sentences."""
    muted = [row for row in rows if row.change == MUTED]
    if not muted:
        return []
    first = muted[0]
    if first.log_odds_change >= 0:
        found = "Muting any single instrument does not reduce the mean log-odds of the genre."
    else:
        found = _most(first) + ("" if first.high < 0 else ", though not in every song")
        found += f". Without it, {first.correct} of {first.songs} songs are still classified as {first.genre}."
    return [found, *_controls(rows, first)]


def _most(row: MeanEffect) -> str:
    kind = "a defining instrument" if row.defining else "not a defining instrument"
    return f"Muting the {_SPELLINGS.get(row.instrument, row.instrument)} ({kind}) has the largest effect"


def _controls(rows: Sequence[MeanEffect], first: MeanEffect) -> list[str]:
    """Describe the results of the control, made with the defining instrument whose muting has the largest effect."""
    changed = [row for row in rows if row.change != MUTED]
    if not changed:
        return []
    muted = next(row for row in rows if row.change == MUTED and row.instrument == changed[0].instrument)
    if muted.log_odds_change >= 0:
        return ["Muting the defining instruments has no effect, so the controls are not informative."]
    controls = [_control(row, muted) for row in changed]
    if muted == first:
        return controls
    name = _SPELLINGS.get(muted.instrument, muted.instrument)
    return [f"Among the defining instruments, the {name} has the largest effect.", *controls]


def _control(row: MeanEffect, muted: MeanEffect) -> str:
    control = "With another sound" if row.change == OTHER_SOUND else "Out of rhythm"
    if row.log_odds_change >= 0:
        return f"{control}, there is no loss."
    share = row.log_odds_change / muted.log_odds_change
    if share >= 1:
        return f"{control}, the loss is larger than without it."
    return f"{control}, the loss is {percent(share)} of the loss without it."


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
    return _render(
        "neighbours",
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
        with_audio=sum(bool(excerpt.mp3) for excerpt in sounds.values()),
        markers=MARKERS,
        size=PICTURE_SIZE,
        map_size=(_WIDTH, _HEIGHT),
        clock=clock,
        data_uri=data_uri,
    )


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
