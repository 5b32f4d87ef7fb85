"""The data of one run's report, as frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from tumbao.components.evaluation.metrics import Evaluation, SongMetrics
from tumbao.components.ingest.splits import is_leaky
from tumbao.schema.mel_spec import MelSpec

SplitBy = Literal["song", "artist", "fragment"]
ComponentState = Literal["ran", "cached", "failed", "not run"]
GateKind = Literal["lower bound", "change against baseline"]

PAPER_LOSS = 0.3816
"""Test loss reported by the paper, on its own data, split by fragment."""

PAPER_ACCURACY = 0.8770
"""Test accuracy reported by the paper, on its own data, split by fragment."""


@dataclass(frozen=True)
class Run:
    """Identity, settings and environment of a run.

    `started` is ISO 8601; `synthetic` libraries have composed songs instead of recorded ones; `settings` are the
    command line's, by name; `versions` is by package; `code_digest` covers the project's own source; `weights_source`
    describes the origin of the pretrained weights; `precision` is a Keras dtype policy such as ``mixed_bfloat16``.
    `run_id` and `started` are empty in the component's report, which later runs may reuse.
    """

    run_id: str
    started: str
    library: str
    synthetic: bool
    seed: int
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    code_digest: str
    weights_source: str
    precision: str
    precision_reason: str


@dataclass(frozen=True)
class RejectedFile:
    """A file that did not become records: path relative to the library, short reason (``unreadable``), full message."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class FlaggedSong:
    """A song that was ingested with a remark on what was changed; `path` is relative to the library."""

    path: str
    remark: str


@dataclass(frozen=True)
class SplitCount:
    """Number of songs with at least one fragment, and of fragments, of one genre in one split."""

    genre: str
    split: str
    songs: int
    fragments: int


@dataclass(frozen=True)
class Catalog:
    """The music library: songs found, ingested and rejected, and how they were split.

    `split_by` is the unit of the split: ``song``, ``artist`` or (as in the paper) ``fragment``; for `split_strategy`,
    see `library.write_manifests`. `warnings` are whole sentences about counts that are too small to be
    reliable. `merged` lists sub-genres that are merged into their genre, each with the reason.
    """

    found: int
    ingested: int
    rejected: tuple[RejectedFile, ...]
    flagged: tuple[FlaggedSong, ...]
    counts: tuple[SplitCount, ...]
    split_by: SplitBy
    split_seed: int
    warnings: tuple[str, ...]
    merged: tuple[str, ...] = ()
    split_strategy: str = ""

    def __post_init__(self) -> None:
        if self.found != self.ingested + len(self.rejected):
            raise ValueError(
                "Expected as many songs found as ingested and rejected together. "
                f"Received: found={self.found}, ingested={self.ingested}, rejected={len(self.rejected)}"
            )

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song may be in several splits."""
        return is_leaky(self.split_by, self.split_strategy)


@dataclass(frozen=True, eq=False)
class SampleImage:
    """Mel image of one fragment, shown as an example of its genre.

    `image` is RGB, uint8 [image_height, image_width, 3], low frequencies at the bottom; `start_seconds` is the position
    in the song.
    """

    genre: str
    image: npt.NDArray[np.uint8]
    song: str
    start_seconds: float


@dataclass(frozen=True)
class Epoch:
    """Cross-entropy in nats and accuracy in 0–1 of one epoch, on the training and validation splits."""

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class History:
    """Training history; `best_epoch`, counted from 1, is the epoch with the selected weights."""

    epochs: tuple[Epoch, ...]
    best_epoch: int

    def __post_init__(self) -> None:
        if not 1 <= self.best_epoch <= len(self.epochs):
            raise ValueError(
                f"The best epoch must be one of the {len(self.epochs)} epochs, counted from 1. "
                f"Received: best_epoch={self.best_epoch}"
            )


@dataclass(frozen=True)
class GateRow:
    """One threshold of the gate and the value measured for it.

    `slice_name` is ``overall`` or a genre. For the kind ``lower bound``, `bound` is the lowest value allowed; for
    ``change against baseline``, the lowest allowed difference from `baseline`, the value of the latest blessed model.
    `value` is the candidate's in both cases.
    """

    metric: str
    slice_name: str
    value: float
    bound: float
    kind: GateKind
    baseline: float | None
    passed: bool


@dataclass(frozen=True)
class Gate:
    """The Evaluator's decision and every threshold that it checked."""

    blessed: bool
    rows: tuple[GateRow, ...]

    @property
    def accuracy(self) -> float | None:
        """The accuracy that was compared with a threshold; None where no threshold is on accuracy."""
        return next((row.value for row in self.rows if row.metric == "accuracy"), None)


@dataclass(frozen=True)
class MobileCheck:
    """The decision on the quantized files; `failures` are whole sentences."""

    blessed: bool
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Push:
    """The outcome of the push.

    `pushed_to` is the path of the model; with `pushed` False, an earlier run had already pushed the same model.
    `withdrawn` is the reason why a model that passed every check was not pushed: a rollback had removed it.
    """

    pushed: bool
    pushed_to: str | None
    withdrawn: str = ""


@dataclass(frozen=True)
class VariantResult:
    """Comparison of one exported variant with the float model, on fragments of the test split.

    `name` is a file name or ``SavedModel``; `through` is the signature or interpreter that runs it; `precision` is for
    example ``float16``, ``dynamic`` or ``int8``. `agreement` is the share of fragments with the float model's top
    genre; both accuracies are on the same fragments; shares and probabilities are in 0–1. `milliseconds` is the median
    time of one prediction. With 0 `fragments` the figures are None, and `not_measured` is the reason.
    """

    name: str
    through: str
    precision: str
    size_bytes: int
    size_limit_bytes: int
    fragments: int
    agreement: float | None
    accuracy: float | None
    float_accuracy: float | None
    max_probability_difference: float | None
    milliseconds: float | None
    passed: bool
    not_measured: str | None = None


