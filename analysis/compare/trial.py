"""One training of a model: its answers to the test fragments and its cost, stored in a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.run_data import SplitBy
from tumbao.components.ingest.atomic_write import new_folder
from tumbao.components.ingest.splits import SPLIT_BY, is_leaky
from tumbao.serving.song import validate

FACTS_FILE = "trial.json"
"""Everything except the arrays."""

ANSWERS_FILE = "answers.npz"
"""Labels, songs and probabilities."""

_ARRAYS = ("labels", "songs", "probabilities")


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of a model and its answers to n test fragments.

    `protocol` is what the split keeps together; the paper's ``fragment`` leaks. `fold` is the number of the test part,
    from 0; None without cross-validation. `genres` are in the order of the model's outputs. `labels` are int64 [n],
    `songs` [n] names the song of each fragment, and the rows of `probabilities`, float32 [n, genres], sum to 1.
    `val_accuracy` (0–1) and `best_epoch` (from 1) are of the weights that were kept. `inference_ms` is for one
    fragment. `tflite_note` is the reason if `tflite_bytes` is None, else empty. `synthetic` says that the library's
    songs are composed, not recorded.

    Raises ValueError if the values do not fit together, or a song has two labels.
    """

    model: str
    protocol: SplitBy
    seed: int
    fold: int | None
    genres: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    songs: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    val_accuracy: float
    best_epoch: int
    train_seconds: float
    inference_ms: float
    parameters: int
    trainable_parameters: int
    tflite_bytes: int | None
    tflite_note: str
    synthetic: bool

    def __post_init__(self) -> None:
        if self.protocol not in SPLIT_BY:
            raise ValueError(f"The protocol must be one of {', '.join(SPLIT_BY)}. Received: {self.protocol!r}")
        self._check_arrays()
        if (self.tflite_bytes is None) != bool(self.tflite_note):
            raise ValueError(
                "Expected the size of the TFLite file, or a note that says why there is none, and not both. "
                f"Received: tflite_bytes={self.tflite_bytes}, tflite_note={self.tflite_note!r}"
            )

    def _check_arrays(self) -> None:
        n, types = len(self.songs), (self.labels.dtype.name, self.probabilities.dtype.name)
        shapes = (self.labels.shape, self.probabilities.shape)
        if n == 0 or shapes != ((n,), (n, len(self.genres))) or types != ("int64", "float32"):
            raise ValueError(
                f"Expected int64 labels [n] and float32 probabilities [n, {len(self.genres)}] for the n = {n} "
                f"fragments' songs, n at least 1. Received: {types[0]} {shapes[0]} and {types[1]} {shapes[1]}"
            )
        validate(self.probabilities)
        if self.labels.min() < 0 or self.labels.max() >= len(self.genres):
            raise ValueError(
                f"Labels must be indexes of the {len(self.genres)} genres. "
                f"Received: {self.labels.min()} to {self.labels.max()}"
            )
        label_of: dict[str, int] = {}
        for song, label in zip(self.songs, self.labels.tolist(), strict=True):
            if label_of.setdefault(song, label) != label:
                raise ValueError(f"All fragments of a song must have one label. Received: several labels for {song!r}")

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)

    @property
    def accuracy(self) -> float:
        """Share of correctly classified test fragments, 0–1."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    def facts(self) -> dict[str, object]:
        """Return everything except the arrays, for `json.dumps`."""
        return {name: value for name, value in vars(self).items() if name not in _ARRAYS}

    def write(self, folder: Path) -> None:
        """Write the trial atomically; a folder that exists is replaced."""
        with new_folder(folder) as part:
            arrays = {"labels": self.labels, "songs": np.array(self.songs), "probabilities": self.probabilities}
            np.savez_compressed(part / ANSWERS_FILE, **arrays)
            (part / FACTS_FILE).write_text(json.dumps(self.facts(), indent=1) + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """Load a trial; raises FileNotFoundError if it is missing or incomplete."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / ANSWERS_FILE, allow_pickle=False) as arrays:
            songs = tuple(arrays["songs"].tolist())
            facts |= {"labels": arrays["labels"], "songs": songs, "probabilities": arrays["probabilities"]}
        return cls(**facts | {"genres": tuple(facts["genres"])})
