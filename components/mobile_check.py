"""MobileCheck: compare every exported variant with the trained model.

A precision whose classifier differs, or an ONNX file that does, is left out of the push, and named; if anything else
differs, nothing is pushed.

The reference is the float model: the final head's outputs for cached features, by FinalModel, or those of the
SavedModel's image signature where the features were computed in a lower precision. 8-bit classifiers in LiteRT are
compared on up to `QUANTIZED_SAMPLE` fragments, all other variants on `SAMPLE`; those that take a waveform with audio
decoded again from the songs. Without a browser, the report has the reason. Each signature is also called through
TensorFlow Serving's messages, in a fresh process.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation.metrics import discordant, is_worse, wilson_interval
from tumbao.components.export import drop_files
from tumbao.components.final_model import FinalFigures
from tumbao.components.ingest import progress
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, read_records, to_example
from tumbao.components.ingest.tables import json_lines, table_rows
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.components.song_evaluation import PREDICTIONS_FILE
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import BrowserError, BrowserUnavailableError, open_in_browser
from tumbao.serving.model_info import (
    ASSETS_FOLDER,
    AUDIO_FILE,
    CLASSIFIER_FILES,
    DISTANCE,
    ONNX_FILE,
    PROBABILITIES,
    preferred,
)
from tumbao.serving.model_server import ServingError, replay
from tumbao.serving.onnx_export import onnx_runner
from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM

MIN_AGREEMENT = 0.98
"""Share of fragments with the same genre: a variant fails if the upper end of its 95 % interval is below it."""

NEAR_TIE = 0.02
"""Largest difference of a probability at which another genre is a near-tie and no disagreement."""

MAX_PROBABILITY_DIFFERENCE = 0.05  # median over fragments of the largest difference
MAX_DISTANCE_DIFFERENCE = 0.3  # median, as a share of the reference's
QUANTIZED = {"dynamic", "int8"}  # precisions whose classifiers are approximations of the float model

QUANTIZED_SAMPLE = 149
"""Number of fragments for such a classifier in LiteRT, which phones run, and for the one in the audio file: if none of
them differs, at least 98 % of all agree with a confidence of 95 % (0.98 ** 149 = 0.049)."""

SAMPLE = 5
"""Number of fragments for a variant that computes the same in another runtime: an error there, such as a wrong input,
changes most answers; one that changes half of them passes with a probability of 3 % (0.5 ** 5)."""

SIZE_LIMITS_BYTES = {
    "SavedModel": 150_000_000,
    CLASSIFIER_FILES["float16"]: 73_000_000,
    CLASSIFIER_FILES["dynamic"]: 37_000_000,
    CLASSIFIER_FILES["int8"]: 37_000_000,
    AUDIO_FILE: 39_500_000,
    ONNX_FILE: 150_000_000,
}
"""Largest allowed size of each variant."""

LITERT, BROWSER = "LiteRT", "browser (LiteRT.js)"
OUTPUTS = (PROBABILITIES, DISTANCE)
Outputs = dict[str, np.ndarray]  # probabilities [n, genres] and distances [n] by their names in `OUTPUTS`
_THREADS = 2


class AgreementReport(types.Artifact):
    """The file `agreement.json`, with a row for each variant, and the files to push if a precision was left out."""

    TYPE_NAME = "tumbao.AgreementReport"


@tfx.dsl.components.component
def MobileCheck(  # noqa: N802 - TFX names components so
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    figures: tfx.dsl.components.InputArtifact[FinalFigures],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    report: tfx.dsl.components.OutputArtifact[AgreementReport],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    policy: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Compare every variant with the trained model on the test split, and bless or veto.

    Parameters
    ----------
    model : Model
        Output of EdgeExport.
    figures : FinalFigures
        Output of FinalModel, with the final head's outputs.
    examples : Examples
        Records with mel images.
    blessing : InfraBlessing
        Output: the Pusher pushes only if it is blessed.
    report : AgreementReport
        Output: the figures.
    manifests : str
        Folder of `library.write_manifests`, with the paths of the songs.
    mel_spec : str
        Parameters of the mel images as JSON.
    policy : str
        Keras' dtype policy with which the head's features were computed.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    """
    saved_model = path_utils.serving_model_path(model.uri)
    with ThreadPoolExecutor(1) as background:
        replayed = background.submit(replay, saved_model)  # a child process, beside the comparisons
        fragments = _stratified(list(read_records(f"{artifact_utils.get_split_uri([examples], 'test')}/*.gz")))
        names = [_name(fragment) for fragment in fragments[:SAMPLE]]
        sounds = waveforms(f"{manifests}/test.csv", names, MelSpec(**json.loads(mel_spec)))
        assets = f"{saved_model}/{ASSETS_FOLDER}"
        files = {key: name for key, name in CLASSIFIER_FILES.items() if tf.io.gfile.exists(f"{assets}/{name}")}
        thorough = files.keys() & QUANTIZED | {preferred(files)}
        progress.start("compare", 3 + 2 * len(files) + 4)  # signatures, classifiers, ONNX, audio, browser
        if policy == "float32":
            predictions = {
                (one["song"], one["fragment"]): one for one in json_lines(f"{figures.uri}/{PREDICTIONS_FILE}")
            }
            lines = [predictions[_name(fragment)] for fragment in fragments]
            reference = {name: np.array([line[name] for line in lines]) for name in OUTPUTS if name in lines[0]}
        else:
            reference, _ = _predict(next(_signatures(saved_model)), fragments, sounds)

        def compared(variants: Iterable[Variant]) -> Iterator[dict[str, Any]]:
            for variant in variants:
                on_phones = variant.runtime == LITERT and variant.input_kind == "image"
                size = QUANTIZED_SAMPLE if on_phones and variant.precision in thorough else SAMPLE
                predicted, seconds = _predict(variant, fragments[:size], sounds)
                yield _row(variant, fragments, reference, predicted, seconds)
                progress.advance("compare")

        optional = files | {"onnx": ONNX_FILE}
        classifiers = (_in_interpreters(assets, name, precision, "image") for precision, name in files.items())
        rows = list(compared(chain(_signatures(saved_model), *classifiers, [_in_onnx(assets)])))
        left_out = {row["name"] for row in rows if row["failures"]} & set(optional.values())
        refused = {key for key, name in optional.items() if name in left_out}
        if kept := files.keys() - refused:
            assets = _without(refused, assets, report.uri)
        best = preferred(kept or files)
        rows += compared(_in_interpreters(assets, AUDIO_FILE, best, "waveform"))
        rows.append(_compare_in_browser(assets, best, rows, fragments, reference))
        progress.advance("compare")
        _add_replay(replayed, rows)
    io_utils.write_bytes_file(f"{report.uri}/agreement.json", json.dumps(rows, indent=1).encode())
    blessed = bool(kept) and not any(row["failures"] and row["name"] not in left_out for row in rows)
    io_utils.write_bytes_file(f"{blessing.uri}/{'INFRA_BLESSED' if blessed else 'INFRA_NOT_BLESSED'}", b"")
    blessing.set_int_custom_property("blessed", int(blessed))


