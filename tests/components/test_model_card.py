"""The model card states the content of the artefacts of one run, without names of recorded songs."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from tfx import types
from tfx.types import standard_artifacts

from tests.components.decisions import write_decision
from tests.components.evaluations import write_metrics
from tests.pages import assert_self_contained
from tests.serving.chromium import open_tab
from tumbao.components.evaluation.metrics import SongMetrics, song_metrics, wilson_interval
from tumbao.components.evaluator import ACCURACY, LOSS
from tumbao.components.ingest.component import IngestedSongs, RejectedSongs
from tumbao.components.ingest.tables import write_csv
from tumbao.components.mobile_check import AgreementReport
from tumbao.components.model_card.card import content
from tumbao.components.model_card.component import ModelCard, ModelCardPages
from tumbao.components.song_evaluation import SongFigures
from tumbao.components.song_gate import SongDecision
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import BrowserUnavailableError, find_chromium
from tumbao.serving.model_info import ARCHITECTURE_FILE, ModelFile, ModelInfo, Split, TrainingData

ATTACK = "<script>alert(1)</script>|*x*\n# no heading"
GENRES = ("salsa", "cumbia", "trova & <i>$on$</i>")
SONGS, FRAGMENTS = {"train": 9, "val": 9, "test": 12}, 3
KINDS: dict[str, type[types.Artifact]] = {
    "examples": standard_artifacts.Examples,
    "ingested": IngestedSongs,
    "rejected": RejectedSongs,
    "model_run": standard_artifacts.ModelRun,
    "evaluation": standard_artifacts.ModelEvaluation,
    "blessing": standard_artifacts.ModelBlessing,
    "decision": SongDecision,
    "figures": SongFigures,
    "model": standard_artifacts.Model,
    "report": AgreementReport,
    "infra_blessing": standard_artifacts.InfraBlessing,
}
HEADINGS = [
    *("Model Details", "Uses", "Bias, Risks, and Limitations", "How to Get Started with the Model"),
    *("Training Details", "Evaluation", "Technical Specifications", "Provenance"),
]


def genre_of(song: int) -> int:
    return (0, 0, 1, 2)[song % 4]


def name_of(split: str, song: int) -> str:
    return f"{split} song {song} {ATTACK if song % 2 else ''}"


def probabilities(split: str) -> np.ndarray:
    """Predict the fragments of a split, often wrongly: [songs, fragments, genres]."""
    rng = np.random.default_rng(len(split))
    truth = np.eye(3)[[genre_of(song) for song in range(SONGS[split])]][:, np.newaxis]
    powers = np.exp(rng.normal(size=(SONGS[split], 1, 3)) + rng.normal(size=(SONGS[split], FRAGMENTS, 3)) + truth)
    return (powers / powers.sum(axis=2, keepdims=True)).round(7)


def labels(split: str) -> np.ndarray:
    return np.array([genre_of(song) for song in range(SONGS[split])])


def predictions(split: str) -> list[dict[str, Any]]:
    return [
        {"split": split, "number": 40 + song, "song": name_of(split, song), "fragment": i}
        | {"label": genre_of(song), "probabilities": [*one]}
        for song, fragments in enumerate(probabilities(split))
        for i, one in enumerate(fragments.tolist())
    ]


def metrics(genres: tuple[str, ...] = GENRES) -> SongMetrics:
    val, test = (probabilities(split) for split in ("val", "test"))
    return song_metrics([*val], labels("val"), [*test], labels("test"), genres)


def answered() -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(labels("test"), FRAGMENTS), probabilities("test").reshape(-1, 3)


def cross_entropy() -> float:
    truth, answers = answered()
    return float(-np.log(answers[np.arange(len(truth)), truth]).mean())


def lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in values), "utf-8")


@dataclasses.dataclass
class Run:
    """The artefacts of a made run, and the card that is written of them."""

    folder: Path
    network: str = "vgg16"
    genres: tuple[str, ...] = GENRES
    manifests: str = "0a1b"

    def write(
        self,
        *,
        synthetic: bool = False,
        protocol: str = "song",
        artists: tuple[str, ...] = ("Ana", "ANA", "", "Berta"),
        weights: str = "d1ce",
        failures: tuple[str, ...] = (),
        licences: dict[str, int] | None = None,
        tuned: bool = False,
        fit: Mapping[str, Any] = MappingProxyType({}),
    ) -> Run:
        truth, answers = answered()
        accuracy = float(accuracy_score(truth, answers.argmax(axis=1)))
        described = {"library": f"mine {ATTACK}", "genres": self.genres, "synthetic": synthetic, "found": 31}
        split = {"protocol": protocol, "method": "stratified", "leaky": protocol == "fragment", "seed": 4711}
        manifests = self.folder / self.manifests
        manifests.mkdir(parents=True)
        told = described | split | {"artists_on_two_sides": ["Ana"] if any(artists) else []}
        told |= {"licences": licences} if licences else {}
        (manifests / "catalog.json").write_text(json.dumps(told))
        parts: list[dict[str, Any]] = []
        for name, count in SONGS.items():
            songs = [name_of(name, song) for song in range(count)]
            table = write_csv(("song", "artist"), [(one, artists[i % len(artists)]) for i, one in enumerate(songs)])
            (manifests / f"{name}.csv").write_text(table, "utf-8")
            for song, one in enumerate(songs):
                about = {"entry": len(parts), "song": one, "genre": self.genres[genre_of(song)]}
                parts.append(about | {"split": name, "fragments": FRAGMENTS})
        lines(self.folder / "ingested" / "ingested.jsonl", parts)
        lines(self.folder / "rejected" / "rejected.jsonl", [{"song": "x", "reason": "too short", "detail": ATTACK}])
        (self.folder / "examples" / "Split-train").mkdir(parents=True)
        (self.folder / "examples" / "Split-train" / "data.gz").write_bytes(b"records")
        (self.folder / "examples" / "Split-train-old").write_bytes(b"sorts before a slash")
        epoch = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.625, "val_loss": 0.75}
        history = {"epochs": [epoch, epoch], "best_epoch": 2, **({"fit": dict(fit)} if fit else {})}
        lines(self.folder / "model_run" / "history.json", [history])
        write_metrics(self.folder / "evaluation", {"": {(ACCURACY, ""): accuracy, (LOSS, ""): cross_entropy()}})
        figures = metrics(self.genres)
        lines(self.folder / "figures" / "predictions.jsonl", [*predictions("val"), *predictions("test")])
        lines(self.folder / "figures" / "song_metrics.json", [figures.to_json()])
        write_decision(self.folder / "decision")
        (self.folder / "report").mkdir()
        row = {"name": "classifier-int8.tflite", "through": "LiteRT", "precision": "int8", "size_bytes": 36_111_254}
        row |= {"fragments": 36, "agreement": 0.9722, "accuracy": 0.75, "float_accuracy": 0.7778, "failures": failures}
        row |= {"max_probability_difference": 0.0287, "milliseconds": 64.6, "not_measured": None}
        asked = {"through": "browser", "fragments": 0, "not_measured": "no Chromium", "failures": ()}
        (self.folder / "report" / "agreement.json").write_text(json.dumps([row, row | asked]))
        assets = self.folder / "model" / "Format-Serving" / "assets.extra"
        assets.mkdir(parents=True)
        (assets.parent / "saved_model.pb").write_bytes(b"graph")
        layer = keras.layers.Conv2D(1, 1, name="block5_conv1", trainable=tuned)
        (assets / ARCHITECTURE_FILE).write_text(keras.Sequential([layer], name="tumbao").to_json())
        ModelInfo(
            created="2026-05-04T03:02:01+00:00",
            genres=self.genres,
            mel=MelSpec(),
            training_data=TrainingData(
                synthetic=synthetic,
                library="mine",
                catalog_digest=self.manifests,
                songs=SONGS,
                fragments={name: FRAGMENTS * count for name, count in SONGS.items()},
                composed_songs=fit.get("composed_songs", 0),
                composed_weight=0.5,
            ),
            split=Split(protocol, protocol == "fragment", 4711),
            metrics={"test_accuracy": accuracy},
            files={"int8": ModelFile("classifier-int8.tflite", 36_111_254, "f11e", "int8")},
            versions={"tumbao": "0.1.0", "code_digest": "c0de", "backbone_weights": weights},
            calibration=figures.calibration,
        ).write(assets)
        for name in ("blessing/BLESSED", "infra_blessing/INFRA_BLESSED"):
            (self.folder / name).parent.mkdir()
            (self.folder / name).touch()
        return self

    def card(self) -> tuple[str, str]:
        """Write the card: its Markdown and its HTML."""
        inputs = {}
        for number, (key, kind) in enumerate(KINDS.items(), start=1):
            inputs[key] = kind()
            inputs[key].uri, inputs[key].id = str(self.folder / key), number
        inputs["model"].name = "projects/secret/artifacts/77"
        card = ModelCardPages()
        card.uri = str(self.folder / "card")
        manifests = str(self.folder / self.manifests)
        ModelCard.test_call(**inputs, card=card, manifests=manifests, network=self.network, code="")
        files = Path(card.uri, "model_card.md"), Path(card.uri, "model_card.html")
        return files[0].read_text("utf-8"), files[1].read_text("utf-8")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return Run(tmp_path_factory.mktemp("real") / "run").write().card()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A card of composed songs without artists, with the leaky split."""
    run = Run(tmp_path_factory.mktemp("synthetic") / "run")
    return run.write(synthetic=True, protocol="fragment", artists=("",)).card()


