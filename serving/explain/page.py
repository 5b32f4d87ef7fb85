"""The explanation of a model as one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from tumbao.serving.model_info import ModelInfo
from tumbao.serving.page import template, write_page

PAGE = "index.html"
"""Name of the file."""

_HEADING = re.compile(r'<h2 id="([^"]+)">([^<]+)')


def write_explanation(
    info: ModelInfo, sections: Sequence[Markup], unread: Sequence[tuple[str, str]], seed: int, out: Path
) -> Path:
    """Write the page to the folder `out`, which is created if missing, and return the page's path.

    Headings of the second level with ids in `sections` become the table of contents. `unread` are songs that could not
    be explained, with the reasons. `seed` is the one used for all sections.
    """
    headings = [found for section in sections for found in _HEADING.findall(section)]
    page = template(Path(__file__).parent).render(
        info=info,
        sections=sections,
        contents=[(name, Markup(text).unescape().strip()) for name, text in headings],
        unread=unread,
        seed=seed,
    )
    write_page(out / PAGE, page)
    return out / PAGE
