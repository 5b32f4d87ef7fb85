"""Figure of the pipeline's graph with the state of each component in this run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from tumbao.analysis.report.figures import STATE_SIGNS
from tumbao.analysis.report.layers import Point, layered
from tumbao.components.evaluation.run_data import Component
from tumbao.serving.style import WIDTH_INCHES, Look, png

NODE_INCHES, ROW_INCHES = 1.25, 0.62
BOX_WIDTH, BOX_HEIGHT = 0.92, 0.52


def graph_figure(components: Sequence[Component], edges: Sequence[tuple[str, str]], look: Look) -> bytes:
    """Plot the pipeline's graph from top to bottom; `edges` are pairs (upstream, downstream) of names."""
    graph = layered([component.name for component in components], edges)
    rows = 1 + max(y for _, y in graph.places.values())
    theme = look.theme
    width = max(graph.width, (WIDTH_INCHES - 0.2) / NODE_INCHES)
    edge_colours = {"ran": theme.first, "cached": theme.muted, "failed": theme.bad, "not run": theme.line}
    with look.applied():
        figure, axes = look.panel("The pipeline", rows * ROW_INCHES + 0.75, width * NODE_INCHES + 0.2)
        middle = graph.width / 2
        axes.set(xlim=(middle - width / 2, middle + width / 2), ylim=(rows - 0.6, -0.4))
        axes.axis("off")
        for route in graph.routes:
            arrow = FancyArrowPatch(
                path=_route(route), arrowstyle="-|>", mutation_scale=7, color=theme.muted, linewidth=0.9, zorder=1
            )
            axes.add_patch(arrow)
        for component in components:
            x, y = graph.places[component.name]
            box = FancyBboxPatch(
                (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=theme.page,
                edgecolor=edge_colours[component.state],
                linewidth=1.6,
                linestyle="--" if component.state == "not run" else "-",
                zorder=2,
            )
            axes.add_patch(box)
            words = {"ha": "center", "va": "center", "zorder": 3}
            axes.text(x, y - 0.09, component.name, fontsize=min(8.0, 130 / len(component.name)), **words)
            state = f"{STATE_SIGNS[component.state]} {component.state}"
            axes.text(x, y + 0.13, state, fontsize=6.5, color=theme.muted, **words)
        return png(figure)


def _route(points: Sequence[Point]) -> Path:
    """Join the points by curves that leave and arrive vertically, from box edge to box edge."""
    (first_x, first_y), *between, (last_x, last_y) = points
    stops = [(first_x, first_y + BOX_HEIGHT / 2), *between, (last_x, last_y - BOX_HEIGHT / 2)]
    vertices, codes = [stops[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(stops):
        half = (y0 + y1) / 2
        vertices += [(x0, half), (x1, half), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)