def rows(markdown: str, heading: str) -> list[list[str]]:
    """Give the cells of the tables under a heading, without their heads, marks and escapes."""
    section = re.split(r"\n#+ ", markdown.split(f"# {heading}", 1)[1], maxsplit=1)[0]
    table = re.findall(r"^\| .*$(?!\n\|---)", section, re.M)
    plain = (re.sub(r"\\(.)", r"\1", line.replace(" *leaky*", "").replace("\N{NO-BREAK SPACE}", " ")) for line in table)
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in plain]


def test_metrics_of_songs_are_those_of_song_evaluation(real: tuple[str, str]) -> None:
    found, (songs, *_) = metrics(), rows(real[0], "Results\n")
    interval = found.product.accuracy
    told = f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}–{100 * interval.high:.1f}]"
    assert songs == ["songs", f"{found.product.right} of 12", told]
    assert f"temperature {found.calibration.temperature:.2f}" in real[0]
    assert f"threshold {found.calibration.threshold:.2f}" in real[0]
    assert [row[1:] for row in rows(real[0], "Calibration")[:2]] == [
        [f"{one.calibration_error:.3f}", f"{one.log_loss:.3f}"] for one in (found.before, found.after)
    ]
    assert f"With the threshold, {found.answered.songs} of 12 test songs get a genre" in real[0]


