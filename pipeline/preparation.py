"""Preparation of a library for commands that train outside of a pipeline run: scan, mel images, features."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.markup import escape

from tumbao.analysis.compare.features import features
from tumbao.components.ingest import progress
from tumbao.components.ingest.library import Catalog, rejection_lines, scan
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.rendered_library import RenderedLibrary, render_library
from tumbao.pipeline import runs
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.pipeline.source import backbone_cache, scan_cache, song_cache
from tumbao.pipeline.standard_streams import redirect_output
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import TerminalConsole
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.vgg16 import Policy, preferred_policy
from tumbao.trainer.weights import WeightsFile


@contextlib.contextmanager
def prepare(
    data: AnyPath, workspace: Path, genres: tuple[str, ...], layout: str, weights: str, log: Path
) -> Iterator[Preparation]:
    """Lock a workspace and scan a library, with progress on the terminal and the output of libraries in a log."""
    with (
        runs.locked(workspace),
        redirect_output(log, TerminalConsole(stderr=True), (2,)) as console,
        ProgressDisplay(console) as display,
        progress.listen(display),
    ):
        yield Preparation(data, workspace.absolute(), genres, layout, weights, display)


@dataclasses.dataclass
class Preparation:
    """A library that is scanned at once; its mel images, weights and features are computed once, on demand."""

    data: AnyPath
    workspace: Path
    genres: tuple[str, ...]  # in the order of the labels
    layout: str
    weights: str  # file of backbones' weights, `random`, or empty to search for them
    display: ProgressDisplay

    def __post_init__(self) -> None:
        if len(set(map(genre_key, self.genres))) != len(self.genres) or len(self.genres) < 2:
            raise UserError(f"Expected at least 2 genres, each once. Received: {', '.join(self.genres) or 'none'}")
        self.policy: Policy
        self.policy, reason = preferred_policy()
        self.display.say(reason)
        self._libraries: dict[MelSpec, RenderedLibrary] = {}
        self._weights: dict[str, WeightsFile] = {}
        self._features: dict[tuple[str, int], list[np.ndarray]] = {}
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.catalog: Catalog = scan(
            self.data, self.genres, MelSpec(), self.layout, scan_cache=scan_cache(self.workspace)
        )
        for line in (*self.catalog.summary(), *self.catalog.notes):
            self.display.say(escape(line))

    def library(self, spec: MelSpec) -> RenderedLibrary:
        """Render the library's mel images."""
        if spec not in self._libraries:
            cache = song_cache(str(self.workspace), spec)
            rendered = self._libraries[spec] = render_library(self.catalog, self.genres, spec, cache)
            known = {song.entry for song in self.catalog.rejected}
            if lines := rejection_lines(song for song in rendered.rejected if song.entry not in known):
                self.display.say(escape("\n".join(["Rejected after decoding:", *lines])))
        return self._libraries[spec]

    def backbone_weights(self, backbone: Backbone) -> WeightsFile:
        """Find a backbone's weights."""
        if backbone.pretrained not in self._weights:
            self._weights[backbone.pretrained] = backbone.ensure_weights(self.weights or None)
        return self._weights[backbone.pretrained]

    def features(self, backbone: Backbone, copies: int = 0) -> list[np.ndarray]:
        """Compute a backbone's features of the fragments and of `copies` copies with masked bands and times."""
        if (backbone.name, copies) not in self._features:
            library, weights = self.library(backbone.mel_spec), self.backbone_weights(backbone)
            cache = backbone_cache(str(self.workspace), backbone, weights, self.policy)
            self._features[backbone.name, copies] = features(
                library, backbone, weights.path, self.policy, cache=cache, copies=copies, folder=self.workspace
            )
        return self._features[backbone.name, copies]
