"""The data of one run's report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tumbao.components.evaluation.decision import Decision
from tumbao.components.evaluation.metrics import Evaluation, SongMetrics
from tumbao.components.ingest.splits import is_leaky
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

ComponentState = Literal["ran", "cached", "failed", "not run"]
GateKind = Literal["lower bound", "change against baseline"]

Lines = Sequence[Mapping[str, Any]]
"""Objects of a JSON Lines file."""

PAPER_LOSS, PAPER_ACCURACY = 0.3816, 0.8770
"""Test loss and accuracy reported by the paper, on its own data, split by fragment."""


@dataclass(frozen=True)
class GroupResult:
    """Result in cross-validation that keeps the groups of a column whole, such as the sources of recordings."""

    column: str
    groups: int
    songs: int
    right: int
    balanced_accuracy: float


@dataclass(frozen=True)
class Candidate:
    """Result of a model in cross-validation over songs."""

    model: str
    songs: int  # each was tested once
    right: int
    balanced_accuracy: float
    log_loss: float  # in nats
    nearest: float = 0.0  # accuracy of the nearest neighbour on the same songs
    predictions: str = ""  # file with the predictions of all fragments, as SongEvaluation's
    by_group: GroupResult | None = None  # of the chosen model, where the list has a column for it
    curve: tuple[tuple[int, float], ...] = ()  # training songs of each genre, at most, and balanced accuracy


@dataclass(frozen=True)
class Run:
    """Identity, settings and environment of a run; `run_id` and `started` are empty in the component's report."""

    run_id: str
    started: str  # ISO 8601
    library: str
    synthetic: bool  # songs are composed, not recorded
    seed: int
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    code_digest: str
    weights_source: str
    precision: str  # Keras dtype policy
    precision_reason: str
    candidates: tuple[Candidate, ...] = ()  # the models that this one was chosen from, the best first


class SplitCount(NamedTuple):
    """Number of songs with at least one fragment, and of fragments."""

    songs: int
    fragments: int


def count_by_split(ingested: Lines, genres: Sequence[str]) -> dict[str, dict[str, SplitCount]]:
    """Count the songs of `ingested.jsonl` by genre and split; parts of a song count as one song."""
    counts: dict[str, dict[str, SplitCount]] = {genre: {} for genre in genres}
    for genre, split in itertools.product(genres, SPLITS):
        parts = [one for one in ingested if (one["genre"], one["split"]) == (genre, split) and one["fragments"]]
        counts[genre][split] = SplitCount(len({one["song"] for one in parts}), sum(one["fragments"] for one in parts))
    return counts


@dataclass(frozen=True)
class Catalog:
    """The music library: songs found, ingested and rejected, and how they were split."""

    found: int
    ingested: int
    rejected: Lines
    flagged: Sequence[tuple[str, str]]  # song and remark on what was changed
    counts: Mapping[str, Mapping[str, SplitCount]]  # by genre and split
    split_by: str
    split_seed: int
    warnings: Sequence[str]  # sentences about counts that are too small to be reliable
    merged: Sequence[str] = ()  # sub-genres that are merged into their genre, each with the reason
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
    """Mel image of a genre's fragment: RGB, uint8 [image_height, image_width, 3], low frequencies at the bottom."""

    genre: str
    image: np.ndarray
    song: str
    start_seconds: float


@dataclass(frozen=True)
class GateRow:
    """One threshold of the gate, for a genre or ``overall``, and the value measured for it.

    `bound` is the lowest value allowed, or the lowest allowed difference from `baseline`.
    """

    metric: str
    slice_name: str
    value: float
    bound: float
    kind: GateKind
    baseline: float | None
    passed: bool

    @property
    def reason(self) -> str:
        """Why the threshold was not reached, such as ``recall of salsa is 0.417, below the minimum of 0.500``."""
        name = self.metric if self.slice_name == "overall" else f"{self.metric} of {self.slice_name}"
        if math.isnan(self.value):
            return f"{name} could not be measured: no test fragment"
        if self.kind == "lower bound":
            return f"{name} is {self.value:.3f}, below the minimum of {self.bound:.3f}"
        baseline = "there is no baseline" if self.baseline is None else f"the baseline's is {self.baseline:.3f}"
        return f"{name} is {self.value:.3f} and {baseline}: the minimum change is {self.bound:+.3f}"


@dataclass(frozen=True)
class Gate:
    """The Evaluator's decision and every threshold that it checked."""

    blessed: bool
    rows: tuple[GateRow, ...]

    @property
    def failures(self) -> str:
        """Description of the thresholds that were not reached."""
        reasons = [row.reason for row in self.rows if not row.passed]
        return "; ".join(reasons)


@dataclass(frozen=True)
class MobileCheck:
    """The decision on the exported files, and MobileCheck's row for each of them."""

    blessed: bool
    variants: Lines

    @property
    def failures(self) -> list[str]:
        """Failures of the variants, as sentences."""
        return [f"{row['name']} ({row['through']}) {failure}." for row in self.variants for failure in row["failures"]]

    @property
    def left_out(self) -> list[str]:
        """Names of the files that are left out of the push, because only they failed."""
        return sorted({row["name"] for row in self.variants if row["failures"]}) if self.blessed else []


