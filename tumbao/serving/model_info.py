"""What a pushed model says about itself: model.json, and the names of the files beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tumbao.errors import UserError
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.calibration import Calibration
from tumbao.serving.familiarity import Familiarity

FORMAT_VERSION = 1
"""Version of model.json: raised when a key changes its meaning or goes away, not when one is added."""

ASSETS_FOLDER = "assets.extra"
"""Folder of the SavedModel that holds these files."""

FRONTEND_FILE = "frontend.tflite"
"""The mel front-end: waveform → image."""

CLASSIFIER_FILES = {
    "float16": "classifier-float16.tflite",
    "dynamic": "classifier-dynamic.tflite",
    "int8": "classifier-int8.tflite",
}
"""The image model (image → probabilities) in each precision."""

AUDIO_FILE = "tumbao-audio.tflite"
"""Both in one: waveform → probabilities."""

PREFERENCE = ("int8", "dynamic", "float16")
"""Which precision is taken, of those that there are: not every kind of model bears each."""

EDGE_FOLDER = "edge"
"""Test vectors for ports, with a reference and a check."""

LABELS_FILE = "labels.txt"
"""One genre a line, in the order of outputs."""

INFO_FILE = "model.json"
"""`ModelInfo` as JSON."""

ARCHITECTURE_FILE = "architecture.json"
"""The layers of the Keras model, as Keras writes them; their weights are the SavedModel's."""


def preferred(precisions: Collection[str]) -> str:
    """Choose a precision; the classifier inside `AUDIO_FILE` has it, and songs are classified with it.

    Parameters
    ----------
    precisions : collection of str
        Keys of `CLASSIFIER_FILES` that there are.

    Returns
    -------
    precision : str
        The first of `PREFERENCE`.

    Examples
    --------
    >>> preferred({"float16", "dynamic"})
    'dynamic'
    """
    return next(precision for precision in PREFERENCE if precision in precisions)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What the model was trained on.

    Parameters
    ----------
    synthetic : bool
        The songs were composed by a program: the model knows nothing of real recordings.
    library : str
        Name of the library's folder, without the path to it.
    catalog_digest : str
        The first 16 hexadecimal digits of the SHA-256 over the catalogue of songs.
    songs : dict of str to int
        Songs in each split.
    fragments : dict of str to int
        Fragments in each split.

    Raises
    ------
    ValueError
        If the library is given by its path.
    """

    synthetic: bool
    library: str
    catalog_digest: str
    songs: dict[str, int]
    fragments: dict[str, int]

    def __post_init__(self) -> None:
        if "/" in self.library or "\\" in self.library:
            raise ValueError(
                f"Expected the library's name; a pushed model tells no paths. Received: library={self.library!r}"
            )


@dataclasses.dataclass(frozen=True)
class Split:
    """How songs came into training, validation and test.

    Parameters
    ----------
    protocol : str
        What stays together: "song", "artist" or "fragment".
    leaky : bool
        Fragments of one song may stand on both sides of the split, which makes the metrics too good.
    seed : int
        Seed of the split.
    """

    protocol: str
    leaky: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """One file of the model.

    Parameters
    ----------
    name : str
        File name inside `ASSETS_FOLDER`.
    bytes : int
        Size.
    sha256 : str
        Digest of the content, hexadecimal.
    precision : str
        Numbers inside: "float32", "float16", "dynamic" or "int8".
    """

    name: str
    bytes: int
    sha256: str
    precision: str


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a pushed model says about itself.

    Parameters
    ----------
    created : str
        When it was exported, ISO 8601 in UTC.
    genres : tuple of str
        Genres in the order of outputs.
    mel : MelSpec
        The front-end's parameters.
    training_data : TrainingData
        What it was trained on.
    split : Split
        How songs were divided.
    metrics : dict of str to float
        Figures on the test split: test_accuracy, test_loss and others.
    files : dict of str to ModelFile
        The files: "frontend", the precisions of the classifier, and "audio", which is both in one.
    versions : dict of str to str
        Versions of tumbao, tensorflow and keras, and the digest of our source (code_digest).
    calibration : Calibration or None
        Temperature of the fragments' probabilities and threshold of the song's; without them every answer counts.
    familiarity : Familiarity or None
        The range of the training songs' images; without it every fragment counts as familiar.
    name : str
        Name of the model.
    format_version : int
        Version of this format.
    """

    created: str
    genres: tuple[str, ...]
    mel: MelSpec
    training_data: TrainingData
    split: Split
    metrics: dict[str, float]
    files: dict[str, ModelFile]
    versions: dict[str, str]
    calibration: Calibration | None = None
    familiarity: Familiarity | None = None
    name: str = "tumbao"
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> Path:
        """Write model.json and labels.txt.

        Parameters
        ----------
        folder : Path
            Where to; it exists.

        Returns
        -------
        Path
            The model.json.
        """
        (folder / LABELS_FILE).write_text("".join(f"{genre}\n" for genre in self.genres), encoding="utf-8")
        path = folder / INFO_FILE
        path.write_text(
            json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        return path

    @classmethod
    def read(cls, folder: Path) -> ModelInfo:
        """Read model.json.

        Keys that this version does not know are ignored, so that later versions may add some; an unknown parameter of
        the front-end is refused.

        Parameters
        ----------
        folder : Path
            Where it lies.

        Returns
        -------
        ModelInfo
            What it says.

        Raises
        ------
        ValueError
            If the file is missing, is no JSON, is of another format version or lacks a key.
        """
        path = folder / INFO_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a model's description ({error})") from error
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path}: expected format_version {FORMAT_VERSION}. Received: {version!r}. "
                "Use the version of tumbao that wrote this model, or train again with `tumbao run`."
            )
        try:
            calibration, familiarity = values.get("calibration"), values.get("familiarity")
            return cls(
                **_known(cls, values)
                | {
                    "genres": tuple(values["genres"]),
                    "mel": MelSpec(**values["mel"]),
                    "training_data": TrainingData(**_known(TrainingData, values["training_data"])),
                    "split": Split(**_known(Split, values["split"])),
                    "files": {key: ModelFile(**_known(ModelFile, file)) for key, file in values["files"].items()},
                    "calibration": calibration and Calibration(**_known(Calibration, calibration)),
                    "familiarity": familiarity and Familiarity.from_json(familiarity),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path}: is not a complete description of a model ({error})") from error


def identity(folder: Path) -> str:
    """Tell a model from others.

    Parameters
    ----------
    folder : Path
        Where its model.json lies.

    Returns
    -------
    digits : str
        16 hexadecimal digits: the beginning of the SHA-256 of model.json, which holds the hashes of its files.
    """
    return hashlib.sha256((folder / INFO_FILE).read_bytes()).hexdigest()[:16]


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {key: value for key, value in values.items() if key in names}
