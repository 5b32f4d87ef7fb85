"""The section of the page with filters."""

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
    """Write the section.

    Parameters
    ----------
    filters : sequence of Filter
        Block by block.
    network : Network
        Whose they are.
    source : str
        Name of the library whose fragments told which filters; empty if dreams did.
    trouble : str
        Why there are none.

    Returns
    -------
    Markup
        One ``section`` of HTML with the id ``filters``; pictures and sound are inside.
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
