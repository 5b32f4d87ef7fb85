"""The model registry: a folder of numbered versions, of which servers load the highest.

A version is complete once its `saved_model.pb` exists, which is copied last; servers ignore names that are not numbers.
TensorFlow Serving loads a numbered folder as soon as it sees it: on a disk, a version is copied under another name and
renamed when it is complete. In a bucket nothing can be renamed atomically, so each push claims its number first.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tumbao.components.ingest.paths import RemotePath, is_remote
from tumbao.serving.model_info import ASSETS_FOLDER

SAVED_MODEL_FILE = "saved_model.pb"
FINGERPRINT_FILE = "fingerprint.pb"

_CLAIMS_FOLDER = "claims"
_FARTHEST_STEP = 16  # random, so that two processes that collided do not collide again


def versions(registry: str) -> list[str]:
    """List the complete versions; the highest, which is served, comes last.

    `registry` is a folder, also in a bucket; it need not exist.
    """
    return [number for number in _numbers(registry) if tf.io.gfile.exists(f"{registry}/{number}/{SAVED_MODEL_FILE}")]


def served_version(registry: str) -> str:
    """Return the version that is served, which is the highest; empty if there is none."""
    return (versions(registry) or [""])[-1]


def fingerprint(model: str) -> str:
    """Identify a trained model, independent of where it is copied and of additional files.

    Returns 16 hexadecimal digits of the SHA-256 of TensorFlow's own fingerprint, which is new whenever a model is
    saved; empty if there is none. `model` is the folder of a SavedModel.
    """
    file = f"{model}/{FINGERPRINT_FILE}"
    if not tf.io.gfile.exists(file):
        return ""
    with tf.io.gfile.GFile(file, "rb") as content:
        return hashlib.sha256(content.read()).hexdigest()[:16]


def publish(model: str, registry: str, beside: Sequence[str] = ()) -> str:
    """Copy a SavedModel to the registry as its newest version, and return the version.

    The version is the time in seconds, or one more than the highest existing number. `beside` are additional files for
    its `assets.extra`. Raises ValueError if there is no SavedModel.
    """
    model = model.rstrip("/")
    last = f"{model}/{SAVED_MODEL_FILE}"
    if not tf.io.gfile.exists(last):
        raise ValueError(f"Expected a SavedModel, with a {SAVED_MODEL_FILE}. Received: {model}")
    version = max([int(time.time()), *(int(number) + 1 for number in _numbers(registry))])
    on_disk = not is_remote(registry)
    name = uuid.uuid4().hex
    if not on_disk:
        version = _claim(registry, version, name)
    target = f"{registry}/.part-{name}" if on_disk else f"{registry}/{version}"
    try:
        for folder, _, files in tf.io.gfile.walk(model):
            inside = target + folder.rstrip("/")[len(model) :]
            tf.io.gfile.makedirs(inside)
            for file in files:
                if (path := f"{folder.rstrip('/')}/{file}") != last:
                    tf.io.gfile.copy(path, f"{inside}/{file}")
        tf.io.gfile.makedirs(f"{target}/{ASSETS_FOLDER}")
        for path in beside:
            tf.io.gfile.copy(path, f"{target}/{ASSETS_FOLDER}/{path.rpartition('/')[2]}", overwrite=True)
        tf.io.gfile.copy(last, f"{target}/{SAVED_MODEL_FILE}")
        while on_disk and not _renamed(Path(target), Path(registry, str(version))):
            version += 1
    except BaseException:
        if tf.io.gfile.exists(target):
            tf.io.gfile.rmtree(target)
        raise
    return str(version)


def _claim(registry: str, version: int, name: str) -> int:
    """Claim a number in a bucket and return the first one without another claim.

    Of two processes that claim one number, the later sees the claim of the earlier, as listings of buckets are
    consistent and claims are never deleted. If both see each other, both try other numbers.
    """
    while True:
        claims = f"{registry}/{_CLAIMS_FOLDER}/{version}"
        RemotePath(f"{claims}/{name}").write_bytes(name.encode())
        if tf.io.gfile.listdir(claims) == [name]:
            return version
        version += random.randint(1, _FARTHEST_STEP)


def _renamed(source: Path, target: Path) -> bool:
    """Rename a folder; return False if another process has just taken the name."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def _numbers(registry: str) -> list[str]:
    """List all numbered names, complete or not, the highest last."""
    found = tf.io.gfile.listdir(registry) if tf.io.gfile.isdir(registry) else []
    return sorted((name.rstrip("/") for name in found if name.rstrip("/").isdecimal()), key=int)