def test_metrics_of_fragments_are_those_of_scikit_learn_and_the_evaluator(real: tuple[str, str]) -> None:
    truth, answers = answered()
    predicted = answers.argmax(axis=1)
    accuracy, loss = accuracy_score(truth, predicted), cross_entropy()
    assert rows(real[0], "Results\n")[1][2].startswith(f"{100 * accuracy:.1f} % [")
    assert f"Cross-entropy of the fragments: {loss:.4f}." in real[0]
    assert f"measured accuracy {accuracy:.4f} and cross-entropy {loss:.4f} on the same" in real[0]
    genres = rows(real[0], "Results by Genre")
    recalls = recall_score(truth, predicted, average=None)
    assert [row[4].partition(" [")[0] for row in genres[:3]] == [f"{100 * recall:.1f} %" for recall in recalls]
    assert [[*map(int, row[1:])] for row in genres[3:]] == confusion_matrix(truth, predicted).tolist()


def test_composed_songs_in_the_training_are_named_with_their_weight(tmp_path: Path, real: tuple[str, str]) -> None:
    fit = {"songs": 30, "folds": 4, "penalty": 1.0, "composed_songs": 120, "composed_weight": 0.3}
    markdown = re.sub(r"\\(.)", r"\1", Run(tmp_path / "run", network="tumbao").write(fit=fit).card()[0])
    for words in (
        "Fitted to the means of 30 songs of the training and validation split, without epochs",
        "120 composed songs joined them with 0.3 times their weight",
        "in 4 folds chose the penalty (C = 1) and that weight: accuracy 0.625, cross-entropy",
        "Also 120 composed songs",
        "is 0.5 times that of the library",
    ):
        assert words in markdown
    assert "weights are those of epoch" not in markdown
    assert "composed" not in real[0]
    assert "the weights are those of epoch 2, the best on the validation split" in real[0]


