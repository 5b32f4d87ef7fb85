"""One model trained once: what it answered on the test fragments and what it cost, kept in a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.run_data import SplitProtocol
from tumbao.components.ingest.atomic_write import whole
from tumbao.components.ingest.splits import PROTOCOLS, leaks
from tumbao.serving.song import validate

FACTS_FILE = "trial.json"
"""Everything but the arrays."""

ANSWERS_FILE = "answers.npz"
"""Labels, songs and probabilities."""

_ARRAYS = ("labels", "songs", "probabilities")


@dataclass(frozen=True, eq=False)
class Trial:
    """One model trained once.

    Parameters
    ----------
    model : str
        Name of the model.
    protocol : str
        What the split keeps together: ``song``, ``artist`` or (the paper's) ``fragment``, which leaks.
    seed : int
        Seed of the training.
    fold : int or None
        The part of the library that was the test split, from 0; None without cross-validation.
    genres : tuple of str
        The genres in the order of the model's outputs, length g.
    labels : numpy.ndarray of int64 [n]
        The true genre's index of each test fragment.
    songs : tuple of str
        The song of each test fragment, length n; all fragments of a song have one label.
    probabilities : numpy.ndarray of float32 [n, g]
        The model's answer to each test fragment, rows sum to 1.
    val_accuracy : float
        Accuracy on the validation split of the weights that were kept, 0–1.
    best_epoch : int
        The epoch whose weights were kept, counted from 1.
    train_seconds : float
        How long the training took.
    inference_ms : float
        Time of the answer to one fragment, in milliseconds.
    parameters, trainable_parameters : int
        How many there are, and how many of them were trained.
    tflite_bytes : int or None
        Size of the model as TFLite; None where there is none.
    tflite_note : str
        Why there is none; empty where there is one.
    synthetic : bool
        Whether the library's songs are composed instead of recorded.

    Raises
    ------
    ValueError
        If the protocol is unknown, there is no fragment, the arrays do not fit together, the probabilities are none,
        a song has two labels, or the note does not go with the size.
    """

    model: str
    protocol: SplitProtocol
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
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"The protocol must be one of {', '.join(PROTOCOLS)}. Received: {self.protocol!r}")
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
        """Whether fragments of one song could stand on both sides of the split."""
        return leaks(self.protocol)

    @property
    def accuracy(self) -> float:
        """Share of test fragments that were answered rightly, 0–1."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    def facts(self) -> dict[str, object]:
        """Give everything but the arrays.

        Returns
        -------
        dict
            Plain values by name, for `json.dumps`.
        """
        return {name: value for name, value in vars(self).items() if name not in _ARRAYS}

    def write(self, folder: Path) -> None:
        """Write the trial, so that it is whole or not there.

        Parameters
        ----------
        folder : pathlib.Path
            Its folder; what stands there is replaced, folders above are made.
        """
        with whole(folder) as part:
            arrays = {"labels": self.labels, "songs": np.array(self.songs), "probabilities": self.probabilities}
            np.savez_compressed(part / ANSWERS_FILE, **arrays)
            (part / FACTS_FILE).write_text(json.dumps(self.facts(), indent=1) + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """Read a trial.

        Parameters
        ----------
        folder : pathlib.Path
            Where `write` has put it.

        Returns
        -------
        Trial
            The same values.

        Raises
        ------
        FileNotFoundError
            If there is no whole trial.
        """
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / ANSWERS_FILE, allow_pickle=False) as arrays:
            songs = tuple(arrays["songs"].tolist())
            facts |= {"labels": arrays["labels"], "songs": songs, "probabilities": arrays["probabilities"]}
        return cls(**facts | {"genres": tuple(facts["genres"])})