@dataclass(frozen=True)
class Component:
    """One node of the pipeline in this run; `seconds` is 0 if it did not run; `error` begins with the message."""

    name: str
    state: ComponentState
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class ReportData:
    """All data of a report; None or empty for steps that the run did not reach.

    `components` is in execution order, and empty in the component's report, which is written before the push; `edges`
    are pairs (upstream, downstream) of component names; `samples` has one mel image for each genre.
    """

    run: Run
    mel_spec: MelSpec
    components: tuple[Component, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    catalog: Catalog | None = None
    samples: tuple[SampleImage, ...] = ()
    search: Search | None = None
    history: History | None = None
    evaluation: Evaluation | None = None
    songs: SongMetrics | None = None
    gate: Gate | None = None
    mobile_check: MobileCheck | None = None
    artefacts: tuple[VariantResult, ...] = ()
    push: Push | None = None

    @property
    def leaky(self) -> bool:
        """Whether the split leaks, so that the figures are too optimistic."""
        return self.catalog is not None and self.catalog.leaky


@dataclass(frozen=True)
class SearchTrial:
    """One trial of the hyperparameter search and its metrics on the validation fragments.

    `number` is the position in the order of the trials, from 1; `units` are the widths of the dense layers before the
    softmax; `l2` is the weight of the L2 penalty on kernels; `loss` is the cross-entropy in nats.
    """

    number: int
    units: tuple[int, ...]
    dropout: float
    l2: float
    learning_rate: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Search:
    """Results of a hyperparameter search.

    `trials` are the completed ones, the best first; at least one. `paper` and `given` are the numbers of the trials
    with the paper's settings and with the run's own; None if that trial failed or was not made. `songs` names the song
    of each validation fragment; `right_best` and `right_paper` tell which of these fragments are classified correctly.
    """

    trials: tuple[SearchTrial, ...]
    failed: int
    paper: int | None
    given: int | None
    songs: tuple[str, ...]
    right_best: tuple[bool, ...]
    right_paper: tuple[bool, ...] | None

    @property
    def best(self) -> SearchTrial:
        """The trial whose settings the model was trained with."""
        return self.trials[0]

    @property
    def tried(self) -> int:
        """Number of trials, including failed ones."""
        return len(self.trials) + self.failed

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Search:
        """Create an instance from the JSON of `dataclasses.asdict`; `given` was named `asked` once."""
        return TypeAdapter(cls).validate_python({"given": values.get("asked"), **values})


Outcome = Literal["pushed", "standing", "refused", "failed", "unfinished"]


@dataclass(frozen=True)
class Verdict:
    """Outcome of a run: a keyword, a title of two or three words and a sentence.

    ``standing``: blessed, but the same model was pushed before. ``refused``: by the gate, by the mobile check, or
    because a rollback removed the model.
    """

    outcome: Outcome
    title: str
    sentence: str


def verdict(data: ReportData) -> Verdict:
    """Describe whether the model was blessed and pushed, or why not."""
    where = data.push.pushed_to if data.push else None
    pushed = data.push is not None and data.push.pushed
    leaky = " (The metrics are of a leaky split.)" if data.leaky else ""
    passed = "The model passed every check"
    if failed := next((component for component in data.components if component.state == "failed"), None):
        message = (failed.error or "no message").strip().splitlines()[0]
        after = f"The model had already been pushed to {where}." if pushed else "Nothing was pushed."
        return Verdict("failed", "Failed", f"{failed.name} failed: {message} {after}")
    if data.gate is None:
        return Verdict("unfinished", "Not finished", "The run ended before the evaluation, and nothing was pushed.")
    if not data.gate.blessed:
        missed = "; ".join(reason(row) for row in data.gate.rows if not row.passed)
        missed = missed or "the Evaluator reported no failed threshold"
        sentence = f"The model was not blessed, so nothing was pushed: {missed}.{leaky}"
        return Verdict("refused", "Not blessed", sentence)
    if data.mobile_check and not data.mobile_check.blessed:
        failures = " ".join(data.mobile_check.failures) or "The mobile check reported no reason."
        sentence = f"The model was blessed, but an exported file failed, so nothing was pushed: {failures}{leaky}"
        return Verdict("refused", "Vetoed", sentence)
    if not data.components:
        return Verdict("pushed", "Blessed", f"{passed}.")
    if pushed:
        return Verdict("pushed", "Blessed and pushed", f"{passed} and was pushed to {where}.")
    if data.push and data.push.withdrawn:
        return Verdict("refused", "Rolled back", f"{passed}, but was not pushed: {data.push.withdrawn}.")
    if where:
        sentence = f"{passed}; it is already served from {where} and was not pushed again."
        return Verdict("standing", "Blessed", sentence)
    return Verdict("unfinished", "Blessed, not pushed", "The model was blessed, but this run did not push it.")


def reason(row: GateRow) -> str:
    """Describe the result of a threshold, such as ``recall of salsa is 0.417, below the minimum of 0.500``."""
    name = row.metric if row.slice_name == "overall" else f"{row.metric} of {row.slice_name}"
    if math.isnan(row.value):
        return f"{name} could not be measured: no test fragment"
    if row.kind == "lower bound":
        return f"{name} is {row.value:.3f}, below the minimum of {row.bound:.3f}"
    baseline = "there is no baseline" if row.baseline is None else f"the baseline's is {row.baseline:.3f}"
    return f"{name} is {row.value:.3f} and {baseline}: the minimum change is {row.bound:+.3f}"
