"""The page's section on why songs get their genres."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from tumbao.serving.explain.attribution import BANDS
from tumbao.serving.explain.attribution_report import WAYS, Why
from tumbao.serving.explain.faithfulness import CELLS, LUCK, SHARES, Faithfulness, limit_of_chance
from tumbao.serving.explain.media import player
from tumbao.serving.explain.network import Network
from tumbao.serving.explain.overlay import overlay
from tumbao.serving.explain.salient_audio import LARGEST_SHARE, band_edges
from tumbao.serving.formatting import clock
from tumbao.serving.mel_axis import frequencies, height_of
from tumbao.serving.page import data_uri, template

LARGE, SMALL = (600, 400), (300, 150)
"""Width and height of the images, in pixels."""


def section(whys: Sequence[Why], network: Network) -> Markup:
    """Render the section (HTML, id ``why``), with images and audio embedded."""
    spec = network.spec
    page = template(Path(__file__).parent, "why.html.j2")
    return Markup(
        page.render(
            whys=whys,
            genres=network.genres,
            synthetic=network.info.training_data.synthetic,
            seconds=spec.fragment_seconds,
            share=LARGEST_SHARE,
            cells=CELLS,
            shares=SHARES,
            ways=WAYS,
            clock=clock,
            hertz=hertz,
            verdict=verdict,
            beats_chance=_beats_chance,
            limit=_limit,
            luck=LUCK,
            ends=_ends,
            curves=_curves,
            frequencies=frequencies(spec),
            bands=[(low, high) for high, low in itertools.pairwise(band_edges(spec, BANDS))],
            large=lambda piece, importance: data_uri("image/jpeg", overlay(piece.levels, importance, LARGE)),
            small=lambda piece: data_uri("image/jpeg", overlay(piece.levels, piece.map, SMALL)),
            player=lambda samples: player(samples, spec),
            height_of=lambda hz: height_of(hz, spec),
        )
    )


def hertz(hz: float) -> str:
    """Format a frequency with two significant digits and a unit that stays on the same line."""
    return f"{float(f'{hz:.2g}'):g}\N{NO-BREAK SPACE}Hz" if hz < 1_000 else f"{hz / 1_000:.2g}\N{NO-BREAK SPACE}kHz"


def verdict(why: Why, gain: float) -> str:
    """Describe whether a map with the given `Faithfulness.gain` is better than chance and than the loudness order."""
    if not _beats_chance(why, gain):
        return "no better than chance"
    return "better than chance" if gain > why.loudest.gain else "better than chance, not than loudness"


def _beats_chance(why: Why, gain: float) -> bool:
    return gain > _limit(why)


def _limit(why: Why) -> float:
    return limit_of_chance([one.gain for one in why.random], len(why.methods))


def _ends(why: Why) -> tuple[int, int]:
    """Find the multiples of ten log-odds that bound all curves of a song."""
    values = np.concatenate([[*one.deletion, *one.insertion] for _, _, one in _curves(why)])
    return 10 * math.floor(values.min() / 10), 10 * math.floor(values.max() / 10 + 1)


def _curves(why: Why) -> list[tuple[str, str, Faithfulness]]:
    """List the curves of a song as (class of the line, name, curve); the reference curves come first and lie below."""
    return [
        *(("random", "", one) for one in why.random),
        ("loud", "", why.loudest),
        *((f"way-{WAYS.index(method.name)}", method.name, method.faithfulness) for method in why.methods),
    ]
