"""Where songs stand in a library, as a network sees both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.components.ingest.library import Catalog
from tumbao.components.ingest.record_reader import decode_image
from tumbao.components.ingest.rendered_library import Library
from tumbao.schema.errors import UserError
from tumbao.serving.explain.activations import Activations, Hidden
from tumbao.serving.explain.neighbours import agreement, on_a_map
from tumbao.serving.explain.training_fragments import training_side
from tumbao.serving.model_info import ModelInfo

FRAGMENTS = 400
"""How many fragments of a library are looked at; of a larger one, every so many."""


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A fragment of a song that somebody asks about.

    Parameters
    ----------
    name : str
        What the song is called.
    path : Path
        Its file.
    start_seconds : float
        Where the fragment begins.
    image : np.ndarray [shape=(height, width, 3), dtype=uint8]
        Its mel image.
    """

    name: str
    path: Path
    start_seconds: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Surroundings:
    """A library around songs.

    Parameters
    ----------
    catalog : Catalog
        The library, looked through.
    library : Library
        The fragments that were looked at, length n.
    left_out : int
        How many fragments the library has besides.
    training : np.ndarray [shape=(n,), dtype=bool]
        What the model was trained on; all of it where that is not known.
    recognised : bool
        Whether it is known: the library is the one that the model was trained on.
    seen : Activations
        What the network makes of the fragments.
    asked : tuple of Placed
        What was asked about, length m.
    seen_asked : Activations or None
        What the network makes of that; None where nothing was asked about.
    places : np.ndarray [shape=(n + m, 2), dtype=float64]
        On the map, in [0, 1]: the library, then what was asked about.
    agreement : float or None
        How often the nearest training fragment has the same genre as one that was not in training, in [0, 1]; where
        that is not known, the nearest fragment of another song as any. None where there is nothing to compare.
    """

    catalog: Catalog
    library: Library
    left_out: int
    training: np.ndarray
    recognised: bool
    seen: Activations
    asked: tuple[Placed, ...]
    seen_asked: Activations | None
    places: np.ndarray
    agreement: float | None

    @property
    def mistakes(self) -> np.ndarray:
        """Rows of the library that the network answers with another genre, int64 [k]."""
        return np.flatnonzero(self.seen.answers != self.library.labels)


def surroundings(
    hidden: Hidden, info: ModelInfo, catalog: Catalog, library: Library, asked: Sequence[Placed], folder: Path
) -> Surroundings:
    """Look at a library and at songs.

    Parameters
    ----------
    hidden : Hidden
        The network.
    info : ModelInfo
        What the model says about itself.
    catalog : Catalog
        The library, looked through.
    library : Library
        Its fragments, drawn with the model's `MelSpec`.
    asked : sequence of Placed
        Fragments to place in it; may be empty.
    folder : Path
        Where what the network makes of a library is kept, so that it is computed once.

    Returns
    -------
    surroundings : Surroundings
        The same for the same model, library and songs.

    Raises
    ------
    ValueError
        If the library's genres are not the model's, or it has too few fragments for a map.
    """
    if library.genres != info.genres:
        raise UserError(
            f"Expected a library of the model's genres, {', '.join(info.genres)}. Received: {', '.join(library.genres)}"
        )
    training = training_side(info, catalog, library)
    rows = np.unique(np.linspace(0, len(library.songs) - 1, min(FRAGMENTS, len(library.songs))).round().astype(int))
    part = _part(library, rows)
    seen = _seen(hidden, info, part, folder)
    others = hidden.see((one.image for one in asked), len(asked), "songs") if asked else None
    vectors = np.concatenate([seen.vectors, others.vectors]) if others else seen.vectors
    trained = np.ones(len(rows), bool) if training is None else training[rows]
    return Surroundings(
        catalog=catalog,
        library=part,
        left_out=len(library.songs) - len(rows),
        training=trained,
        recognised=training is not None,
        seen=seen,
        asked=tuple(asked),
        seen_asked=others,
        places=on_a_map(vectors),
        agreement=agreement(seen.vectors, part.labels, part.songs, trained),
    )


def _part(library: Library, rows: np.ndarray) -> Library:
    """Take some fragments of a library."""
    return dataclasses.replace(
        library,
        songs=tuple(library.songs[row] for row in rows),
        labels=library.labels[rows],
        numbers=library.numbers[rows],
        starts=library.starts[rows],
        files=tuple(library.files[row] for row in rows),
        archives=tuple(library.archives[row] for row in rows),
        members=tuple(library.members[row] for row in rows),
    )


def _seen(hidden: Hidden, info: ModelInfo, library: Library, folder: Path) -> Activations:
    """Show the network a library, unless that is done."""
    told = json.dumps([dataclasses.asdict(info), library.archives, library.members])
    file = folder / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        count = len(library.songs)
        seen = hidden.see(map(decode_image, library.images()), count, "library")
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}.unfinished.npz")
        np.savez(unfinished, vectors=seen.vectors, logits=seen.logits)
        unfinished.replace(file)
    with np.load(file) as arrays:
        return Activations(arrays["vectors"], arrays["logits"])
