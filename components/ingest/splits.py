"""Assign songs to the splits train, val and test.

A stratified split takes 10 % of the units of each genre for test and for val, rounded up; the rest is train. A unit is
a song or, as in the paper, a fragment; fragments of one song are then in several splits and the evaluation is leaky.
Units are ordered by a hash of seed and unit. A split by artist meets the shares as nearly as possible.

A stable split depends only on the hash. On average, val and test each get a tenth of all units, not of each genre; in
return a song keeps its split when other songs are added or removed.
"""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from tumbao.components.ingest.tags import artist_key
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import has_subgenres
from tumbao.schema.record import SPLITS

SPLIT_BY: tuple[str, ...] = ("song", "artist", "fragment")
"""The unit that a split keeps together; with `fragment`, not even the fragments of a song stay together."""

SPLIT_STRATEGIES: tuple[str, ...] = ("stratified", "stable")
"""How units are assigned: stratified by genre, or by their hash alone."""

GIVEN = "given"
"""The strategy for a library with its own splits, each by song."""

_HELD_OUT_SHARE = 0.1

Assignment = dict[str, dict[str, list[int]]]
"""Split → song → indexes of its fragments that belong there."""

Songs = Mapping[str, Mapping[str, int]]
"""Genre → song → number of its fragments."""

Part = tuple[str, str, Sequence[int]]
"""Split, song and indexes of fragments that belong there."""


def is_leaky(split_by: str, split_strategy: str = "") -> bool:
    """Tell whether fragments of one song can be in several splits, so that test metrics are too optimistic."""
    return split_by == "fragment" and split_strategy != GIVEN


def split_songs(
    songs: Songs,
    split_by: str,
    seed: int,
    *,
    split_strategy: str = "stratified",
    groups: Mapping[str, str] | None = None,
) -> Assignment:
    """Assign every fragment of every song to a split; raises UserError if a genre cannot be in every split.

    `split_by` is one of `SPLIT_BY` or the name of another property of songs, such as a column of the library's list.
    `groups` maps song → artist or that property; a song without one is a unit of its own.
    """
    keys = group_keys(groups or {}, split_by)
    _require_units(songs, split_by, keys)
    if split_strategy == "stable":
        return _stable(songs, split_by, seed, keys)
    if split_by not in ("song", "fragment"):
        return _by_group(songs, split_by, seed, keys)
    return _stratified(songs, split_by, seed)


def group_keys(groups: Mapping[str, str], split_by: str) -> dict[str, str]:
    """Return what a split keeps together, by song: its artist's key, or the value of a column; empty if unknown."""
    if split_by in ("song", "fragment"):
        return {}
    return {song: artist_key(name) if split_by == "artist" else name.strip() for song, name in groups.items()}


def _stratified(
    songs: Songs, split_by: str, seed: int, tests: Collection[str] = (), learned: Collection[str] = ()
) -> Assignment:
    parts: list[Part] = []
    for counts in songs.values():
        units = _units(counts, split_by)
        units.sort(key=lambda unit: _hash(seed, f"{unit[0]}:{unit[1]}"))
        held_out = math.ceil(len(units) * _HELD_OUT_SHARE)
        test = [unit for unit in units if unit[0] in tests]
        if not test:
            test = ([unit for unit in units if unit[0] not in learned] or units)[:held_out]
        tested = set(test)
        rest = [unit for unit in units if unit not in tested]
        for split, members in ("test", test), ("val", rest[:held_out]), ("train", rest[held_out:]):
            parts += [(split, *unit) for unit in members]
    return _assignment(parts)


def _hash(seed: int, unit: str) -> bytes:
    return hashlib.sha256(f"{seed}:{unit}".encode()).digest()


def _assignment(parts: Iterable[Part]) -> Assignment:
    found: dict[str, dict[str, list[int]]] = {split: collections.defaultdict(list) for split in SPLITS}
    for split, song, fragments in parts:
        found[split][song] += fragments
    return {
        split: {song: sorted(fragments) for song, fragments in sorted(members.items())}
        for split, members in found.items()
    }


def frozen_split(songs: Songs, tests: Collection[str], seed: int, learned: Collection[str] = ()) -> Assignment:
    """Split by song, with given test songs, of which some may no longer exist.

    For a genre without any, a tenth of its songs is chosen, from `learned` (songs of earlier training data) only if
    there are no others.
    """
    _require_units(songs, "song", {})
    assignment = _stratified(songs, "song", seed, tests, learned)
    _require_genres(songs, assignment, "The test songs are fixed: add songs, which go to train and val.")
    return assignment


def given_splits(songs: Songs, splits: Iterable[tuple[str, str]]) -> Assignment:
    """Use the splits that the library defines: song and split of each row of its list; unused songs are ignored."""
    split_of: dict[str, str] = {}
    used = {song for counts in songs.values() for song in counts}
    for song, split in splits:
        if song in used and split_of.setdefault(song, split) != split:
            raise UserError(
                f"Expected each song in one split of the library's own. Received: {song}, in "
                f"{split_of[song] or 'none'} and in {split or 'none'}."
            )
    if without_split := sorted(song for song in used if split_of.get(song) not in SPLITS):
        raise UserError(
            f"Expected a split out of {', '.join(SPLITS)} for each song, to use the library's own. Received: "
            f"{len(without_split)} of {len(used)} songs without one: {', '.join(without_split[:5])}"
            f"{' …' if len(without_split) > 5 else ''}. Fill them in, or split by song."
        )
    assignment = _whole_songs(songs, split_of)
    _require_genres(songs, assignment, "Change the splits of the library, or split by song.")
    return assignment


