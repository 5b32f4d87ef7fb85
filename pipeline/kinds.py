"""Type checks of dataclasses that are read from a user's YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from tumbao.pipeline.config import UsageError

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "anything",
}


def require_kinds(made: Any) -> None:
    """Check each field's value against its annotation; raise a `UsageError` that names the field otherwise.

    Annotations may be `str`, `int`, `float`, `bool`, `Any`, classes, and mappings and sequences of these.
    """
    for name, kind in get_type_hints(type(made)).items():
        value = getattr(made, name)
        if not _fits(value, kind):
            raise UsageError(f"Expected {name}: {_words(kind)}. Received: {name}={value!r}")


def _fits(value: Any, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Mapping:
        names, values = inside
        return isinstance(value, Mapping) and all(
            _fits(key, names) and _fits(one, values) for key, one in value.items()
        )
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(one, inside[0]) for one in value)
    if kind in (int, float):  # bool is a subclass of int
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return kind is Any or isinstance(value, kind)


def _words(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Mapping:
        return f"names, with {_words(inside[1])} for each"
    if origin is Sequence:
        return f"a list of {_words(inside[0])}"
    return _WORDS.get(kind) or f"{kind.__name__.lower()}"