def test_misclassified_songs_are_listed_by_genre_the_most_confident_first(synthetic: tuple[str, str]) -> None:
    powers = probabilities("test") ** (1 / metrics().calibration.temperature)
    means = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)
    answers, truth = means.argmax(axis=1), labels("test")
    shown = rows(synthetic[0], "Failures by Genre")
    expected = []
    for label, genre in enumerate(GENRES):
        mine = np.flatnonzero(truth == label)
        wrong = [song for song in mine if answers[song] != label]
        share = wilson_interval(len(mine) - len(wrong), len(mine))
        row = rows(synthetic[0], "Results by Genre")[label]
        assert row[1] == f"{len(mine) - len(wrong)} of {len(mine)}"
        assert row[2] == f"{100 * share.value:.1f} % [{100 * share.low:.1f}–{100 * share.high:.1f}]"
        for song in sorted(wrong, key=lambda song: -means[song].max())[:5]:
            fragments = int((probabilities("test")[song].argmax(axis=1) != label).sum())
            sure = f"{100 * means[song].max():.1f} %", f"{100 * means[song, label]:.1f} %"
            expected.append([genre, GENRES[answers[song]], *sure, f"{fragments} of 3"])
    assert len(expected) >= 2
    assert [row[-5:] for row in shown] == expected


def test_only_composed_songs_are_named(real: tuple[str, str], synthetic: tuple[str, str]) -> None:
    assert re.search(r"\| test song \d+ ", synthetic[0])
    named, numbered = (rows(markdown, "Failures by Genre") for markdown in (synthetic[0], real[0]))
    assert len(numbered) >= 2
    assert [row[0] for row in numbered] == [str(40 + int(row[0].split()[2])) for row in named]
    for text in (*real, *synthetic):
        assert not re.search(r"train song|val song|Ana|Berta", text)
    for text in real:
        assert not re.search(r"test song \d", text)
        assert "Songs have numbers here" in text
        assert str(Path.home()) not in text and "secret" not in text


def test_a_synthetic_library_is_stated_at_the_top_and_in_each_heading(
    real: tuple[str, str], synthetic: tuple[str, str]
) -> None:
    assert "**Trained on composed, synthetic songs.**" in synthetic[0].partition("## Model Details")[0]
    assert re.search(r"^# Model card: .* [*]synthetic library[*]$", synthetic[0], re.M)
    assert re.findall(r"^###? (.*) [*]synthetic library[*]$", synthetic[0], re.M) == [
        *("Training Data", "Training Procedure", "Testing Data and Split", "Results", "Results by Genre"),
        *("Failures by Genre", "Calibration", "Files for Phones and Browsers"),
    ]
    assert "it contains no recordings" in synthetic[0]
    assert "Do not use it to sort a music library" in synthetic[0]
    assert "Sorting and searching" in real[0]
    assert "Sorting and searching" not in synthetic[0]
    assert "ynthetic" not in real[0]
    assert "**the licences of the recordings are not known.**" in real[0]


def test_a_leaky_split_is_stated_at_the_top_and_beside_every_figure(
    real: tuple[str, str], synthetic: tuple[str, str]
) -> None:
    assert "**The split is leaky.**" in synthetic[0].partition("## Model Details")[0]
    assert "Split by fragment: it is leaky" in synthetic[0]
    body = synthetic[0].split("---\n", 2)[2]
    for unmarked in (  # no split makes these better: shares of songs, the training's figure, a difference of files
        r"\([\d.]+\s%\)",
        r"Training accuracy in that epoch [\d.]+",
        r"\| 0[.]0287 \|",
    ):
        body, found = re.subn(unmarked, "", body)
        assert found
    figures = re.findall(r"(?:\d+[.]\d\s%|\b\d[.]\d{3,4}\b)(?: \[[\d.]+–[\d.]+\])?(.{0,8})", body)
    assert len(figures) >= 40
    assert set(figures) == {" *leaky*"}
    assert "predicted genre (column) *leaky*:" in body
    assert set(re.findall(r"test songs? (?:is|are) misclassified(.*?):", body)) == {" *leaky*"}
    assert real[0].count("leaky") == 1
    assert "it is not leaky, no song is in two splits" in real[0]