def artists_in_several_splits(assignment: Assignment, artists: Mapping[str, str]) -> list[str]:
    """List the artists with songs in more than one split, one spelling of each, sorted."""
    splits_of: dict[str, set[str]] = collections.defaultdict(set)
    names: dict[str, set[str]] = collections.defaultdict(set)
    for split, members in assignment.items():
        for song in members:
            name = artists.get(song, "")
            splits_of[artist_key(name)].add(split)
            names[artist_key(name)].add(name)
    return sorted(min(names[key]) for key, splits in splits_of.items() if key and len(splits) > 1)


def _units(counts: Mapping[str, int], split_by: str) -> list[tuple[str, Sequence[int]]]:
    if split_by == "fragment":
        return [(song, (index,)) for song, count in counts.items() for index in range(count)]
    return [(song, range(count)) for song, count in counts.items()]


def _unit_name(song: str, indexes: Sequence[int], split_by: str, keys: Mapping[str, str]) -> str:
    if split_by == "fragment":
        return f"fragment:{indexes[0]}:{song}"
    return f"{split_by}:{keys[song]}" if keys.get(song) else f"song:{song}"


def _require_units(songs: Songs, split_by: str, keys: Mapping[str, str]) -> None:
    short: list[str] = []
    for genre, counts in songs.items():
        units = len({_unit_name(*unit, split_by, keys) for unit in _units(counts, split_by)})
        if units < len(SPLITS):
            short.append(f"{genre} has {units} and needs {len(SPLITS) - units} more")
    if short:
        advice = "or leave the genre out with --genres"
        if has_subgenres(tuple(songs)):
            advice += ", or merge the sub-genre into its genre with a higher --min-songs"
        raise UserError(
            f"Every genre must be in {', '.join(SPLITS)}, so each needs at least {len(SPLITS)} usable {split_by}s: "
            f"{'; '.join(short)}. Add songs, {advice}."
        )


def _require_genres(songs: Songs, assignment: Assignment, advice: str) -> None:
    missing = [
        f"{genre} in {split}"
        for genre, counts in songs.items()
        for split in SPLITS
        if not counts.keys() & assignment[split].keys()
    ]
    if missing:
        raise UserError(
            f"Every genre must be in {', '.join(SPLITS)}. Received no song of {', '.join(missing)}. {advice}"
        )


def _stable(songs: Songs, split_by: str, seed: int, keys: Mapping[str, str]) -> Assignment:
    parts: list[Part] = []
    for counts in songs.values():
        for song, indexes in _units(counts, split_by):
            digest = _hash(seed, _unit_name(song, indexes, split_by, keys))
            share = int.from_bytes(digest[:8], "big") / 2**64
            split = "test" if share < _HELD_OUT_SHARE else "val" if share < 2 * _HELD_OUT_SHARE else "train"
            parts.append((split, song, indexes))
    assignment = _assignment(parts)
    advice = f"A split by hash alone can miss a genre with few {split_by}s: add songs, or use another seed or strategy."
    _require_genres(songs, assignment, advice)
    return assignment


def _by_group(songs: Songs, split_by: str, seed: int, keys: Mapping[str, str]) -> Assignment:
    unit = {song: _unit_name(song, (), split_by, keys) for counts in songs.values() for song in counts}
    sizes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for genre, counts in songs.items():
        for song in counts:
            sizes[unit[song]][genre] += 1
    split_of = group_split(sizes, seed)
    assignment = _whole_songs(songs, {song: split_of[name] for song, name in unit.items()})
    advice = f"Its {split_by}s also have other genres and could not be assigned: use another seed, or split by song."
    _require_genres(songs, assignment, advice)
    return assignment


def _whole_songs(songs: Songs, split_of: Mapping[str, str]) -> Assignment:
    return _assignment(
        (split_of[song], song, range(count)) for counts in songs.values() for song, count in counts.items()
    )


def group_split(artists: Mapping[str, Mapping[str, int]], seed: int) -> dict[str, str]:
    """Assign whole artists to splits, so that the songs of each genre meet its shares as nearly as possible.

    `artists` maps artist → genre → number of songs. The largest artists are assigned first, each to the split with the
    largest decrease of the distance between songs and shares, as in Pearson's chi-squared. A split without a genre has
    priority once all remaining artists of that genre are needed for such splits.
    """
    songs: collections.Counter[str] = collections.Counter()
    waiting: collections.Counter[str] = collections.Counter()  # number of unassigned artists of each genre
    for genres in artists.values():
        songs.update(genres)
        waiting.update(genres.keys())
    shares: dict[tuple[str, str], int] = {}  # genre, split → target number of songs
    for genre, count in songs.items():
        held_out = math.ceil(count * _HELD_OUT_SHARE)
        shares |= {(genre, "train"): count - 2 * held_out, (genre, "val"): held_out, (genre, "test"): held_out}
    filled = dict.fromkeys(shares, 0)

    def gain(artist: str, split: str) -> float:
        cells = [((genre, split), size) for genre, size in sorted(artists[artist].items())]
        return sum(size * (2 * (shares[cell] - filled[cell]) - size) / shares[cell] for cell, size in cells)

    def is_last_chance(artist: str, split: str) -> bool:
        return any(
            not filled[genre, split] and waiting[genre] <= sum(not filled[genre, other] for other in SPLITS)
            for genre in artists[artist]
        )

    def order(artist: str) -> tuple[int, bytes]:
        return -sum(artists[artist].values()), _hash(seed, artist)

    split_of: dict[str, str] = {}
    for artist in sorted(artists, key=order):
        _, _, best = max((is_last_chance(artist, split), gain(artist, split), split) for split in SPLITS)
        for genre, size in artists[artist].items():
            filled[genre, best] += size
            waiting[genre] -= 1
        split_of[artist] = best
    return split_of
