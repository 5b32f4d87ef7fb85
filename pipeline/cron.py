"""Validation of cron schedules."""

from __future__ import annotations

import re

_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Ranges of minute, hour, day of the month, month and day of the week, where 0 and 7 are both Sunday."""

_NAMES = {
    name: str(number)
    for names, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), start=first)
}
_PART = re.compile(r"(?:\*|(?P<low>\d+)(?:-(?P<high>\d+))?)(?:/(?P<step>\d+))?")


def is_schedule(line: str) -> bool:
    """Check whether a line is a schedule in cron's five fields, each in its range.

    A field is `*`, a number, the name of a month or day, a range, a step, or a list of these.
    """
    fields = line.lower().split()
    return len(fields) == len(_FIELDS) and all(
        _in_range(part, *limits) for field, limits in zip(fields, _FIELDS, strict=True) for part in field.split(",")
    )


def _in_range(part: str, lowest: int, highest: int) -> bool:
    found = _PART.fullmatch(re.sub("[a-z]+", lambda name: _NAMES.get(name[0], name[0]), part))
    if not found:
        return False
    low = int(found["low"] or lowest)
    high = int(found["high"] or low)
    return lowest <= low <= high <= highest and found["step"] != "0"
