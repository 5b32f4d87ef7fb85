"""The explanation of a model as one self-contained page, section by section."""

from __future__ import annotations

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
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.excerpts import PICTURE_SIZE, excerpts, mp3
from tumbao.serving.explain.activation_maximization import N_PERMUTATIONS, Filter, MaximizedImage
from tumbao.serving.explain.attribution import BANDS, CELLS, SHARES, SIGNIFICANCE_LEVEL, Faithfulness
from tumbao.serving.explain.attribution_report import MAX_SHARE, METHODS, AttributionReport, band_edges
from tumbao.serving.explain.library_context import LibraryContext, nearest, typical
from tumbao.serving.explain.network import Network
from tumbao.serving.formatting import clock
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.page import data_uri, frequencies, height_of, template, write_page

PAGE = "index.html"  # name of the file

_HEADING = re.compile(r'<h2 id="([^"]+)">([^<]+)')


def write_explanation(
    info: ModelInfo, sections: Sequence[Markup], rejected: Sequence[tuple[str, str]], seed: int, out: Path
) -> Path:
    """Write the page to the folder `out`, which is created if missing, and return the page's path."""
    headings = [found for section in sections for found in _HEADING.findall(section)]
    contents = [(name, Markup(text).unescape().strip()) for name, text in headings]
    page = _render("template", info=info, sections=sections, contents=contents, rejected=rejected, seed=seed)
    write_page(out / PAGE, page)
    return out / PAGE


def _render(name: str, **values: Any) -> Markup:
    return Markup(template(Path(__file__).parent, f"{name}.html.j2").render(clock=clock, data_uri=data_uri, **values))


def _section(name: str, spec: MelSpec, **values: Any) -> Markup:
    """Render a section (HTML, its id is its name) that has mel images and players."""
    return _render(
        name,
        spec=spec,
        seconds=spec.fragment_seconds,
        frequencies=frequencies(spec),
        picture=lambda levels: data_uri("image/png", to_png(levels, palette(spec))),
        player=lambda samples: player(samples, spec),
        **values,
    )


_COMPRESSION = 0.75  # 48 kbit/s at 22,050 Hz keep audio up to 10 kHz; half that rate would end at 6 kHz


def player(samples: np.ndarray, spec: MelSpec) -> str:
    """Encode mono samples in [-1, 1] as the data URI of an MP3."""
    return data_uri("audio/mpeg", mp3(samples, spec.sample_rate_hz, _COMPRESSION))


ENOUGH = 0.9  # a generated image counts as its genre above this probability


def genres_section(images: Sequence[MaximizedImage], network: Network, reason: str = "") -> Markup:
    """Render the generated images, or the reason why there are none."""
    synthetic = network.info.training_data.synthetic
    return _section("genres", network.spec, images=images, reason=reason, synthetic=synthetic, enough=ENOUGH)


def filters_section(filters: Sequence[Filter], network: Network, source: str = "", reason: str = "") -> Markup:
    """Render the filters selected by the library `source`, or by generated images; or the reason why there are none."""
    return _section(
        "filters",
        network.spec,
        filters=filters,
        source=source,
        permutations=N_PERMUTATIONS,
        significance=SIGNIFICANCE_LEVEL,
        reason=reason,
        synthetic=network.info.training_data.synthetic,
    )


def attribution_section(reports: Sequence[AttributionReport], network: Network) -> Markup:
    """Render the attribution reports of songs."""
    spec = network.spec
    return _section(
        "attribution",
        spec,
        reports=reports,
        genres=network.genres,
        synthetic=network.info.training_data.synthetic,
        share=MAX_SHARE,
        cells=CELLS,
        shares=SHARES,
        methods=METHODS,
        hertz=hertz,
        verdict=verdict,
        significance=SIGNIFICANCE_LEVEL,
        ends=_ends,
        curves=_curves,
        bands=[(low, high) for high, low in itertools.pairwise(band_edges(spec, BANDS))],
        overlay=overlay,
        height_of=lambda hz: height_of(hz, spec),
    )


def hertz(hz: float) -> str:
    """Format a frequency with two significant digits and a unit that stays on the same line."""
    return f"{float(f'{hz:.2g}'):g}\N{NO-BREAK SPACE}Hz" if hz < 1_000 else f"{hz / 1_000:.2g}\N{NO-BREAK SPACE}kHz"


def verdict(report: AttributionReport, gain: float) -> str:
    """Describe whether a map with the given `Faithfulness.gain` is better than chance and than the loudness order."""
    if gain <= report.limit:
        return "no better than chance"
    return "better than chance" if gain > report.loudest.gain else "better than chance, not than loudness"


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

