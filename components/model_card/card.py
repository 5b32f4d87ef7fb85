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
from typing import Any

import jinja2
import numpy as np
import tensorflow as tf
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from tumbao.components.evaluation.metrics import (
    Evaluation,
    Interval,
    Scores,
    SongMetrics,
    interval_over_songs,
    scores,
    wilson_interval,
)
from tumbao.components.ingest.tags import artist_key
from tumbao.components.mobile_check import describe_failures
from tumbao.schema.record import SPLITS
from tumbao.serving.calibration import song_probabilities
from tumbao.serving.formatting import decimal, megabytes, percent
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.page import template
from tumbao.trainer.models.spec import ModelSpec

Lines = Sequence[Mapping[str, Any]]
"""Objects of a JSON Lines file."""


@dataclass(frozen=True, eq=False)
class Card:
    """All data of a card; ValueError if the artefacts are not of one run.

    `catalog` is `catalog.json`; `ingested` and `rejected` are the lines of ingest's parts of songs and rejected files;
    `artists` maps songs to artists, empty where not known; `predictions` are SongEvaluation's, from which `songs` is
    computed. `accuracy` and `loss` are the Evaluator's, for the test fragments; `history` has the epochs and the best
    one; `artefacts` are the rows of MobileCheck. `blessed` and `infra_blessed` are the decisions of Evaluator and
    MobileCheck.
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
    accuracy: float
    loss: float
    history: Mapping[str, Any]
    artefacts: Lines
    blessed: bool
    infra_blessed: bool
    sources: tuple[Source, ...]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        data = self.info.training_data
        fragments = {split: sum(one.fragments[split] for one in self.music) for split in SPLITS}
        found: dict[str, tuple[object, object]] = {
            "genres": (list(self.info.genres), self.catalog["genres"]),
            "probabilities of a fragment": (len(self.info.genres), len(self.predictions[0]["probabilities"])),
            "fragments ingested": (data.fragments, fragments),
            "test fragments predicted": (data.fragments["test"], len(self.evaluation.labels)),
            "test accuracy": (self.info.metrics["test_accuracy"], self.accuracy),
            "calibration": (self.info.calibration, self.songs.calibration),
        }
        for name, (expected, received) in found.items():
            if expected != received:
                raise ValueError(
                    f"Expected artefacts of one run: {name} {expected} as in the model's model.json. "
                    f"Received: {received}. Give the outputs of the run that exported this model."
                )

    @cached_property
    def music(self) -> tuple[GenreMusic, ...]:
        """Counts of songs, fragments and artists of each genre."""
        return count_music(self.ingested, self.artists, self.info.genres)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The predictions on the test split, by fragment."""
        return Evaluation.of_test_split(self.info.genres, self.predictions, self.accuracy, self.loss)

    @cached_property
    def scores(self) -> Scores:
        """Metrics of the test fragments."""
        return scores(self.evaluation)

    @cached_property
    def recalls(self) -> tuple[Interval | None, ...]:
        """Recall of each genre's fragments, with intervals resampled by song; None for a genre without fragments."""
        labels, right = self.evaluation.labels, self.evaluation.probabilities.argmax(axis=1) == self.evaluation.labels
        of_genres = [labels == label for label in range(len(self.info.genres))]
        return tuple(
            interval_over_songs(right[mine], self.evaluation.songs[mine]) if mine.any() else None for mine in of_genres
        )

    @cached_property
    def answers(self) -> tuple[GenreAnswers, ...]:
        """The product's predictions for the test songs of each genre."""
        test = [one for one in self.predictions if one["split"] == "test"]
        return genre_answers(test, self.info.genres, self.songs.calibration.temperature)

    @property
    def refused(self) -> Counter[str]:
        """Number of rejected files by reason."""
        return Counter(one["reason"] for one in self.rejected)

    @property
    def failures(self) -> tuple[str, ...]:
        """Failures found by MobileCheck, as whole sentences."""
        return tuple(f"{failure}." for failure in describe_failures(self.artefacts))


EXAMPLES = 5
"""Number of misclassified songs shown for a genre, the most confident first, as these mislead most."""


@dataclass(frozen=True)
class Mistake:
    """A misclassified song.

    `number` is that of SongEvaluation's predictions; `answer` is the predicted genre; `confidence` and `of_truth` are
    the calibrated probabilities of that genre and of the true one, 0–1.
    """

    song: str
    number: int
    answer: str
    confidence: float
    of_truth: float
    wrong_fragments: int
    fragments: int


@dataclass(frozen=True)
class GenreAnswers:
    """Predictions for the test songs of one genre.

    `recall` has Wilson's interval, and is None without songs; `mistakes` begins with the most confident one.
    """

    genre: str
    songs: int
    right: int
    recall: Interval | None
    mistakes: tuple[Mistake, ...]

    @property
    def taken_for(self) -> tuple[tuple[str, int], ...]:
        """Wrong genres with their number of songs, the most frequent first."""
        return tuple(Counter(one.answer for one in self.mistakes).most_common())

    def surely(self, threshold: float) -> int:
        """Count the mistakes whose confidence reaches the threshold, 0–1."""
        return sum(one.confidence >= threshold for one in self.mistakes)


