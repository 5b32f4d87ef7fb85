"""Rollback to an earlier pushed model, and the registry log as a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from rich.markup import escape
from rich.table import Column, Table

from tumbao.components import model_registry
from tumbao.components.model_registry import Event, fingerprint, publish, versions
from tumbao.schema.errors import UnavailableError, UserError


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """Convert errors of TensorFlow's file systems to errors with a message for the user."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"Expected versions with all of their files. Received: {error.message}. Choose another with --to."
        ) from error
    except tf.errors.OpError as error:
        raise UnavailableError(f"The folder of pushed models cannot be used: {error.message}") from error


@_storage_errors()
def roll_back(registry: str, to: str = "", why: str = "") -> Event:
    """Publish an earlier version again under a new, higher number, which every server loads; nothing is deleted."""
    registry = registry.rstrip("/")
    found = versions(registry)
    if not found:
        raise UserError(f"Expected a folder of pushed models in --push-to. Received: {registry}, which has none.")
    own = {version: fingerprint(f"{registry}/{version}") or version for version in found}
    served, events = found[-1], model_registry.read_log(registry)
    removed = model_registry.rolled_back(events)
    earlier = [one for one in found if own[one] != own[served] and own[one] not in removed]
    if to and to not in found:
        raise UserError(f"Expected --to out of {', '.join(found)}. Received: {to}")
    if to and own[to] == own[served]:
        raise UserError(f"Expected a model other than the served one. Received: {to}, the same as {served}.")
    if not to and not earlier:
        raise UserError(
            f"Expected an earlier model in {registry}. Received: none but {served}, which is served, and versions that "
            "were rolled back or are copies of it. --list prints the log; --to serves a version that was rolled back."
        )
    target = to or earlier[-1]
    why = why.encode("utf-8", "backslashreplace").decode()
    known = next((one for one in reversed(events) if one.version == target), None)
    event = Event(
        what=model_registry.ROLLED_BACK,
        version=publish(f"{registry}/{target}", registry),
        replaces=served,
        fingerprint=own[target],
        of=target,
        withdrawn=own[served],
        why=f"back to {target}" + (f": {why}" if why else ""),
        model=known.model if known else "",
        accuracy=known.accuracy if known else None,
    )
    model_registry.log_event(registry, event)
    return event


@_storage_errors()
def history(registry: str) -> Table:
    """Return the registry log as a table, the oldest event first."""
    registry = registry.rstrip("/")
    found, events = versions(registry), model_registry.read_log(registry)
    if not found and not events:
        raise UserError(f"Expected a folder of pushed models in --push-to. Received: {registry}, which has none.")
    logged = {event.version for event in events}
    whole = (Column(name, no_wrap=True) for name in ("version", "replaces"))
    table = Table("time", "what", *whole, "model", "test fragments", "who", "why")
    for version in found:
        if version not in logged:
            table.add_row("", "not in the log", _version(version, found))
    for event in events:
        table.add_row(
            escape(event.time),
            escape(event.what),
            _version(event.version, found),
            escape(event.replaces) if event.version else "",
            escape(event.model),
            f"{event.accuracy:.1%}" if event.accuracy is not None else "",
            escape(event.who),
            escape(event.why),
        )
    return table


def _version(version: str, found: list[str]) -> str:
    if not version or version in found[:-1]:
        return version
    return f"[bold]{version}[/bold] (served)" if version in found else f"{escape(version)} (deleted)"
