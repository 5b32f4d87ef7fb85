"""What a report is made of: everything that one run knows about itself, in frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.song_metrics import SongMetrics
from tumbao.components.ingest.splits import leaks
from tumbao.components.search import Search
from tumbao.schema.mel_spec import MelSpec

SplitProtocol = Literal["song", "artist", "fragment"]
ComponentState = Literal["ran", "cached", "failed", "not run"]
GateKind = Literal["lower bound", "change against baseline"]

PAPER_LOSS = 0.3816
"""Test loss that the paper reports, on its own data, split by fragment."""

PAPER_ACCURACY = 0.8770
"""Test accuracy that the paper reports, on its own data, split by fragment."""


@dataclass(frozen=True)
class Run:
    """Which run it was, and with what it ran.

    Parameters
    ----------
    run_id : str
        Identifier of the run.
    started : str
        When it began, ISO 8601.
    library : str
        Name of the music library.
    synthetic : bool
        Whether the library's songs are composed instead of recorded.
    seed : int
        Seed of the run.
    settings : Mapping of str to object
        The run's settings by name, as given on the command line.
    versions : Mapping of str to str
        Versions by package.
    code_digest : str
        Digest of the project's own source.
    weights_source : str
        Where the ImageNet weights came from.
    precision : str
        Precision policy of the training, such as ``mixed_bfloat16``.
    precision_reason : str
        Why this policy was taken.
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
    """A file that did not become records.

    Parameters
    ----------
    path : str
        The file, relative to the library.
    reason : str
        Short reason, such as ``unreadable``.
    detail : str
        The whole message.
    """

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class FlaggedSong:
    """A song that was ingested, but not as it is.

    Parameters
    ----------
    path : str
        The file, relative to the library.
    remark : str
        What was done about it.
    """

    path: str
    remark: str


@dataclass(frozen=True)
class SplitCount:
    """How much music of one genre stands in one split.

    Parameters
    ----------
    genre : str
        The genre.
    split : str
        The split, one of ``tumbao.schema.record.SPLITS``.
    songs : int
        Songs with at least one fragment in it.
    fragments : int
        Fragments in it.
    """

    genre: str
    split: str
    songs: int
    fragments: int


@dataclass(frozen=True)
class Catalog:
    """The music: what was found, what of it was taken, and how it was split.

    Parameters
    ----------
    found : int
        Songs found.
    ingested : int
        Songs that became records.
    rejected : tuple of RejectedFile
        The others, each with its reason.
    flagged : tuple of FlaggedSong
        Ingested songs with a remark.
    counts : tuple of SplitCount
        Songs and fragments by genre and split.
    protocol : str
        What the split keeps together: ``song``, ``artist`` or (the paper's) ``fragment``, which keeps nothing together.
    split_seed : int
        Seed of the split.
    warnings : tuple of str
        What is too small to be trusted, as whole sentences.
    folded : tuple of str
        Sub-genres whose songs count for their genre, each with the reason.
    method : str
        How the split was drawn, see `catalog.write_manifests`.

    Raises
    ------
    ValueError
        If the songs found are not the ingested and the rejected ones together.
    """

    found: int
    ingested: int
    rejected: tuple[RejectedFile, ...]
    flagged: tuple[FlaggedSong, ...]
    counts: tuple[SplitCount, ...]
    protocol: SplitProtocol
    split_seed: int
    warnings: tuple[str, ...]
    folded: tuple[str, ...] = ()
    method: str = ""

    def __post_init__(self) -> None:
        if self.found != self.ingested + len(self.rejected):
            raise ValueError(
                "Songs found must be songs ingested plus songs rejected; a song was lost or counted twice. "
                f"Received: found={self.found}, ingested={self.ingested}, rejected={len(self.rejected)}"
            )

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can stand on both sides of the split."""
        return leaks(self.protocol, self.method)


@dataclass(frozen=True, eq=False)
class SampleImage:
    """One fragment's mel image, to be shown for its genre.

    Parameters
    ----------
    genre : str
        The genre that it stands for.
    image : numpy.ndarray of uint8 [image_height, image_width, 3]
        RGB, low frequencies at the bottom.
    song : str
        The song that it is taken from.
    start_seconds : float
        Where the fragment begins in the song, in seconds.
    """

    genre: str
    image: npt.NDArray[np.uint8]
    song: str
    start_seconds: float


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch.

    Parameters
    ----------
    train_loss, train_accuracy : float
        Cross-entropy in nats and accuracy in 0–1 on the training split.
    val_loss, val_accuracy : float
        The same on the validation split.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class History:
    """How the training went.

    Parameters
    ----------
    epochs : tuple of Epoch
        The epochs in their order, at least one.
    best_epoch : int
        The epoch whose weights were kept, counted from 1.

    Raises
    ------
    ValueError
        If the best epoch is not one of the epochs.
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int

    def __post_init__(self) -> None:
        if not 1 <= self.best_epoch <= len(self.epochs):
            raise ValueError(
                f"The best epoch must be one of the {len(self.epochs)} epochs, counted from 1. "
                f"Received: best_epoch={self.best_epoch}"
            )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the model answered on the test split, fragment by fragment.

    Parameters
    ----------
    genres : tuple of str
        The genres in the order of the model's outputs, length g.
    labels : numpy.ndarray of int [n]
        The true genre's index of each fragment.
    probabilities : numpy.ndarray of float [n, g]
        The model's answer, rows sum to 1.
    songs : numpy.ndarray of str [n]
        The song of each fragment; all fragments of a song have one label.
    accuracy, loss : float or None
        What the Evaluator measured on these fragments, for the gate and `model.json`; None where it is computed from
        the answers.

    Raises
    ------
    ValueError
        If there is no fragment, the shapes do not fit together, or a song has two labels.
    """

    genres: tuple[str, ...]
    labels: npt.NDArray[np.integer]
    probabilities: npt.NDArray[np.floating]
    songs: npt.NDArray[np.str_]
    accuracy: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        shapes = (self.labels.shape, self.probabilities.shape, self.songs.shape)
        if n == 0 or shapes != ((n,), (n, len(self.genres)), (n,)):
            raise ValueError(
                f"Expected labels [n], probabilities [n, {len(self.genres)}] and songs [n] with n at least 1. "
                f"Received: shapes {shapes[0]}, {shapes[1]}, {shapes[2]}"
            )
        pairs = sorted(set(zip(self.songs.tolist(), self.labels.tolist(), strict=True)))
        twice = [song for (song, _), (following, _) in pairwise(pairs) if song == following]
        if twice:
            raise ValueError(f"All fragments of a song must have one label. Received: several labels for {twice[0]!r}")


@dataclass(frozen=True)
class GateRow:
    """One threshold of the gate and what came.

    Parameters
    ----------
    metric : str
        Name of the metric.
    slice_name : str
        The part of the test split, such as ``overall`` or a genre.
    value : float
        What was measured; for a change, the candidate's own value.
    bound : float
        The lowest value allowed; for a change, the lowest difference from the baseline allowed.
    kind : str
        Either ``lower bound`` or ``change against baseline``.
    baseline : float or None
        The latest blessed model's value where there is one.
    passed : bool
        Whether the threshold is kept.
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
    """The evaluator's decision.

    Parameters
    ----------
    blessed : bool
        Whether the model is good enough.
    rows : tuple of GateRow
        Every threshold that was looked at.
    """

    blessed: bool
    rows: tuple[GateRow, ...]

    @property
    def accuracy(self) -> float | None:
        """The accuracy that was judged; None where no threshold is on it."""
        return next((row.value for row in self.rows if row.metric == "accuracy"), None)