def test_songs_are_counted_and_artists_not_named(real: tuple[str, str], synthetic: tuple[str, str]) -> None:
    assert "31 files found = 30 ingested + 1 rejected (1 too short)" in real[0]
    by_split = [[int((labels(split) == label).sum()) for split in SONGS] for label in range(3)]
    assert [row[1:] for row in rows(real[0], "Training Data")] == [
        [f"{count} / {FRAGMENTS * count}" for count in row] for row in (*by_split, SONGS.values())
    ]
    songs = [sum(row) for row in by_split]
    assert rows(real[0], "Under-Represented Groups") == [
        ["salsa", str(songs[0]), "1", "0", f"{songs[0]} songs"],
        ["cumbia", str(songs[1]), "0", str(songs[1]), "0 songs"],
        [GENRES[2], str(songs[2]), "1", "0", f"{songs[2]} songs"],
    ]
    assert "One artist is in several splits" in real[0]
    assert f"the one with the most is salsa: {songs[0]} (" in real[0]
    assert "The artists are not known" in synthetic[0]


def test_licences_are_those_of_the_list(real: tuple[str, str], tmp_path: Path) -> None:
    markdown, _ = Run(tmp_path / "run").write(licences={"": 4, "CC BY 4.0": 26}).card()
    assert rows(markdown, "Licences and Attribution") == [["not known", "4"], ["CC BY 4.0", "26"]]
    assert "are not known.**" not in markdown
    assert rows(real[0], "Licences and Attribution") == []


def test_files_for_phones_have_their_row_and_the_browser_its_reason(real: tuple[str, str]) -> None:
    measured, asked = rows(real[0], "Files for Phones and Browsers")
    assert measured == [
        *("classifier-int8.tflite", "passed", "LiteRT", "int8", "36.1 MB", "65 ms", "36"),
        *("97.2 %", "75.0 %", "77.8 %", "0.0287"),
    ]
    assert asked[1:3] == ["not measured: no Chromium", "browser"]
    assert asked[5:] == ["–", "0", *"––––"]
    assert "predicts the same; this was not measured in the browser." in real[0]


def test_digests_are_what_the_documented_command_prints(real: tuple[str, str], tmp_path: Path) -> None:
    run = Run(tmp_path / "run").write()
    assert run.card() == real
    sources = rows(real[0], "Provenance")[:11]
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    for number, (key, row) in enumerate(zip(KINDS, sources, strict=True), start=1):
        folder = run.folder / key / ("Format-Serving" if key == "model" else "")
        printed = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout
        files = [file for file in folder.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        identity = "77" if key == "model" else str(number)
        expected = [KINDS[key].TYPE_NAME, identity, str(len(files)), str(size), f"`{printed.split()[0]}`"]
        assert row[1:] == expected


def test_a_digest_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    """TensorFlow's file system in memory stands for a bucket."""
    for folder in (f"{tmp_path}/here", "ram://card/there"):
        tf.io.gfile.makedirs(f"{folder}/Split-train")
        for name in ("Split-train/data.gz", "summary.json"):
            with tf.io.gfile.GFile(f"{folder}/{name}", "w") as file:
                file.write(name)
    expected = content(f"{tmp_path}/here")
    assert expected[0] == 2
    for folder in (f"{tmp_path}/here/", "ram://card/there", "ram://card/there/"):
        assert content(folder) == expected


def test_sub_genres_are_also_summed_to_genres(tmp_path: Path) -> None:
    genres = ("salsa", "salsa/dura", "cumbia")
    markdown, _ = Run(tmp_path / "run", genres=genres).write().card()
    truth, answers = answered()
    summed = np.stack([answers[:, 0] + answers[:, 1], answers[:, 2]], axis=1)
    right = int((summed.argmax(axis=1) == np.array([0, 0, 1])[truth]).sum())
    main = metrics(genres).main
    assert main
    _, songs, _, fragments = rows(markdown, "Results\n")
    assert songs[:2] == ["songs, genres as sums of their sub-genres", f"{main.right} of 12"]
    assert fragments[:2] == ["fragments, genres as sums of their sub-genres", f"{right} of 36"]
    assert songs[2].startswith(f"{100 * main.right / 12:.1f} % [")
    assert fragments[2].startswith(f"{100 * right / 36:.1f} % [")


def test_front_matter_gives_the_figures_to_programs(synthetic: tuple[str, str]) -> None:
    front = yaml.safe_load(synthetic[0].split("---\n")[1])
    assert front["pipeline_tag"] == "audio-classification"
    assert "synthetic-data" in front["tags"]
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"type": "mine", "name": "mine (synthetic)", "split": "test"}
    truth, answers = answered()
    assert [(one["name"], one["value"]) for one in result["metrics"]] == [
        ("Accuracy of songs, leaky split", metrics().product.accuracy.value),
        ("Accuracy of fragments, leaky split", accuracy_score(truth, answers.argmax(axis=1))),
    ]


