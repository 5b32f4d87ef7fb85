"""The model registry: a folder of numbered versions, of which servers load the highest, and a log beside them.

A version is complete once its `saved_model.pb` exists, which is copied last; servers ignore names that are not numbers.
TensorFlow Serving loads a numbered folder as soon as it sees it: on a disk, a version is copied under another name and
renamed when it is complete. In a bucket nothing can be renamed atomically, so each push claims its number first.

The log has a line of JSON for each push, rollback and refusal. An object in a bucket cannot be appended to, so there
each event is an object of its own; `LOG_FILE` is read in a bucket too, as earlier versions wrote it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import hashlib
import json
import logging
import os
import platform
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from tumbao.components.ingest.paths import RemotePath, is_remote
from tumbao.components.ingest.tables import read_record
from tumbao.serving.model_info import ASSETS_FOLDER

SAVED_MODEL_FILE = "saved_model.pb"
FINGERPRINT_FILE = "fingerprint.pb"

LOG_FILE = "pushes.jsonl"
"""Name of the log in the registry; it is not a number, so no server takes it for a version."""

ENTRIES_FOLDER = "pushes"
"""In a bucket, the folder of the log's later entries: one object each, named by its time."""

PUSHED, ROLLED_BACK, REFUSED = "push", "rollback", "refused"
"""Kinds of events: a new model, an earlier model again, or a model that was not pushed."""

UNREADABLE = "unreadable"
"""Kind of a line that cannot be read; never written."""

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


def now() -> str:
    """Return the current time: ISO 8601, in UTC, in seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def user_and_host() -> str:
    """Return the current user and machine, such as ``ana@studio``; the user's number if it has no name."""
    user = f"uid{os.getuid()}"
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container's user may have no name
        user = getpass.getuser()
    return f"{user}@{platform.node() or 'unknown'}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the log.

    `what` is `PUSHED`, `ROLLED_BACK` or `REFUSED`; `UNREADABLE` where only `why` is known. `version` is served since
    then, `replaces` was served before; both may be empty. For a refusal, `version` is empty and `replaces` is still
    served. `fingerprint` is that of the model, see `fingerprint`; `why` is the reason, as a sentence;
    `accuracy` is that of the test fragments. For a rollback, `of` is the version that was copied, and `withdrawn` the
    fingerprint of the removed model. `time` is in ISO 8601.
    """

    what: str
    version: str
    replaces: str
    fingerprint: str
    why: str
    model: str = ""
    accuracy: float | None = None
    of: str = ""
    withdrawn: str = ""
    time: str = dataclasses.field(default_factory=now)
    who: str = dataclasses.field(default_factory=user_and_host)


def log_event(registry: str, event: Event) -> None:
    """Append an event; safe with concurrent writers. The registry is created if it does not exist."""
    line = f"{json.dumps(dataclasses.asdict(event))}\n"
    if is_remote(registry):  # objects cannot be appended to
        RemotePath(f"{registry}/{ENTRIES_FOLDER}/{time.time_ns():020}-{uuid.uuid4().hex}.json").write_bytes(
            line.encode()
        )
        return
    path = Path(registry, LOG_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = "" if _text(str(path))[-1:] in ("", "\n") else "\n"  # the last line may be incomplete
    with path.open("ab", buffering=0) as file:  # one call writes it all
        file.write(f"{start}{line}".encode())


def read_log(registry: str) -> list[Event]:
    """Read the log, the oldest event first; the registry need not exist.

    Additional fields from later versions are ignored; an invalid or incomplete line becomes an `UNREADABLE` event.
    """
    lines = [(f"line {n}", line) for n, line in enumerate(_text(f"{registry}/{LOG_FILE}").split("\n"), start=1)]
    entries = f"{registry}/{ENTRIES_FOLDER}"
    if is_remote(registry) and tf.io.gfile.isdir(entries):
        lines += [
            (name, _text(f"{entries}/{name}"))
            for name in sorted(tf.io.gfile.listdir(entries))
            if name.endswith(".json")
        ]
    events = []
    for where, line in lines:
        if not line.strip():
            continue
        try:
            events.append(read_record(Event, line))
        except ValueError as error:
            why = f"{where}: expected an event as JSON. Received: {error}"
            logging.warning("%s, %s", registry, why)
            events.append(Event(what=UNREADABLE, version="", replaces="", fingerprint="", why=why, time="", who=""))
    return events


def _text(path: str) -> str:
    if not tf.io.gfile.exists(path):
        return ""
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read()).decode("utf-8", "backslashreplace")


def rolled_back(events: Iterable[Event]) -> dict[str, Event]:
    """Find the models that a rollback removed and that were not pushed again since: fingerprint → the rollback."""
    rollbacks: dict[str, Event] = {}
    for event in events:
        if event.what in (PUSHED, ROLLED_BACK):
            rollbacks.pop(event.fingerprint, None)
        if event.what == ROLLED_BACK and event.withdrawn:
            rollbacks[event.withdrawn] = event
    return rollbacks
