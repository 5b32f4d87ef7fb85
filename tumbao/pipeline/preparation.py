"""What commands need that train outside of a run: the songs looked through and drawn, and trunks' features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from rich.markup import escape

from tumbao.components.comparison.features import features
from tumbao.components.comparison.library import Library, draw
from tumbao.components.ingest.catalog import Catalog, scan
from tumbao.components.ingest.look_memory import LookMemory
from tumbao.components.ingest.places import Place
from tumbao.errors import UserError
from tumbao.pipeline.song_folder import song_cache
from tumbao.pipeline.source import source_digest
from tumbao.pipeline.watch import Watch
from tumbao.schema.genre_names import genre_key
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.backbone import Policy, preferred_policy
from tumbao.trainer.trunks import Trunk
from tumbao.trainer.weights import WeightsFile


@dataclasses.dataclass
class Preparation:
    """A library that is got ready piece by piece, as models ask for it.

    Parameters
    ----------
    data : Place
        The library.
    workspace : Path
        Where drawn songs and features are kept.
    genres : tuple of str
        The genres, in the order of the labels.
    layout : str
        One of `layouts.LAYOUTS`.
    weights : str
        File of trunks' weights, `random`, or empty to look for them.
    watch : Watch
        The terminal.

    Raises
    ------
    UserError
        If there are fewer than 2 genres or one of them is given twice, or the library is not usable.
    """

    data: Place
    workspace: Path
    genres: tuple[str, ...]
    layout: str
    weights: str
    watch: Watch

    def __post_init__(self) -> None:
        if len(set(map(genre_key, self.genres))) != len(self.genres) or len(self.genres) < 2:
            raise UserError(f"Expected at least 2 genres, each once. Received: {', '.join(self.genres) or 'none'}")
        self.policy: Policy
        self.policy, reason = preferred_policy()
        self.watch.say(reason)
        self._libraries: dict[MelSpec, Library] = {}
        self._weights: dict[str, WeightsFile] = {}
        self._features: dict[tuple[str, int], tuple[list[np.ndarray], str]] = {}
        self._codes: dict[tuple[str, ...], str] = {}
        memory = LookMemory(self.workspace / "looked.sqlite", source_digest("tumbao.components.ingest.decoders"))
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.catalog: Catalog = scan(self.data, self.genres, MelSpec(), self.layout, memory=memory)
        found, rejected = self.catalog.found, len(self.catalog.rejected)
        self.watch.say(f"{found} songs found, {rejected} of them rejected at first sight")
        for note in self.catalog.notes:
            self.watch.say(escape(note))

    def code(self, *modules: str) -> str:
        """Hash source, once: what is loaded does not change any more.

        Parameters
        ----------
        *modules : str
            See `source_digest`.

        Returns
        -------
        digest : str
            The hash.
        """
        if modules not in self._codes:
            self._codes[modules] = source_digest(*modules)
        return self._codes[modules]

    def library(self, spec: MelSpec) -> Library:
        """Draw the library.

        Parameters
        ----------
        spec : MelSpec
            How.

        Returns
        -------
        library : Library
            All fragments; the same ones, in the same order, for each spec with fragments of this length.
        """
        if spec not in self._libraries:
            cache = song_cache(str(self.workspace), spec)
            drawn = self._libraries[spec] = draw(self.catalog, self.genres, spec, cache)
            for song in drawn.rejected:
                self.watch.say(f"  rejected: {escape(song.song)}: {escape(song.reason)}: {escape(song.detail)}")
        return self._libraries[spec]

    def trunk_weights(self, trunk: Trunk) -> WeightsFile:
        """Find a trunk's weights.

        Parameters
        ----------
        trunk : Trunk
            The trunk.

        Returns
        -------
        weights : WeightsFile
            What was found.
        """
        if trunk.pretrained not in self._weights:
            self._weights[trunk.pretrained] = trunk.ensure_weights(self.weights or None)
        return self._weights[trunk.pretrained]

    def features(self, trunk: Trunk, copies: int = 0) -> tuple[list[np.ndarray], str]:
        """Compute a trunk's features.

        Parameters
        ----------
        trunk : Trunk
            The trunk.
        copies : int
            How many copies with bands and times masked.

        Returns
        -------
        features : list of np.ndarray
            Of the fragments, then of each copy.
        key : str
            What they depend on, as a digest.
        """
        if (trunk.name, copies) not in self._features:
            self._features[trunk.name, copies] = self._compute(trunk, copies)
        return self._features[trunk.name, copies]

    def _compute(self, trunk: Trunk, copies: int) -> tuple[list[np.ndarray], str]:
        code = self.code("tumbao.components.comparison.features")
        library, weights = self.library(trunk.mel_spec), self.trunk_weights(trunk)
        found = [
            features(library, trunk, weights.path, self.policy, self.workspace / "features", code=code, copy=copy)
            for copy in range(1 + copies)
        ]
        return [array for array, _ in found], "-".join(key for _, key in found)