def test_the_page_needs_no_other_file_and_escapes_names(synthetic: tuple[str, str]) -> None:
    markdown, page = synthetic
    assert re.findall(r"^## (.+)$", markdown, re.M) == HEADINGS
    assert_self_contained(page, GENRES[2])
    assert len(re.findall(r'href="#', page)) == len(HEADINGS)
    assert "<script" not in page and "<i>" not in page
    assert "<script>alert(1)</script>|*x* # no heading" in html.unescape(page)
    assert "\n# no heading" not in markdown


def test_a_browser_shows_the_page_without_errors_and_scrolls_only_its_tables(
    synthetic: tuple[str, str], tmp_path: Path
) -> None:
    try:
        program = find_chromium()
    except BrowserUnavailableError as error:
        pytest.skip(f"the page is not opened in a browser: {error}")
    page = tmp_path / "model_card.html"
    page.write_text(synthetic[1], "utf-8")
    with open_tab(program) as tab:
        tab.open(page.as_uri())
        tables = "[...document.querySelectorAll('.scroll')]"
        assert tab.run(f"{tables}.length") == synthetic[0].count("\n|---")
        for width in (1_100, 500):
            tab.picture(width, 800)
            assert tab.run("document.documentElement.scrollWidth") == width
            assert tab.run(f"{tables}.every((one) => one.clientWidth < {width})")
        assert tab.errors == []


@pytest.mark.parametrize(
    ("missing", "failures", "sentence"),
    [
        ("", (), "**Blessed.** The model passed"),
        ("blessing/BLESSED", (), "**Not blessed.** The model must not be pushed: it missed"),
        ("infra_blessing/INFRA_BLESSED", ("answers otherwise",), "**Vetoed.** The model was blessed"),
    ],
)
def test_the_card_states_whether_the_model_may_be_pushed(
    tmp_path: Path, missing: str, failures: tuple[str, ...], sentence: str
) -> None:
    run = Run(tmp_path / "run").write(failures=failures)
    if missing:
        path = run.folder / missing
        path.rename(path.with_name("NOT_BLESSED"))
    markdown, _ = run.card()
    assert sentence in markdown
    assert ("- classifier-int8.tflite (LiteRT) answers otherwise.\n" in markdown) == bool(failures)


@pytest.mark.parametrize(
    ("network", "weights", "tuned", "sentence", "origin"),
    [
        ("vgg16", "d1ce", False, "Creative Commons Attribution licence", "SHA-256 d1ce"),
        ("vgg16", "d1ce", True, "fine-tuned: the last epochs", "SHA-256 d1ce, before the fine-tuning"),
        ("vgg16", "random", True, "random weights instead; and fine-tuned", "random"),
        ("musicnn", "d1ce", False, "under the ISC licence", "SHA-256 d1ce"),
        ("crnn", "random", False, "contains no weights of others", "no weights of others"),
    ],
)
def test_the_origin_of_the_weights_is_stated(
    tmp_path: Path, network: str, weights: str, tuned: bool, sentence: str, origin: str
) -> None:
    markdown, _ = Run(tmp_path / "run", network).write(weights=weights, tuned=tuned).card()
    assert markdown.count(sentence) == 1
    assert f"- **Weights of the backbone:** {origin}.\n" in markdown
    assert ("fine-tuned" in markdown) == tuned
