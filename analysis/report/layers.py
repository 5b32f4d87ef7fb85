"""Layout of a directed graph in layers from top to bottom, so that every edge leads down."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

SWEEPS = 12
"""Rounds in which nodes move towards their neighbours; a pipeline's graph converges much earlier."""

NODE_WIDTH, BEND_WIDTH = 1.0, 0.2


@dataclass(frozen=True)
class Layered:
    """Layout of a graph; x is in widths of a node, y is the number of the layer, 0 at the top.

    `places` are the centres of the nodes, x from 0.5. `routes` are the points of each edge, in the given order of
    edges.
    """

    places: Mapping[str, Point]
    routes: tuple[tuple[Point, ...], ...]
    width: float


def layered(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layered:
    """Lay out a directed graph without cycles; `edges` are pairs (upstream, downstream).

    Raises ValueError if an edge names an unknown node, or the graph has a cycle.
    """
    unknown = sorted({node for edge in edges for node in edge} - set(nodes))
    if unknown:
        raise ValueError(f"Every edge must join two of the nodes {sorted(nodes)}. Received: {', '.join(unknown)}")
    layer = _layers(nodes, edges)
    rows: list[list[Hashable]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    chains: list[list[Hashable]] = []
    for i, (upstream, downstream) in enumerate(edges):
        bends: list[Hashable] = [(i, row) for row in range(layer[upstream] + 1, layer[downstream])]
        for row, bend in enumerate(bends, start=layer[upstream] + 1):
            rows[row].append(bend)
        chains.append([upstream, *bends, downstream])
    x = _across(rows, chains)
    y = {item: float(row) for row, items in enumerate(rows) for item in items}
    left = min((x[item] - _width(item) / 2 for item in x), default=0.0)
    right = max((x[item] + _width(item) / 2 for item in x), default=0.0)
    return Layered(
        places={node: (x[node] - left, y[node]) for node in nodes},
        routes=tuple(tuple((x[item] - left, y[item]) for item in chain) for chain in chains),
        width=right - left,
    )


def _layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Put each node below all its inputs, and a node without inputs right above its first user."""
    layer = dict.fromkeys(nodes, 0)
    for _ in nodes:
        before = dict(layer)
        for upstream, downstream in edges:
            layer[downstream] = max(layer[downstream], layer[upstream] + 1)
        if layer == before:
            break
    else:
        if edges:
            raise ValueError(f"A pipeline has no cycles. Received: one among {', '.join(nodes)}")
    fed = {downstream for _, downstream in edges}
    for node in nodes:
        users = [layer[downstream] for upstream, downstream in edges if upstream == node]
        if node not in fed and users:
            layer[node] = min(users) - 1
    return layer


def _across(rows: list[list[Hashable]], chains: list[list[Hashable]]) -> dict[Hashable, float]:
    """Return x by sweeping down and up: order a row by its neighbours' mean, then place it as near as it fits."""
    above: dict[Hashable, list[Hashable]] = {item: [] for row in rows for item in row}
    below: dict[Hashable, list[Hashable]] = {item: [] for row in rows for item in row}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    x: dict[Hashable, float] = {}
    for row in rows:
        x |= _packed(row, {item: float(i) for i, item in enumerate(row)})
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below
            wanted = {
                item: sum(x[other] for other in near[item]) / len(near[item]) if near[item] else x[item] for item in row
            }
            row.sort(key=lambda item: wanted[item])
            x |= _packed(row, wanted)
    return x


def _packed(row: Sequence[Hashable], wanted: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """Place a row's items in order, as near to `wanted` as their widths allow (pooled least squares)."""
    blocks: list[tuple[float, list[tuple[Hashable, float]]]] = []  # (place, items with their offsets from it)
    for item in row:
        place, items = wanted[item], [(item, 0.0)]
        while blocks:
            left_place, left_items = blocks[-1]
            reach = left_items[-1][1] + (_width(left_items[-1][0]) + _width(items[0][0])) / 2
            if left_place + reach <= place:
                break
            n, m = len(left_items), len(items)
            place = (n * left_place + m * (place - reach)) / (n + m)
            items = [*left_items, *((moved, offset + reach) for moved, offset in items)]
            blocks.pop()
        blocks.append((place, items))
    return {item: place + offset for place, items in blocks for item, offset in items}


def _width(item: Hashable) -> float:
    return NODE_WIDTH if isinstance(item, str) else BEND_WIDTH