@dataclass(frozen=True)
class Push:
    """The outcome of the push: the path of the model, or the rollback that removed it (`withdrawn`)."""

    pushed: bool
    pushed_to: str | None
    withdrawn: str = ""


@dataclass(frozen=True)
class Component:
    """One node of the pipeline in this run; `seconds` is 0 if it did not run; `error` begins with the message."""

    name: str
    inputs: tuple[str, ...]  # names of the components whose outputs it uses
    state: ComponentState
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class SearchTrial:
    """One trial of the hyperparameter search and its metrics on the validation fragments."""

    number: int  # in the order of the trials, from 1
    units: tuple[int, ...]
    dropout: float
    l2: float
    learning_rate: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Search:
    """Results of a hyperparameter search: the completed trials, the best first.

    `paper` and `given` are the numbers of the trials with the paper's settings and with the run's own; None if that
    trial failed or was not made. `songs`, `right_best` and `right_paper` are by validation fragment.
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


@dataclass(frozen=True, eq=False)
class ReportData:
    """All data of a report; None or empty for steps that the run did not reach.

    `components`, in execution order, are empty in the component's report, which is written before the push. `history`
    is the Trainer's.
    """

    run: Run
    mel_spec: MelSpec
    components: tuple[Component, ...] = ()
    catalog: Catalog | None = None
    samples: tuple[SampleImage, ...] = ()
    search: Search | None = None
    history: Mapping[str, Any] | None = None
    evaluation: Evaluation | None = None
    songs: SongMetrics | None = None
    gate: Gate | None = None
    decision: Decision | None = None
    mobile_check: MobileCheck | None = None
    push: Push | None = None

    @property
    def leaky(self) -> bool:
        """Whether the split leaks, so that the figures are too optimistic."""
        return self.catalog is not None and self.catalog.leaky


class Verdict(NamedTuple):
    """Outcome of a run: a keyword, a title of two or three words and a sentence.

    ``standing``: blessed, but the same model was pushed before. ``refused``: by the Evaluator, the songs or the mobile
    check, or because a rollback removed the model. ``undecided``: there are too few songs to tell.
    """

    outcome: Literal["pushed", "standing", "undecided", "refused", "failed", "unfinished"]
    title: str
    sentence: str


def verdict(data: ReportData) -> Verdict:
    """Describe whether the model was blessed and pushed, or why not."""
    where = data.push.pushed_to if data.push else None
    pushed = data.push is not None and data.push.pushed
    leaky = " (The metrics are of a leaky split.)" if data.leaky else ""
    passed = "The model passed every check"
    if data.decision and data.decision.outcome == "undecided":
        passed = "It is undecided whether the model is good enough; --push-undecided accepts that. It passed all else"
    left_out = data.mobile_check.left_out if data.mobile_check else []
    without = f" Left out, since only they failed the mobile check: {', '.join(left_out)}." if left_out else ""
    if failed := next((component for component in data.components if component.state == "failed"), None):
        message = (failed.error or "no message").strip().splitlines()[0]
        after = f"The model had already been pushed to {where}." if pushed else "Nothing was pushed."
        return Verdict("failed", "Failed", f"{failed.name} failed: {message} {after}")
    if data.gate is None:
        return Verdict("unfinished", "Not finished", "The run ended before the evaluation, and nothing was pushed.")
    if not data.gate.blessed:
        return _not_blessed(data.gate, data.decision, leaky)
    if data.mobile_check and not data.mobile_check.blessed:
        failures = " ".join(data.mobile_check.failures) or "The mobile check reported no reason."
        sentence = f"The model was blessed, but an exported file failed, so nothing was pushed: {failures}{leaky}"
        return Verdict("refused", "Vetoed", sentence)
    if not data.components:
        return Verdict("pushed", "Blessed", f"{passed}.{without}")
    if pushed:
        return Verdict("pushed", "Blessed and pushed", f"{passed} and was pushed to {where}.{without}")
    if data.push and data.push.withdrawn:
        return Verdict("refused", "Rolled back", f"{passed}, but was not pushed: {data.push.withdrawn}.")
    if where:
        sentence = f"{passed}; it is already served from {where} and was not pushed again."
        return Verdict("standing", "Blessed", sentence)
    return Verdict("unfinished", "Blessed, not pushed", "The model was blessed, but this run did not push it.")


def _not_blessed(gate: Gate, decision: Decision | None, leaky: str) -> Verdict:
    reasons = "; ".join(filter(None, (gate.failures, decision.reasons if decision else "")))
    if decision and decision.outcome == "undecided" and not gate.failures:
        sentence = f"Nothing was pushed: {reasons}. --push-undecided pushes it nevertheless, labelled so.{leaky}"
        return Verdict("undecided", "Undecided", sentence)
    return Verdict("refused", "Not blessed", f"The model was not blessed, so nothing was pushed: {reasons}.{leaky}")
