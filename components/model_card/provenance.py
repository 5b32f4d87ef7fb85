"""Provenance of a model: digests of the artefacts' contents, and versions of packages."""

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
    """Return whether VGG-16's fifth block is trainable in a model's architecture (the text of `ARCHITECTURE_FILE`)."""
    layers = [layer["config"] for layer in json.loads(architecture)["config"]["layers"]]
    return any(layer.get("name", "").startswith("block5_conv") and layer["trainable"] for layer in layers)


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES` in this process."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
