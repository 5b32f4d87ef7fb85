"""Rendering of a model card as Markdown, and of the same text as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from tumbao.components.model_card.data import Card
from tumbao.components.model_card.wording import words
from tumbao.serving.formatting import decimal, megabytes, percent
from tumbao.serving.page import template

HTML_FILE, MARKDOWN_FILE = "model_card.html", "model_card.md"
"""Names of the files."""

_BREAKS = re.compile(r"[\r\n\t\v\f\x1c-\x1e\x85\u2028\u2029]+")
_MARKS = re.compile(r"([\\`*_\[\]<>|~$]|&(?=#?\w+;))")


def to_markdown(card: Card) -> str:
    """Render a card as GitHub's Markdown, with front matter for Hugging Face.

    Text from the library is escaped, whatever characters it has.
    """
    return _rendered("front.md.j2", card) + _rendered("template.md.j2", card)


def to_html(card: Card) -> str:
    """Render a card as HTML that needs no other file and no network."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    head, _, rest = _rendered("template.md.j2", card).partition("\n## ")
    parts = [parser.parse(head), parser.parse(f"## {rest}")]
    pages = [Markup(parser.renderer.render(list(_framed(tokens)), parser.options, {})) for tokens in parts]
    return template(Path(__file__).parent).render(
        title=f"Model card: {card.info.name}, {card.info.training_data.library}",
        head=pages[0],
        body=pages[1],
        sections=[
            (_title(text), _identifier(text))
            for token, text in zip(parts[1], parts[1][1:], strict=False)
            if token.type == "heading_open" and token.tag == "h2"
        ],
    )


def _rendered(name: str, card: Card) -> str:
    """Render a template with Markdown's escapes in place of Jinja's HTML escapes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(_plain(str(value))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"decimal": decimal, "megabytes": megabytes, "percent": percent}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    text = environment.get_template(name).render(words(card))
    return re.sub(r"\n{3,}", "\n\n", text)


def _plain(text: str) -> str:
    return _MARKS.sub(r"\\\1", _BREAKS.sub(" ", text))


def _framed(tokens: Sequence[Token]) -> Iterator[Token]:
    """Add an id to headings, a scrolling frame to tables, and a header cell to each row."""
    heading = ""
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = _title(tokens[i + 1])
            token.attrSet("id", _identifier(tokens[i + 1]))
        elif token.type == "tr_open" and tokens[i + 1].type == "td_open":
            tokens[i + 1].attrSet("scope", "row")
            tokens[i + 1].tag = tokens[i + 3].tag = "th"
        elif token.type == "table_open":
            frame = f'<div class="scroll boxed" tabindex="0" role="region" aria-label="{escape(heading)}">'
            yield Token("html_block", "", 0, content=frame)
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>")


def _title(inline: Token) -> str:
    """Return a heading's text, without the mark of a synthetic library after it."""
    children = takewhile(lambda child: child.type != "em_open", inline.children or [])
    return "".join(child.content for child in children).strip()


def _identifier(inline: Token) -> str:
    return re.sub(r"[^a-z0-9]+", "-", _title(inline).lower()).strip("-")
