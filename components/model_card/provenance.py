"""What a model came from: the artefacts by a digest of their content, and the versions of packages."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata

import tensorflow as tf

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
"""Packages whose versions the card and the report name."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """What lies in a folder.

    Parameters
    ----------
    files : int
        How many files.
    size_bytes : int
        Their size together.
    sha256 : str
        SHA-256 over the lines that ``sha256sum`` prints for them, sorted by path.
    """

    files: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """An artefact of the run that made the model.

    Parameters
    ----------
    role : str
        What the card takes it for.
    type_name : str
        Its type in ML Metadata.
    identity : str
        Its name or its number there; empty where it has neither.
    content : Content
        What lies in it.
    """

    role: str
    type_name: str
    identity: str
    content: Content


def content(folder: str) -> Content:
    """Hash everything in a folder, wherever TensorFlow's file systems reach.

    Parameters
    ----------
    folder : str
        The folder.

    Returns
    -------
    Content
        The same files give the same, in whatever order they are listed.

    Raises
    ------
    ValueError
        If no file is there.
    """
    root = folder.rstrip("/")
    paths = [f"{parent.rstrip('/')}/{name}" for parent, _, names in tf.io.gfile.walk(root) for name in names]
    below = {path[len(root) + 1 :]: path for path in paths}
    if not below:
        raise ValueError(f"Expected an artefact with files in it. Received: {folder!r}, where there are none.")
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
    """Tell whether the last block of a backbone learned with the layers after it.

    Parameters
    ----------
    architecture : str
        The model's `ARCHITECTURE_FILE`.

    Returns
    -------
    bool
        Whether a convolution of VGG-16's fifth block is among the layers that learn.
    """
    layers = [layer["config"] for layer in json.loads(architecture)["config"]["layers"]]
    return any(layer.get("name", "").startswith("block5_conv") and layer["trainable"] for layer in layers)


def versions() -> dict[str, str]:
    """Tell the versions of Python and of `PACKAGES` in this process.

    Returns
    -------
    dict of str to str
        Version by package.
    """
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