def read_variants(report: str) -> list[dict[str, Any]]:
    """Read the rows of an `AgreementReport` from its folder."""
    rows: list[dict[str, Any]] = json.loads(as_path(f"{report}/agreement.json").read_bytes())
    return rows


@dataclasses.dataclass(frozen=True)
class Variant:
    """One exported variant of the model."""

    name: str  # of the .tflite, or SavedModel
    runtime: str  # signature or interpreter
    precision: str
    size_bytes: int
    input_kind: str  # image, waveform or examples
    predict: Callable[[np.ndarray], Outputs]  # a batch of inputs


def _name(fragment: Mapping[str, Any]) -> tuple[str, int]:
    return fragment[record.SONG].decode(), fragment[record.FRAGMENT]


def _stratified(fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select fragments from each genre in turn, the first fragments of all songs before their second ones."""
    by_genre: dict[int, list[dict[str, Any]]] = {}
    for fragment in sorted(fragments, key=lambda one: one[record.FRAGMENT]):
        by_genre.setdefault(fragment[record.LABEL], []).append(fragment)
    turns = [fragment for turn in zip_longest(*by_genre.values()) for fragment in turn if fragment is not None]
    return turns[:QUANTIZED_SAMPLE]


def _signatures(saved_model: str) -> Iterator[Variant]:
    """Yield the signatures of a SavedModel, the image signature first."""
    loaded = tf.saved_model.load(saved_model)
    files = [f"{saved_model}/saved_model.pb", *tf.io.gfile.glob(f"{saved_model}/variables/*")]
    size = sum(tf.io.gfile.stat(file).length for file in files)
    for name, kind in ((IMAGE, "image"), (EXAMPLES, "examples"), (WAVEFORM, "waveform")):
        signature = loaded.signatures[name]

        def predict(value: np.ndarray, signature: Any = signature, kind: str = kind) -> Outputs:
            outputs = signature(**{kind: tf.constant(value)})
            return {name: outputs[name].numpy() for name in OUTPUTS if name in outputs}

        yield Variant("SavedModel", f"signature {name}", "float32", size, kind, predict)


def _in_interpreters(assets: str, name: str, precision: str, kind: str) -> Iterator[Variant]:
    """Yield a .tflite file in both interpreters, LiteRT first, each loaded when it is reached."""
    content = as_path(f"{assets}/{name}").read_bytes()
    for runtime, interpreter in ((LITERT, Interpreter), ("TensorFlow's interpreter", tf.lite.Interpreter)):
        runner = interpreter(model_content=content, num_threads=_THREADS).get_signature_runner(kind)

        def predict(value: np.ndarray, runner: Any = runner) -> Outputs:
            outputs: Outputs = runner(**{kind: value})
            return outputs

        yield Variant(name, runtime, precision, len(content), kind, predict)


def _in_onnx(assets: str) -> Variant:
    content = as_path(f"{assets}/{ONNX_FILE}").read_bytes()
    runner = onnx_runner(content, _THREADS)
    return Variant(ONNX_FILE, "ONNX Runtime", "float32", len(content), "waveform", lambda value: runner(waveform=value))


def _without(refused: Collection[str], assets: str, report: str) -> str:
    """Return the folder of exported files, or one in the report without the refused ones."""
    if not refused:
        return assets
    with tempfile.TemporaryDirectory(prefix="tumbao-kept-") as scratch:
        io_utils.copy_dir(assets, scratch)
        drop_files(Path(scratch), refused)
        io_utils.copy_dir(scratch, pushed_assets(report))
    return pushed_assets(report)


def pushed_assets(report: str) -> str:
    """Return where an `AgreementReport` has the files to push, if a precision was left out."""
    return f"{report}/{ASSETS_FOLDER}"


def waveforms(manifest: str, fragments: Sequence[tuple[str, int]], spec: MelSpec) -> list[np.ndarray]:
    """Decode fragments of a manifest, given by song and number, again: samples float32 [fragment_samples] each.

    Raises AudioError if a song cannot be read or has changed since ingest.
    """
    rows, samples = table_rows(manifest), []
    with WorkerPool() as pool:
        for song, number in fragments:
            parts = [row for row in rows if row["song"] == song and int(row["first"]) <= number]
            row = max(parts, key=lambda row: int(row["first"]))  # the part that contains the fragment
            part = AudioSegment(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)
            index = number - int(row["first"])
            samples.append(
                next(one.samples for one in Fragments(read_song(pool, part, spec, row["sha256"])) if one.index == index)
            )
    return samples


def _predict(
    variant: Variant, fragments: Sequence[Mapping[str, Any]], sounds: Sequence[np.ndarray]
) -> tuple[Outputs, float]:
    """Predict fragments, of which the first have a waveform; also return the median seconds of one prediction."""
    predictions, seconds = [], []
    for index, fragment in enumerate(fragments):
        if variant.input_kind == "waveform":
            value = sounds[index]
        elif variant.input_kind == "image":
            value = decode_image(fragment[record.IMAGE])
        else:
            empty: dict[str, Any] = {"label": 0, "genre": "", "song": "", "fragment": 0, "start_seconds": 0.0}
            value = np.array(to_example(fragment[record.IMAGE], padded=False, **empty).SerializeToString(), object)
        started = time.perf_counter()
        predictions.append(variant.predict(value[np.newaxis]))
        seconds.append(time.perf_counter() - started)
    outputs = {name: np.concatenate([one[name] for one in predictions]) for name in predictions[0]}
    return outputs, statistics.median(seconds)


def _row(
    variant: Variant,
    fragments: Sequence[Mapping[str, Any]],
    reference: Outputs,
    predicted: Outputs,
    seconds: float,
) -> dict[str, Any]:
    """Compare the predictions of the first fragments with the reference: a row of `agreement.json`."""
    probabilities, limit = predicted[PROBABILITIES], SIZE_LIMITS_BYTES[variant.name]
    count = len(probabilities)
    labels = np.array([fragment[record.LABEL] for fragment in fragments[:count]])
    found, failures = compare(reference[PROBABILITIES][:count], probabilities, labels)
    difference = None
    if DISTANCE in reference and DISTANCE in predicted:
        expected = reference[DISTANCE][:count]
        difference = float(np.median(np.abs(predicted[DISTANCE] - expected) / expected))
        if not difference <= MAX_DISTANCE_DIFFERENCE:
            failures.append(
                f"returns distances that differ from the float model's by {difference:.1%} in the median, "
                f"expected at most {MAX_DISTANCE_DIFFERENCE:.0%}"
            )
    elif DISTANCE in reference and variant.runtime != BROWSER:  # which returns the probabilities alone
        failures.append(f"has no output {DISTANCE}")
    if variant.size_bytes > limit:
        failures.append(f"has {variant.size_bytes} bytes, expected at most {limit}")
    return {
        "name": variant.name,
        "through": variant.runtime,
        "precision": variant.precision,
        "size_bytes": variant.size_bytes,
        "size_limit_bytes": limit,
        "fragments": count,
        **found,
        "median_distance_difference": difference,
        "milliseconds": 1_000 * seconds,
        "failures": failures,
        "not_measured": None,
    }


def compare(reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> tuple[dict[str, float], list[str]]:
    """Compare the probabilities [n, genres] of a variant with the reference's, for fragments with these labels [n].

    Returns the figures, and a sentence for each limit that they exceed.
    """
    expected, genres, fragments = reference.argmax(axis=1), candidate.argmax(axis=1), len(labels)
    differences = np.abs(reference - candidate).max(axis=1)
    disagreements = int(((expected != genres) & (differences > NEAR_TIE)).sum())
    lost, won = discordant(expected == labels, genres == labels)
    accuracy, float_accuracy = float((genres == labels).mean()), float((expected == labels).mean())
    median, failures = float(np.median(differences)), []
    if wilson_interval(fragments - disagreements, fragments).high < MIN_AGREEMENT:
        failures.append(
            f"predicts another genre than the float model for {disagreements} of {fragments} fragments, "
            f"expected at most {1 - MIN_AGREEMENT:.0%}"
        )
    if is_worse(won, lost):
        failures.append(
            f"has an accuracy of {accuracy:.1%}, significantly below the float model's {float_accuracy:.1%}"
        )
    if median > MAX_PROBABILITY_DIFFERENCE:
        failures.append(
            f"returns probabilities that differ from the float model's by {median:.2f} in the median, expected at most "
            f"{MAX_PROBABILITY_DIFFERENCE}"
        )
    figures = {
        "agreement": float((expected == genres).mean()),
        "disagreements": disagreements,
        "only_float_right": lost,
        "only_variant_right": won,
        "accuracy": accuracy,
        "float_accuracy": float_accuracy,
        "max_probability_difference": float(differences.max()),
        "median_probability_difference": median,
    }
    return figures, failures


def _compare_in_browser(
    assets: str,
    precision: str,
    rows: list[dict[str, Any]],
    fragments: Sequence[Mapping[str, Any]],
    reference: Outputs,
) -> dict[str, Any]:
    """Compare the classifier of a precision in Chromium: a row, without figures if none could be measured."""
    name, chosen, failures = CLASSIFIER_FILES[precision], fragments[:SAMPLE], list[str]()
    content = as_path(f"{assets}/{name}").read_bytes()
    try:
        with open_in_browser([content], IMAGE, PROBABILITIES) as predict:
            variant = Variant(
                name, BROWSER, precision, len(content), "image", lambda value: {PROBABILITIES: predict(value)}
            )
            predicted, seconds = _predict(variant, chosen, ())
        return _row(variant, chosen, reference, predicted, seconds)
    except BrowserUnavailableError as error:
        logging.warning("The model is not compared in a browser: %s", error)
        reason = error.reason
    except BrowserError as error:
        reason, failures = "it does not respond", [f"does not respond: {str(error).splitlines()[0]}"]
    in_litert = next(row for row in rows if (row["name"], row["through"]) == (name, LITERT))
    row = in_litert | dict.fromkeys(key for key, value in in_litert.items() if isinstance(value, float))
    return row | {"through": BROWSER, "fragments": 0, "failures": failures, "not_measured": reason}


def _add_replay(replayed: Future[dict[str, list[str]]], rows: list[dict[str, Any]]) -> None:
    """Add the failures of the replayed warm-up requests to the signatures' rows, which come first."""
    signature_rows = {row["through"]: row for row in rows if row["name"] == "SavedModel"}
    try:
        found = replayed.result()
    except ServingError as error:
        found = {IMAGE: [f"cannot be loaded: {str(error).splitlines()[-1]}"]}
    for signature, failures in found.items():
        row = signature_rows.get(f"signature {signature}", rows[0])
        row["failures"] += [f"behind TensorFlow Serving {failure}" for failure in failures]
