"""Shared code of the self-contained HTML pages: templates, embedded media and atomic writes."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.serving import formatting
from tumbao.serving.style import DARK, LIGHT


def template(folder: Path, name: str = "template.html.j2") -> jinja2.Template:
    """Load a page's Jinja template."""
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
    """Encode a picture or sound of a media type, such as ``image/png``, as a data URI for a ``src``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_page(path: Path, page: str) -> None:
    """Write a page atomically; parent folders are created."""
    write_whole(path, page.encode("utf-8", errors="backslashreplace"))
