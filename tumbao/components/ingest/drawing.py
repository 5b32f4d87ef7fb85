"""A song's fragments, drawn by the process that decodes them: what travels is a picture, not a waveform."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tumbao.components.ingest import mel, records
from tumbao.components.ingest.decoders import Part, read_unchanged
from tumbao.components.ingest.fingerprint import fingerprint
from tumbao.components.ingest.fragments import Ending, Fragment
from tumbao.schema.mel_spec import MelSpec


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A fragment as it is kept.

    Parameters
    ----------
    index : int
        Its number in the song.
    padded, silent : bool
        As of `fragments.Fragment`.
    png : bytes
        Its mel image; empty if it is silent.
    words : np.ndarray [shape=(n,), dtype=uint16]
        Its fingerprint; zeros if it is silent.
    """

    index: int
    padded: bool
    silent: bool
    png: bytes
    words: np.ndarray


def draw(part: Part, spec: MelSpec, sha256: str) -> Iterator[Drawing | Ending | None]:
    """Decode a song and draw it, on one thread: there are as many such processes as CPUs.

    Parameters
    ----------
    part : Part
        The song, in a file of this machine.
    spec : MelSpec
        The front-end's parameters.
    sha256 : str
        Hash that the file's bytes must have.

    Yields
    ------
    item : Drawing or Ending or None
        See `decoders.read_unchanged`.

    Raises
    ------
    AudioError
        If the song cannot be used, or has changed.
    """
    nothing = np.zeros(0, np.uint16)
    for item in read_unchanged(part, spec, sha256):
        if not isinstance(item, Fragment):
            yield item
        elif item.silent:
            yield Drawing(item.index, item.padded, True, b"", np.zeros_like(nothing))
        else:
            levels = _levels(spec)(item.samples)
            words = fingerprint(levels, spec)
            nothing = words
            yield Drawing(item.index, item.padded, False, records.to_png(levels, mel.palette(spec)), words)


@functools.lru_cache(maxsize=2)
def _levels(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # no faster here, but 18 MB larger
    return mel.traced_levels(spec)
