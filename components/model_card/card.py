"""The data of a model card, from the artefacts of one run, and its rendering as Markdown and as one HTML page."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import tensorflow as tf
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from tumbao.components.evaluation.decision import Decision
from tumbao.components.evaluation.metrics import (
    Evaluation,
    GenreScore,
    Interval,
    Scores,
    SongMetrics,
    by_song,
    interval_over_songs,
    scores,
    wilson_interval,
)
from tumbao.components.evaluation.run_data import Lines, MobileCheck, SplitCount, count_by_split
from tumbao.components.ingest.tags import artist_key
from tumbao.schema.record import SPLITS
from tumbao.serving.calibration import song_probabilities
from tumbao.serving.formatting import decimal, megabytes, percent
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.page import template
from tumbao.trainer.models.spec import ModelSpec

HTML_FILE, MARKDOWN_FILE = "model_card.html", "model_card.md"

EXAMPLES = 5
"""Number of misclassified songs shown for a genre, the most confident first, as these mislead most."""

PACKAGES = (
    *("tumbao", "tfx", "tensorflow", "keras", "tensorflow-model-analysis", "tensorflow-data-validation", "apache-beam"),
    *("ai-edge-litert", "ai-edge-quantizer", "librosa", "numpy"),
)
"""Packages whose versions are shown in the card and the report."""

_BREAKS = re.compile(r"[\r\n\t\v\f\x1c-\x1e\x85\u2028\u2029]+")
_MARKS = re.compile(r"([\\`*_\[\]<>|~$]|&(?=#?\w+;))")


class Source(NamedTuple):
    """An artefact of the model's run.

    `identity` is its name or number in ML Metadata; `sha256` is over the lines that ``sha256sum`` prints for its files,
    sorted by path.
    """

    role: str
    type_name: str
    identity: str
    files: int
    size_bytes: int
    sha256: str


class Mistake(NamedTuple):
    """A misclassified song with the calibrated probabilities of the predicted genre and of the true one."""

    song: str
    number: int  # in SongEvaluation's predictions
    truth: str
    answer: str
    confidence: float
    of_truth: float
    wrong_fragments: int
    fragments: int


class Genre(NamedTuple):
    """Music and test results of one genre; an interval is None where nothing was tested."""

    counts: Mapping[str, SplitCount]
    artists: int
    unsigned: int  # songs without a known artist
    largest: int  # songs of the artist with the most
    mistakes: list[Mistake]  # the most confident first
    song_recall: Interval | None
    score: GenreScore
    recall: Interval | None

    @property
    def songs(self) -> int:
        """Number of songs."""
        return sum(count.songs for count in self.counts.values())

    @property
    def taken_for(self) -> list[tuple[str, int]]:
        """Wrong genres with their number of songs, the most frequent first."""
        return Counter(one.answer for one in self.mistakes).most_common()


@dataclass(frozen=True, eq=False)
class Card:
    """All data of a card.

    `artists` maps songs to artists, empty where not known; `accuracy` and `loss` are the Evaluator's.
    """

    info: ModelInfo
    model_spec: ModelSpec
    fine_tuned: bool
    catalog: Mapping[str, Any]
    ingested: Lines
    rejected: Lines
    artists: Mapping[str, str]
    predictions: Lines
    songs: SongMetrics
    decision: Decision
    accuracy: float
    loss: float
    history: Mapping[str, Any]
    mobile_check: MobileCheck
    blessed: bool
    sources: tuple[Source, ...]
    versions: Mapping[str, str]

    @cached_property
    def evaluation(self) -> Evaluation:
        """The predictions on the test split, by fragment."""
        return Evaluation.of_test_split(self.info.genres, self.predictions)

    @cached_property
    def scores(self) -> Scores:
        """Metrics of the test fragments."""
        return scores(self.evaluation)

    @cached_property
    def genres(self) -> list[Genre]:
        """The genres, in the order of the model's outputs."""
        counts = count_by_split(self.ingested, self.info.genres)
        mistakes = sorted(self._mistakes(), key=lambda one: -one.confidence)
        labels, predicted = self.evaluation.labels, self.evaluation.probabilities.argmax(axis=1)
        genres = []
        for label, genre in enumerate(self.info.genres):
            songs = {part["song"] for part in self.ingested if part["genre"] == genre and part["fragments"]}
            signed = Counter(artist_key(self.artists.get(song, "")) for song in songs)
            unsigned = signed.pop("", 0)
            own, tested = [one for one in mistakes if one.truth == genre], counts[genre]["test"].songs
            fragments = labels == label
            right = predicted[fragments] == label
            genres.append(
                Genre(
                    counts[genre],
                    len(signed),
                    unsigned,
                    max(signed.values(), default=0),
                    own,
                    wilson_interval(tested - len(own), tested) if tested else None,
                    self.scores.genres[label],
                    interval_over_songs(right, self.evaluation.songs[fragments]) if fragments.any() else None,
                )
            )
        return genres

    def _mistakes(self) -> Iterator[Mistake]:
        """Classify the test songs as the product does."""
        songs = by_song(one for one in self.predictions if one["split"] == "test")
        numbers = {one["song"]: one["number"] for one in self.predictions}
        answers = song_probabilities([own for own, _ in songs.values()], self.songs.calibration.temperature)
        for (name, (own, truth)), answer in zip(songs.items(), answers, strict=True):
            genre = int(answer.argmax())
            if genre != truth:
                yield Mistake(
                    song=name,
                    number=numbers[name],
                    truth=self.info.genres[truth],
                    answer=self.info.genres[genre],
                    confidence=float(answer[genre]),
                    of_truth=float(answer[truth]),
                    wrong_fragments=int((own.argmax(axis=1) != truth).sum()),
                    fragments=len(own),
                )


def content(folder: str) -> tuple[int, int, str]:
    """Return number, bytes and SHA-256 of all files in a folder, on any of TensorFlow's file systems."""
    root = folder.rstrip("/")
    paths = [f"{parent.rstrip('/')}/{name}" for parent, _, names in tf.io.gfile.walk(root) for name in names]
    lines, size = hashlib.sha256(), 0
    for path in sorted(paths, key=str.encode):
        digest = hashlib.sha256()
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
        lines.update(f"{digest.hexdigest()}  {path[len(root) + 1 :]}\n".encode())
    return len(paths), size, lines.hexdigest()


def fine_tuned(architecture: str) -> bool:
    """Return whether VGG-16's fifth block is trainable in a model's architecture (the text of `ARCHITECTURE_FILE`)."""
    layers = [layer["config"] for layer in json.loads(architecture)["config"]["layers"]]
    return any(layer.get("name", "").startswith("block5_conv") and layer["trainable"] for layer in layers)


def versions() -> dict[str, str]:
    """Return the lane, and the versions of Python and of `PACKAGES`, in this process."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"lane": f"tfx-{found['tfx'].rpartition('.')[0]}", "python": platform.python_version()} | found


def to_markdown(card: Card) -> str:
    """Render a card as GitHub's Markdown, with front matter for Hugging Face; text from the library is escaped."""
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
        finalize=_escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"decimal": decimal, "megabytes": megabytes, "percent": percent}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    text = environment.get_template(name).render(
        card=card,
        synthetic=card.info.training_data.synthetic,
        leaky=card.info.split.leaky,
        library=card.info.training_data.library,
        splits=SPLITS,
        mistakes=[one for genre in card.genres for one in genre.mistakes[:EXAMPLES]],
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _escaped(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(_MARKS.sub(r"\\\1", _BREAKS.sub(" ", str(value))))


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
