"""Rendering of a model card as Markdown, and of the same text as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from tumbao.components.model_card.data import EXAMPLES, Card, Mistake
from tumbao.schema.record import SPLITS
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


PRETRAINED = {
    "vgg16": "The backbone begins with the ImageNet weights of VGG-16 (Simonyan & Zisserman), which the Visual "
    "Geometry Group, Oxford, publishes under a Creative Commons Attribution licence: credit them.",
    "musicnn": "The backbone has the weights of musicnn (Pons & Serra, Universitat Pompeu Fabra), under the ISC "
    "licence.",
    "": "The network contains no weights of others.",
}
"""Statement on the backbone's weights, by `Backbone.pretrained`."""

RANDOM = "The backbone’s weights are random: this model only tests the pipeline, do not use it."
"""Statement for random weights."""

UNLEARNED = "; but the backbone of this model has random weights instead"
TUNED = "; and fine-tuned: the last epochs also trained the backbone’s last block"
"""Additions to the network's summary, which describes a pretrained and unchanged backbone."""


def words(card: Card) -> dict[str, Any]:
    """Return the variables of the templates."""
    songs = {split: sum(one.songs[split] for one in card.music) for split in SPLITS}
    mistakes = list(_mistakes(card))
    scores, pretrained, digest = (
        card.scores,
        card.model_spec.backbone.pretrained,
        card.info.versions["backbone_weights"],
    )
    is_pretrained, tuned = digest != "random", card.fine_tuned
    summary = (
        card.model_spec.summary + ("" if is_pretrained or not pretrained else UNLEARNED) + (TUNED if tuned else "")
    )
    origin = f"SHA-256 {digest}{', before the fine-tuning' if tuned else ''}"
    return {
        "card": card,
        "synthetic": card.info.training_data.synthetic,
        "leaky": card.info.split.leaky,
        "library": card.info.training_data.library,
        "splits": SPLITS,
        "totals": songs,
        "pretrained": PRETRAINED[pretrained] if is_pretrained or not pretrained else RANDOM,
        "network": summary,
        "weights": origin if is_pretrained else "random" if pretrained else "no weights of others",
        "split_sentence": _split_sentence(card),
        "shared_artists": _shared_artists(card),
        "artists": any(one.artists for one in card.music),
        "amounts": _amounts(card),
        "fewest_tested": min(card.answers, key=lambda one: one.songs),
        "ingested": len({one["entry"] for one in card.ingested}),
        "best_epoch": card.history["epochs"][card.history["best_epoch"] - 1],
        "right": int(scores.confusion.trace()),
        "main_right": int(scores.main.confusion.trace()) if scores.main else 0,
        "genres": list(zip(card.answers, scores.genres, card.recalls, strict=True)),
        "missed": {genre: _missed(card, label) for label, genre in enumerate(card.info.genres)},
        "mistakes": mistakes,
        "left_out": sum(len(one.mistakes) for one in card.answers) - len(mistakes),
    }


def _amounts(card: Card) -> str:
    counts = {one.genre: one.all_songs for one in card.music}
    songs, least, most = sum(counts.values()), min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[least] == counts[most]:
        return f"All genres have the same number of songs: {counts[most]}."
    return (
        f"The genre with the fewest songs is {least}: {counts[least]} of {songs} ({percent(counts[least] / songs)}); "
        f"the one with the most is {most}: {counts[most]} ({percent(counts[most] / songs)})."
    )


def _split_sentence(card: Card) -> str:
    if card.info.split.leaky:
        return "Split by fragment: it is leaky, since fragments of one song are in several splits."
    if card.catalog["method"] == "given":
        return "The library defines the split: it is not leaky, no song is in two splits."
    unit = "no artist and no song" if card.info.split.protocol == "artist" else "no song"
    return f"Split by {card.info.split.protocol}: it is not leaky, {unit} is in two splits."


def _shared_artists(card: Card) -> str:
    if count := len(card.catalog["artists_on_two_sides"]):
        artists = "One artist is" if count == 1 else f"{count} artists are"
        return f"{artists} in several splits, so the model may recognise these voices from training."
    if any(one.artists for one in card.music):
        return "No artist whose name is known is in several splits."
    return "The artists are not known, so some may be in several splits."


def _missed(card: Card, label: int) -> str:
    """Describe how many fragments of a genre are misclassified, as which genre, and with what confidence."""
    row, evaluation = card.scores.confusion[label], card.evaluation
    wrong, leaky = int(row.sum() - row[label]), " (leaky)" if card.info.split.leaky else ""
    found = f"of its {row.sum()} fragments {wrong or 'none'} {'are' if wrong > 1 else 'is'}{leaky}"
    parts = []
    for answer in sorted(np.flatnonzero(row), key=lambda answer: -row[answer]):
        if answer != label:
            given = (evaluation.labels == label) & (evaluation.probabilities.argmax(axis=1) == answer)
            sure = percent(float(evaluation.probabilities[given, answer].mean()))
            parts.append(f"{row[answer]} as {evaluation.genres[answer]} with a probability of {sure} on average")
    return f"{found}: {', '.join(parts)}" if parts else found


def _mistakes(card: Card) -> Iterator[tuple[str, str, Mistake]]:
    """Yield the songs shown: by name only if the library is synthetic, so that no private library is disclosed."""
    for one in card.answers:
        for mistake in one.mistakes[:EXAMPLES]:
            yield mistake.song if card.info.training_data.synthetic else f"{mistake.number}", one.genre, mistake
