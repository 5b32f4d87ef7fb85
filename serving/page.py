"""What our self-contained pages share: their template's surroundings, pictures inside the page, and whole files."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.serving import formatting
from tumbao.serving.style import DARK, LIGHT


def template(folder: Path, name: str = "template.html.j2") -> jinja2.Template:
    """Read a page's template.

    Parameters
    ----------
    folder : pathlib.Path
        Where it lies. It may include ``look.css.j2``, the look of all pages.
    name : str
        Its file.

    Returns
    -------
    jinja2.Template
        Escapes what it is given, refuses what it is not given, and knows `LIGHT`, `DARK` and the filters of `words`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"light": LIGHT, "dark": DARK}
    environment.filters |= {
        "decimal": formatting.decimal,
        "duration": formatting.duration,
        "megabytes": formatting.megabytes,
        "percent": formatting.percent,
    }
    return environment.get_template(name)


def data_uri(kind: str, content: bytes) -> str:
    """Put a picture or a sound into an address, so that the page needs no other file.

    Parameters
    ----------
    kind : str
        Its media type, such as ``image/png``.
    content : bytes
        The picture or the sound.

    Returns
    -------
    str
        For the ``src`` of an image or a player.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_page(path: Path, page: str) -> None:
    """Write a page that is complete or not there.

    Parameters
    ----------
    path : pathlib.Path
        Its file; folders are made.
    page : str
        Its HTML. What UTF-8 cannot hold, as names of files can, is written out with backslashes.
    """
    write_whole(path, page.encode("utf-8", errors="backslashreplace"))