def genre_answers(predictions: Lines, genres: Sequence[str], temperature: float) -> tuple[GenreAnswers, ...]:
    """Classify songs as the product does, from predictions of their fragments; in the order of the genres."""
    songs: dict[str, list[Mapping[str, Any]]] = {}
    for one in predictions:
        songs.setdefault(one["song"], []).append(one)
    fragments = [np.array([one["probabilities"] for one in song]) for song in songs.values()]
    mistakes: dict[int, list[Mistake]] = {label: [] for label in range(len(genres))}
    for (name, song), own, answer in zip(
        songs.items(), fragments, song_probabilities(fragments, temperature), strict=True
    ):
        truth, genre = song[0]["label"], int(answer.argmax())
        if genre != truth:
            wrong = int((own.argmax(axis=1) != truth).sum())
            sure = float(answer[genre]), float(answer[truth])
            mistakes[truth].append(Mistake(name, song[0]["number"], genres[genre], *sure, wrong, len(song)))
    counts = Counter(song[0]["label"] for song in songs.values())
    answers = []
    for label, genre_name in enumerate(genres):
        number, wrong_songs = counts[label], sorted(mistakes[label], key=lambda one: -one.confidence)
        right = number - len(wrong_songs)
        recall = wilson_interval(right, number) if number else None
        answers.append(GenreAnswers(genre_name, number, right, recall, tuple(wrong_songs)))
    return tuple(answers)


@dataclass(frozen=True)
class GenreMusic:
    """Counts of one genre.

    `songs` and `fragments` are by split; `artists` counts known artists, `unsigned` songs without one, `largest` the
    songs of the artist with the most.
    """

    genre: str
    songs: Mapping[str, int]
    fragments: Mapping[str, int]
    artists: int
    unsigned: int
    largest: int

    @property
    def all_songs(self) -> int:
        """Number of songs, each counted once for every split that contains it."""
        return sum(self.songs.values())


def count_music(ingested: Lines, artists: Mapping[str, str], genres: Sequence[str]) -> tuple[GenreMusic, ...]:
    """Count the music of each genre, in the order of the genres.

    `ingested` are parts of songs, which count as one song together; parts without a fragment are ignored. `artists`
    maps songs to artists, empty where not known.
    """
    music = []
    for genre in genres:
        parts = [part for part in ingested if part["genre"] == genre and part["fragments"]]
        songs = Counter(split for split, _ in {(part["split"], part["song"]) for part in parts})
        signed = Counter(artist_key(artists.get(song, "")) for song in {part["song"] for part in parts})
        unsigned = signed.pop("", 0)
        fragments = {split: sum(part["fragments"] for part in parts if part["split"] == split) for split in SPLITS}
        counts = {split: songs[split] for split in SPLITS}
        music.append(GenreMusic(genre, counts, fragments, len(signed), unsigned, max(signed.values(), default=0)))
    return tuple(music)


PACKAGES = (
    "tumbao",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "apache-beam",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "librosa",
    "numpy",
)
"""Packages whose versions are shown in the card and the report."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """Content of a folder; `sha256` is over the lines that ``sha256sum`` prints for its files, sorted by path."""

    files: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """An artefact of the model's run.

    `role` is its name in the card, `type_name` its type in ML Metadata, `identity` its name or number there (empty
    without either).
    """

    role: str
    type_name: str
    identity: str
    content: Content


def content(folder: str) -> Content:
    """Hash all files in a folder, on any of TensorFlow's file systems, independent of the listing order.

    A folder without files raises ValueError.
    """
    root = folder.rstrip("/")
    paths = [f"{parent.rstrip('/')}/{name}" for parent, _, names in tf.io.gfile.walk(root) for name in names]
    below = {path[len(root) + 1 :]: path for path in paths}
    if not below:
        raise ValueError(f"Expected an artefact that contains files. Received: {folder!r}, which contains none.")
    lines, size = hashlib.sha256(), 0
    for name in sorted(below, key=lambda name: name.encode()):
        digest = hashlib.sha256()
        with tf.io.gfile.GFile(below[name], "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
        lines.update(f"{digest.hexdigest()}  {name}\n".encode())
    return Content(len(below), size, lines.hexdigest())


def fine_tuned(architecture: str) -> bool:
    """Return whether VGG-16's fifth block is trainable in a model's architecture (the text of `ARCHITECTURE_FILE`)."""
    layers = [layer["config"] for layer in json.loads(architecture)["config"]["layers"]]
    return any(layer.get("name", "").startswith("block5_conv") and layer["trainable"] for layer in layers)


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES` in this process."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


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