@dataclass(frozen=True)
class MobileCheck:
    """The decision on the quantized files.

    Parameters
    ----------
    blessed : bool
        Whether every file agrees with the float model and keeps its size.
    failures : tuple of str
        What did not hold, as whole sentences.
    """

    blessed: bool
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Push:
    """What became of the model.

    Parameters
    ----------
    pushed : bool
        Whether this run put a model at the push place.
    pushed_to : str or None
        Where the model stands; with ``pushed`` false, where an earlier run already put the same one.
    withdrawn : str
        Why a model that passed every check was kept away: a rollback took it from there; else empty.
    """

    pushed: bool
    pushed_to: str | None
    withdrawn: str = ""


@dataclass(frozen=True)
class Artefact:
    """One way to an answer against the float model, on fragments of the test split.

    Parameters
    ----------
    name : str
        File name, or ``SavedModel``.
    through : str
        What runs it: a signature or an interpreter.
    precision : str
        Such as ``float16``, ``dynamic`` or ``int8``.
    size_bytes, size_limit_bytes : int
        Size of the file and the largest allowed.
    fragments : int
        How many fragments it answered for; without any there are no figures.
    agreement : float or None
        Share of fragments with the float model's top genre, 0–1.
    accuracy, float_accuracy : float or None
        Accuracy of this file and of the float model on the same fragments, 0–1.
    max_probability_difference : float or None
        Largest absolute difference of a probability, 0–1.
    milliseconds : float or None
        Median time of one answer.
    passed : bool
        Whether it may be pushed.
    not_measured : str or None
        Why there are no figures.
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
    """One node of the pipeline in this run.

    Parameters
    ----------
    name : str
        The component's identifier.
    state : str
        One of ``ran``, ``cached``, ``failed``, ``not run``.
    seconds : float
        How long it took in this run; 0 where it did not run.
    error : str or None
        What it raised, if it failed; the first line is the message.
    """

    name: str
    state: ComponentState
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything a report shows; None or empty is what the run did not reach.

    Parameters
    ----------
    run : Run
        Which run it was.
    mel_spec : MelSpec
        Parameters of the mel images.
    components : tuple of Component
        The pipeline's nodes in the order in which they run.
    edges : tuple of (str, str)
        Pairs (upstream, downstream) of component names.
    catalog : Catalog or None
        The music.
    samples : tuple of SampleImage
        One mel image for each genre.
    search : Search or None
        The search for better settings, where there was one.
    history : History or None
        The training.
    evaluation : Evaluation or None
        Answers on the test split.
    songs : SongMetrics or None
        How well whole songs are answered.
    gate : Gate or None
        The evaluator's decision.
    mobile_check : MobileCheck or None
        The decision on the quantized files.
    artefacts : tuple of Artefact
        Every way to an answer.
    push : Push or None
        What became of the model.
    """

    run: Run
    mel_spec: MelSpec
    components: tuple[Component, ...]
    edges: tuple[tuple[str, str], ...]
    catalog: Catalog | None = None
    samples: tuple[SampleImage, ...] = ()
    search: Search | None = None
    history: History | None = None
    evaluation: Evaluation | None = None
    songs: SongMetrics | None = None
    gate: Gate | None = None
    mobile_check: MobileCheck | None = None
    artefacts: tuple[Artefact, ...] = ()
    push: Push | None = None

    @property
    def leaky(self) -> bool:
        """Whether the figures come from a split that leaks."""
        return self.catalog is not None and self.catalog.leaky
