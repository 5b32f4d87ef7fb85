"""Whether the values of a dataclass are of its fields' kinds: a person's YAML holds anything."""

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
    """Compare each value with its field's annotation.

    Parameters
    ----------
    made : dataclass
        Its fields are annotated with `str`, `int`, `float`, `bool`, `Any` and classes, and mappings and sequences of
        these.

    Raises
    ------
    UsageError
        If a value is of another kind; the field is named.
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
    if kind in (int, float):  # to Python, True is a number as well
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return kind is Any or isinstance(value, kind)


def _words(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Mapping:
        return f"names, with {_words(inside[1])} for each"
    if origin is Sequence:
        return f"a list of {_words(inside[0])}"
    return _WORDS.get(kind) or f"{kind.__name__.lower()}"
