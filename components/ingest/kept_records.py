"""Read records that this version, an earlier or a later one wrote as JSON, perhaps incompletely."""

from __future__ import annotations

import json
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def read_record(kind: type[T], text: str | bytes) -> T:
    """Read a flat dataclass of plain types from the JSON of `dataclasses.asdict`.

    Unknown fields are ignored, as a later version may have written them. Raises ValueError if the text is cut off or
    has values of other types.
    """
    types: dict[str, Any] = typing.get_type_hints(kind)
    try:
        values = {name: value for name, value in json.loads(text).items() if name in types}
        record = kind(**values)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    for name, value in values.items():
        wanted = typing.get_origin(types[name]) or types[name]
        accepted = typing.get_args(types[name]) if wanted in (typing.Union, _UNION) else (wanted,)
        accepted = (*accepted, int) if float in accepted else accepted
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            raise ValueError(f"{name}: {value!r}")
    return record


_UNION = type(int | str)
