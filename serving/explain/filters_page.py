"""The page's section on filters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from tumbao.serving.explain.filters import DEALS, LUCK, Filter
from tumbao.serving.explain.media import picture, player
from tumbao.serving.explain.network import Network
from tumbao.serving.page import template


def section(filters: Sequence[Filter], network: Network, source: str = "", trouble: str = "") -> Markup:
    """Render the section (HTML, id ``filters``), with images and audio embedded.

    `source` names the library whose fragments selected the filters; it is empty if generated images did. `trouble` is
    the reason if there are no filters.
    """
    page = template(Path(__file__).parent, "filters.html.j2").render(
        filters=filters,
        grouped=[(layer, list(row)) for layer, row in itertools.groupby(filters, lambda one: one.layer)],
        of_library=bool(source),
        source=source,
        deals=DEALS,
        luck=LUCK,
        trouble=trouble,
        learned=network.info.versions.get("backbone_weights") != "random",
        tuned=network.fine_tuned,
        synthetic=network.info.training_data.synthetic,
        picture=lambda levels: picture(levels, network.spec),
        player=lambda samples: player(samples, network.spec),
    )
    return Markup(page)
