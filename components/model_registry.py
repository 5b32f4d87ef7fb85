"""The model registry: a folder of numbered versions, of which servers load the highest, and a log beside them.

A version is complete once its `saved_model.pb` exists, which is copied last; servers ignore names that are not numbers.
TensorFlow Serving loads a numbered folder as soon as it sees it: on a disk, a version is copied under another name and
renamed when it is complete. In a bucket nothing can be renamed atomically, so each push claims its number first.

The log has a line of JSON for each push, rollback and refusal. An object in a bucket cannot be appended to, so there
each event is an object of its own, named by its time.
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
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

SAVED_MODEL_FILE, FINGERPRINT_FILE = "saved_model.pb", "fingerprint.pb"
LOG_FILE = "pushes.jsonl"
ENTRIES_FOLDER, _CLAIMS_FOLDER = "pushes", "claims"  # in a bucket: entries of the log, and version numbers in use
_FARTHEST_STEP = 16  # random, so that two processes that collided do not collide again

TESTED_MODEL = "tested_model"
"""Name among the versions in model.json: fingerprint of the model that was evaluated, from which it was made."""

PUSHED, ROLLED_BACK, REFUSED = "push", "rollback", "refused"
UNREADABLE = "unreadable"  # kind of an event whose line cannot be read; never written


def versions(registry: str) -> list[str]:
    """List the complete versions; the highest, which is served, comes last."""
    return [number for number in _numbers(registry) if tf.io.gfile.exists(f"{registry}/{number}/{SAVED_MODEL_FILE}")]


def served_version(registry: str) -> str:
    """Return the version that is served, which is the highest; empty if there is none."""
    return (versions(registry) or [""])[-1]


def fingerprint(model: str) -> str:
    """Identify a SavedModel, wherever it is copied, by digits of the SHA-256 of TensorFlow's own fingerprint."""
    content = _content(f"{model}/{FINGERPRINT_FILE}")
    return hashlib.sha256(content).hexdigest()[:16] if content else ""


def tested_fingerprint(version: str) -> str:
    """Return the fingerprint of the evaluated model that a pushed version was made from, by the version's folder."""
    info = _content(f"{version}/{ASSETS_FOLDER}/{INFO_FILE}")
    versions = json.loads(info).get("versions", {}) if info else {}
    return str(versions.get(TESTED_MODEL) or fingerprint(version))


def publish(model: str, registry: str, beside: Sequence[str] = (), assets: str = "") -> str:
    """Copy a SavedModel to the registry as its newest version, and return the version.

    The version is the time in seconds, or one more than the highest existing number. `beside` are additional files for
    its `assets.extra`, and the folder `assets` replaces it if given.
    """
    model = model.rstrip("/")
    last = f"{model}/{SAVED_MODEL_FILE}"
    version = max([int(time.time()), *(int(number) + 1 for number in _numbers(registry))])
    on_disk = not is_remote(registry)
    name = uuid.uuid4().hex
    if not on_disk:
        version = _claim(registry, version, name)
    target = f"{registry}/.part-{name}" if on_disk else f"{registry}/{version}"
    try:
        own = f"{model}/{ASSETS_FOLDER}"
        _copy_folder(model, target, (last, f"{own}/"))
        _copy_folder(assets or own, f"{target}/{ASSETS_FOLDER}")
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


def _copy_folder(source: str, target: str, without: tuple[str, ...] = ()) -> None:
    """Copy a folder except for the paths with some beginnings."""
    tf.io.gfile.makedirs(target)
    for folder, _, files in tf.io.gfile.walk(source):
        for path in (f"{folder.rstrip('/')}/{file}" for file in files):
            if not path.startswith(without):
                copy = target + path[len(source) :]
                tf.io.gfile.makedirs(copy.rpartition("/")[0])
                tf.io.gfile.copy(path, copy)


def _claim(registry: str, version: int, name: str) -> int:
    """Claim a number in a bucket and return the first one without another claim.

    Of two processes that claim one number, the later sees the claim of the earlier, as claims are never deleted. If
    both see each other, both try other numbers.
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
    """One line of the log."""

    what: str
    version: str  # served since then; empty for a refusal
    replaces: str  # served before
    fingerprint: str  # of the model
    why: str
    model: str = ""
    accuracy: float | None = None  # of the test fragments
    of: str = ""  # version that a rollback copied
    withdrawn: str = ""  # fingerprint of the model that a rollback removed
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
    """Read the log, the oldest event first; an invalid or incomplete line becomes an `UNREADABLE` event."""
    lines = [(f"line {n}", line) for n, line in enumerate(_text(f"{registry}/{LOG_FILE}").split("\n"), start=1)]
    entries = f"{registry}/{ENTRIES_FOLDER}"
    if is_remote(registry) and tf.io.gfile.isdir(entries):
        names = (name for name in sorted(tf.io.gfile.listdir(entries)) if name.endswith(".json"))
        lines += [(name, _text(f"{entries}/{name}")) for name in names]
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
    return _content(path).decode("utf-8", "backslashreplace")


def _content(path: str) -> bytes:
    if not tf.io.gfile.exists(path):
        return b""
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())


def rolled_back(events: Iterable[Event]) -> dict[str, Event]:
    """Find the models that a rollback removed and that were not pushed again since: fingerprint → the rollback."""
    rollbacks: dict[str, Event] = {}
    for event in events:
        if event.what in (PUSHED, ROLLED_BACK):
            rollbacks.pop(event.fingerprint, None)
        if event.what == ROLLED_BACK and event.withdrawn:
            rollbacks[event.withdrawn] = event
    return rollbacks
