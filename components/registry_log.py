"""Log of pushes, rollbacks and refusals: a line of JSON for each event, beside the pushed versions.

An object in a bucket cannot be appended to, so of two concurrent writers one would overwrite the other's line. There
each event is an object of its own. `PUSH_LOG` is read in a bucket too, as earlier versions wrote it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import json
import logging
import os
import platform
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from tumbao.components.ingest.paths import RemotePath, is_remote
from tumbao.components.ingest.tables import read_record

PUSH_LOG = "pushes.jsonl"
"""Name of the log in the registry; it is not a number, so no server takes it for a version."""

ENTRIES_FOLDER = "pushes"
"""In a bucket, the folder of the log's later entries: one object each, named by its time."""

PUSHED, ROLLED_BACK, REFUSED = "push", "rollback", "refused"
"""Kinds of events: a new model, an earlier model again, or a model that was not pushed."""

UNREADABLE = "unreadable"
"""Kind of a line that cannot be read; never written."""


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
    served. `fingerprint` is that of the model, see `model_registry.fingerprint`; `why` is the reason, as a sentence;
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


def append(registry: str, event: Event) -> None:
    """Append an event; safe with concurrent writers. The registry is created if it does not exist."""
    line = f"{json.dumps(dataclasses.asdict(event))}\n"
    if is_remote(registry):  # objects cannot be appended to
        RemotePath(f"{registry}/{ENTRIES_FOLDER}/{time.time_ns():020}-{uuid.uuid4().hex}.json").write_bytes(
            line.encode()
        )
        return
    path = Path(registry, PUSH_LOG)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = "" if _text(str(path))[-1:] in ("", "\n") else "\n"  # the last line may be incomplete
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    with open(descriptor, "ab", buffering=0) as file:  # noqa: PTH123 - one call writes it all
        file.write(f"{start}{line}".encode())


def read(registry: str) -> list[Event]:
    """Read the log, the oldest event first; the registry need not exist.

    Additional fields from later versions are ignored; an invalid or incomplete line becomes an `UNREADABLE` event.
    """
    lines = [(f"line {n}", line) for n, line in enumerate(_text(f"{registry}/{PUSH_LOG}").split("\n"), start=1)]
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
