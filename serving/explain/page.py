"""What a model learned, as one self-contained page."""

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
    """Write the page.

    Parameters
    ----------
    info : ModelInfo
        What the model says about itself.
    sections : sequence of Markup
        Its parts, in their order; their headings of the second level, with ids, are the table of contents.
    unread : sequence of (str, str)
        Songs that could not be explained, and why.
    seed : int
        With which all was made.
    out : Path
        Folder to write to; made if it is not there.

    Returns
    -------
    path : Path
        The page.
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
