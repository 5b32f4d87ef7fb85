"""The page's section on what can and cannot be heard in a mel image."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.fidelity import Fidelity, semitone_hz
from tumbao.serving.explain.media import player
from tumbao.serving.page import template


def section(told: Fidelity, spec: MelSpec) -> Markup:
    """Render the section (HTML, id ``hear``), with audio embedded."""
    page = template(Path(__file__).parent, "fidelity.html.j2").render(
        told=told,
        spec=spec,
        semitone_hz=round(semitone_hz(spec), -1),
        column_ms=1_000 * spec.fragment_seconds / spec.image_width,
        player=lambda samples: player(samples, spec),
    )
    return Markup(page)
