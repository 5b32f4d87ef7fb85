"""The OpenAPI document as an HTML page; FastAPI's own page loads scripts from another host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid; padding-top: 1rem; font-size: 1.2rem }
code { font-family: ui-monospace, monospace; font-size: 0.9rem }
table { margin: 0.5rem 0 }
td, th { text-align: left; vertical-align: top; padding: 0.1rem 1rem 0.1rem 0 }
"""


def docs_page(document: dict[str, Any]) -> str:
    """Render an OpenAPI document: operations with parameters and responses, followed by the schemas."""
    info = document["info"]
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>',
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>',
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}",
            ' Machine-readable: <a href="openapi.json">openapi.json</a>.</p>',
            *_operations(document),
            *_schemas(document),
            "</html>",
        ]
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{_text(operation.get('description', ''))}</p>"
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Request body, <code>{escape(kind)}</code>:</p>"
                yield _table((name, _type(schema), "") for name, schema in body["schema"]["properties"].items())
            yield _table(
                (f"{one['name']} ({one['in']})", _type(one["schema"]), one.get("description", ""))
                for one in operation.get("parameters", [])
            )
            yield "<p>Responses:</p>"
            yield _table(
                (status, _contents(response.get("content", {})), response["description"])
                for status, response in operation["responses"].items()
            )


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{_text(schema.get("description", ""))}</p>'
        fields = schema.get("properties", {}).items()
        yield _table((field, _type(values), values.get("description", "")) for field, values in fields)


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = (f"<tr><th>{escape(name)}<td>{kind}<td>{_text(text)}" for name, kind, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _contents(contents: dict[str, Any]) -> str:
    return ", ".join(_type(content.get("schema", {})) or escape(kind) for kind, content in contents.items())


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value, with links to schemas; empty if it can be anything."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(schema.get("format", schema.get("type", "")))


def _text(text: str) -> str:
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))