_BLUR = 1 / 75  # standard deviation of the blur, as a share of the image's sides; single pixels would not be visible
_FULL_PERCENTILE = 99  # percentile of the map's absolute values that gets full colour


def overlay(levels: np.ndarray, importance: np.ndarray, width: int, height: int) -> str:
    """Blend a map with its mel image (levels uint8) and encode it as the data URI of a JPEG."""
    blurred = gaussian_filter(importance.astype(np.float64), [side * _BLUR for side in importance.shape])
    full = np.percentile(np.abs(blurred), _FULL_PERCENTILE)
    strength = np.clip(blurred / full, -1, 1)[..., np.newaxis] if full else np.zeros((*levels.shape, 1))
    brightness = levels[..., np.newaxis] / 255
    tint = np.where(strength > 0, FOR, AGAINST) * (0.3 + 0.7 * brightness)
    grey = 170 * brightness * np.ones(3)
    mixed = grey + np.abs(strength) * (tint - grey)
    buffer = io.BytesIO()
    image = Image.fromarray(mixed.round().astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    image.save(buffer, "JPEG", quality=82)
    return data_uri("image/jpeg", buffer.getvalue())


NEIGHBOURS = 4  # number of neighbours shown per fragment

MAX_MEDIA_BYTES = 10_000_000
"""Approximate limit for audio and images in the section; further fragments are on the map without sound."""

_BYTES_PER_SECOND, _PICTURE_BYTES = 4_000, 20_000
"""Approximate size of an excerpt's audio per second, and of its image, as embedded in the page."""


def neighbours_section(context: LibraryContext, spec: MelSpec) -> Markup:
    """Render the neighbours of songs and the map of the library (two headings), with style and script."""
    library, genres, vectors = context.library, context.library.genres, context.activations.vectors
    points = _points(context)
    cards = list(zip(points[len(library.songs) :], _neighbours(context), strict=True))
    typicals = [typical(vectors, library.labels, genre) for genre in range(len(genres))]
    shown = [*(row for _, found in cards for row, _ in found), *(row for row in typicals if row is not None)]
    sounds = excerpts(library, context.catalog.songs, _players(shown, context, spec), spec)
    return _render(
        "neighbours",
        context=context,
        library=library,
        genres=genres,
        synthetic=context.catalog.synthetic,
        cards=cards,
        typicals=[row for row in typicals if row is not None],
        points=points,
        mistakes=context.mistakes.tolist(),
        sounds=sounds,
        unshown=sounds.keys() - set(shown),
        with_audio=sum(bool(excerpt.mp3) for excerpt in sounds.values()),
        size=PICTURE_SIZE,
    )


def _neighbours(context: LibraryContext) -> list[list[tuple[int, float]]]:
    """Find the neighbours of each query among the training fragments of other songs, as (row, distance)."""
    if context.query_activations is None:
        return []
    library, found = context.library, []
    files = [Path(file).resolve() for file in library.files]
    for query, vector in zip(context.queries, context.query_activations.vectors, strict=True):
        own = {song for file, song in zip(files, library.songs, strict=True) if file == query.path.resolve()}
        usable = context.training & np.array([song not in own for song in library.songs])
        found.append(nearest(vector, context.activations.vectors, library.songs, NEIGHBOURS, usable))
    return found


def _players(shown: Iterable[int], context: LibraryContext, spec: MelSpec) -> list[int]:
    """Choose the rows with audio: those `shown`, mistakes, then first fragments of songs, and so on."""
    most = int(MAX_MEDIA_BYTES // (spec.fragment_seconds * _BYTES_PER_SECOND + _PICTURE_BYTES))
    rest = np.argsort(context.library.numbers, kind="stable").tolist()
    return list(dict.fromkeys([*shown, *context.mistakes.tolist(), *rest]))[:most]


def _points(context: LibraryContext) -> list[dict[str, Any]]:
    """Describe the fragments of the library, and then the queries, which have no row."""
    library, queries, count = context.library, context.queries, len(context.library.songs)
    names = [*library.songs, *(one.name for one in queries)]
    starts = [*library.starts.tolist(), *(one.start_seconds for one in queries)]
    known = filter(None, (context.activations, context.query_activations))
    shares = np.concatenate([one.probabilities for one in known])
    points = []
    for index, (x, y) in enumerate(context.positions.tolist()):
        answer, inside = int(shares[index].argmax()), index < count
        points.append(
            {
                "x": x,
                "y": y,
                "genre": int(library.labels[index]) if inside else answer,
                "answer": answer,
                "probability": float(shares[index, answer]),
                "name": names[index],
                "start": clock(starts[index]),
                "row": index if inside else None,
                "training": inside and bool(context.training[index]),
            }
        )
    return points
