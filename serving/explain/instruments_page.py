"""The page's section on the instruments that a model relies on in composed songs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from tumbao.datasets.demo.instruments import MUTED, RESOUNDED, SCATTERED, Hearing, Instrument, summarise
from tumbao.serving.formatting import percent
from tumbao.serving.page import template

_SPELLED = {"guira": "güira", "bongo": "bongó"}
"""Display names of instruments whose spelling a MIDI file cannot hold."""

_WORDS = {MUTED: "", RESOUNDED: "the same notes on another sound", SCATTERED: "the same sound, out of rhythm"}


@dataclasses.dataclass(frozen=True)
class _Bar:
    """Position of a row's mean and range on the scale, in percent of its width."""

    left: float
    width: float
    low: float
    span: float


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of a genre's table."""

    name: str
    words: str
    told: Instrument
    bar: _Bar


def section(hearings: Sequence[Hearing]) -> Markup:
    """Render the section from the results of `instruments.listen`, with its style embedded."""
    summed = [(hearing, summarise(hearing.effects)) for hearing in hearings]
    ends = [end for _, rows in summed for row in rows for end in (row.low, row.high)]
    least, most = min([0.0, *ends]), max([0.0, *ends])
    span = max(most - least, 1e-9)
    tables = [(hearing, [_row(row, least, span) for row in rows], _findings(rows)) for hearing, rows in summed]
    html = template(Path(__file__).parent, "instruments.html.j2").render(tables=tables, zero=100 * -least / span)
    return Markup(html)


def _row(told: Instrument, least: float, span: float) -> _Row:
    ends = sorted((0.0, told.moved))
    left, right, low, high = (100 * (value - least) / span for value in (*ends, told.low, told.high))
    return _Row(_spelled(told.name), _WORDS[told.way], told, _Bar(left, right - left, low, high - low))


def _spelled(name: str) -> str:
    return _SPELLED.get(name, name)


def _findings(rows: Sequence[Instrument]) -> list[str]:
    """Describe the results of the table in sentences."""
    muted = [row for row in rows if row.way == MUTED]
    if not muted:
        return []
    first = muted[0]
    if first.moved >= 0:
        found = "No instrument is missed: whichever is muted, on average the model is as sure of the genre or surer."
    else:
        found = _most(first) + ("" if first.high < 0 else ", though not in every song")
        found += f". Without it {first.kept} of {first.songs} songs are still answered as {first.genre}."
    return [found, *_controls(rows, first)]


def _most(row: Instrument) -> str:
    kind = "which defines the genre" if row.defining else "which is not one of those that define the genre"
    return f"It misses the {_spelled(row.name)} most, {kind}"


def _controls(rows: Sequence[Instrument], first: Instrument) -> list[str]:
    """Describe the results of the control, made with the defining instrument whose muting costs most."""
    changed = [row for row in rows if row.way != MUTED]
    if not changed:
        return []
    muted = next(row for row in rows if row.way == MUTED and row.name == changed[0].name)
    if muted.moved >= 0:
        return ["Of the instruments that define the genre none is missed, so the control tells nothing."]
    about = [] if muted == first else [f"Of those that define it, the {_spelled(muted.name)} is missed most."]
    return [*about, *(_control(row, muted) for row in changed)]


def _control(row: Instrument, muted: Instrument) -> str:
    what = "On another sound" if row.way == RESOUNDED else "Out of rhythm"
    if row.moved >= 0:
        return f"{what} it is not missed at all."
    share = row.moved / muted.moved
    if share >= 1:
        return f"{what} it is worse than not there."
    return f"{what} the genre loses {percent(share)} of what it loses without it."
