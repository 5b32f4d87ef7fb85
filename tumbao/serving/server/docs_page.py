"""The OpenAPI document as a page that loads nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid; padding-top: 1rem; font-size: 1.2rem }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9rem }
pre { overflow-x: auto }
td, th { text-align: left; vertical-align: top; padding: 0.1rem 1rem 0.1rem 0 }
"""


def docs_page(document: dict[str, Any]) -> str:
    """Write the page.

    Parameters
    ----------
    document : dict
        An OpenAPI document.

    Returns
    -------
    html : str
        Operations with their parameters and responses, then the shapes of what comes.
    """
    info = document["info"]
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>',
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>',
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}",
            ' For programs: <a href="openapi.json">openapi.json</a>.</p>',
            *_operations(document),
            *_shapes(document),
            "</html>",
        ]
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(operation.get('description', operation.get('summary', '')))}</p>"
            for parameter in operation.get("parameters", []):
                said = escape(parameter.get("description", ""))
                yield f"<p><code>{escape(parameter['name'])}</code> ({parameter['in']}) {said}</p>"
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Takes <code>{escape(kind)}</code></p><pre>{_json(body['schema'])}</pre>"
            yield "<table><tr><th>status</th><th>says</th><th></th></tr>"
            for status, response in operation["responses"].items():
                gives = ", ".join(_content(*item) for item in response.get("content", {}).items())
                yield f"<tr><td>{status}</td><td>{gives}</td><td>{escape(response['description'])}</td></tr>"
            yield "</table>"


def _content(kind: str, content: dict[str, Any]) -> str:
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else f"<code>{escape(kind)}</code>"


def _shapes(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))}</p>'
        yield f"<pre>{_json(schema.get('properties', {}))}</pre>"


def _json(values: dict[str, Any]) -> str:
    return escape(json.dumps(values, indent=2, ensure_ascii=False))
