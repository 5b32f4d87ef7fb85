"""Render a whole library: every fragment of every song once, independent of later splits."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tumbao.components.ingest import progress, song_cache
from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.fingerprint import decode_fingerprint, duplicate_detail, find_duplicates
from tumbao.components.ingest.library import Catalog, Rejected, Song, require_few_failures
from tumbao.components.ingest.render import Rendered, Renderer
from tumbao.components.ingest.song_cache import SongCache
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec


class _UsedSong(NamedTuple):
    """A song, its archive in the cache and the indexes of its fragments there."""

    song: Song
    archive: str
    indexes: Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedLibrary:
    """The n fragments of a library, in the order of the catalog.

    `labels` are indexes into `genres`, int64 [n]. `numbers`, int64 [n], count the fragments of each song from 0.
    `starts`, float64 [n], are seconds in the file. `archives` and `members` are the archive of a fragment's image and
    its number there. `artists` maps song → artist, which may be empty.
    """

    genres: tuple[str, ...]
    songs: tuple[str, ...]
    labels: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    files: tuple[str, ...]
    archives: tuple[str, ...]
    members: tuple[int, ...]
    artists: Mapping[str, str]
    rejected: tuple[Rejected, ...]

    @functools.cached_property
    def digest(self) -> str:
        """Digest of songs, labels and numbers of all fragments; their audio is not part of it."""
        named = [self.genres, self.songs, self.labels.tolist(), self.numbers.tolist()]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]

    def images(self) -> Iterator[bytes]:
        """Yield the mel image of each fragment, as PNG."""
        archive, images = "", dict[int, bytes]()
        for path, member in zip(self.archives, self.members, strict=True):
            if path != archive:
                archive, images = path, dict(song_cache.images(path))
            yield images[member]


def render_library(catalog: Catalog, genres: Sequence[str], spec: MelSpec, cache: str) -> RenderedLibrary:
    """Render songs that are not in the cache yet, and list all fragments; of duplicates, one song is used."""
    used, rejected = _used_songs(catalog, spec, cache)
    rows: list[tuple[str, int, int, float, str, str, int]] = []
    firsts: dict[str, int] = {}
    for song, archive, indexes in used:
        first, label = firsts.get(song.song, 0), genres.index(song.genre)
        for index in indexes:
            start = song.start_seconds + index * spec.fragment_seconds
            rows.append((song.song, label, first + index, start, song.path, archive, index))
        firsts[song.song] = first + max(indexes, default=-1) + 1
    if not rows:
        raise UserError("Expected a library with at least one fragment that is not silent. Received: none.")
    songs, labels, numbers, starts, files, archives, members = zip(*rows, strict=True)
    numbered = (np.array(labels, np.int64), np.array(numbers, np.int64), np.array(starts))
    artists = {song.song: song.artist for song in catalog.songs}
    return RenderedLibrary(tuple(genres), songs, *numbered, files, archives, members, artists, rejected)


def decoded_catalog(catalog: Catalog, spec: MelSpec, cache: str) -> Catalog:
    """Render songs that are not in the cache yet, and reject those that only decoding shows to be unusable.

    These are songs that are silent, damaged, or the same as another in a different encoding.
    """
    used, rejected = _used_songs(catalog, spec, cache)
    return dataclasses.replace(catalog, songs=tuple(song for song, _, _ in used), rejected=rejected)


def _used_songs(catalog: Catalog, spec: MelSpec, cache: str) -> tuple[list[_UsedSong], tuple[Rejected, ...]]:
    with SongCache(cache).in_use():
        parts = _rendered(catalog, spec, cache)
    fingerprints = [
        (song.song, song.entry, decode_fingerprint(part.metadata.fingerprint)) for song, part in parts if part.metadata
    ]
    duplicate_of = find_duplicates(sorted(fingerprints, key=lambda one: one[:2]))
    used: list[_UsedSong] = []
    rejected = list(catalog.rejected)
    for song, part in parts:
        if part.metadata is None:
            rejected.append(Rejected(song.song, song.path, part.reason, part.detail, song.entry))
        elif original := duplicate_of.get(song.song):
            detail = duplicate_detail(original)
            rejected.append(Rejected(song.song, song.path, Reason.DUPLICATE.value, detail, song.entry, original))
        else:
            used.append(_UsedSong(song, part.archive, part.metadata.fragments))
    require_few_failures(catalog.found, rejected)
    return used, tuple(rejected)


def _rendered(catalog: Catalog, spec: MelSpec, cache: str) -> list[tuple[Song, Rendered]]:
    progress.start("decode", len(catalog.songs))
    with Renderer(spec, cache) as renderer:
        futures = [renderer.submit(song.part, song.sha256) for song in catalog.songs]
        rendered = []
        for song, future in zip(catalog.songs, futures, strict=True):
            rendered.append((song, future.result()))
            progress.advance("decode")
    return rendered
