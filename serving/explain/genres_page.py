"""The page's section on what genres sound like to the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from tumbao.serving.explain.activation_maximization import Dream
from tumbao.serving.explain.media import picture, player
from tumbao.serving.explain.network import Network
from tumbao.serving.mel_axis import frequencies
from tumbao.serving.page import template

ENOUGH = 0.9
"""A generated image counts as its genre above this probability."""


def section(dreams: Sequence[Dream], network: Network, trouble: str = "") -> Markup:
    """Render the section (HTML, id ``genres``), with images and audio embedded.

    `dreams` are grouped by genre; `trouble` is the reason if there are none.
    """
    spec = network.spec
    page = template(Path(__file__).parent, "genres.html.j2").render(
        dreams=dreams,
        trouble=trouble,
        synthetic=network.info.training_data.synthetic,
        enough=ENOUGH,
        convincing=sum(dream.seen > ENOUGH for dream in dreams),
        surviving=sum(dream.heard > ENOUGH for dream in dreams),
        noisy=[dream.genre for dream in dreams if not dream.origin and dream.before > ENOUGH],
        distance=float(np.mean([dream.distance_db for dream in dreams])) if dreams else 0.0,
        seconds=spec.fragment_seconds,
        frequencies=frequencies(spec),
        picture=lambda levels: picture(levels, spec),
        player=lambda samples: player(samples, spec),
    )
    return Markup(page)
