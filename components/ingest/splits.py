"""Assign songs to the splits train, val and test.

A stratified split takes 10 % of the units of each genre for test and for val, rounded up so that each has at least one
unit; the rest is train. A unit is a song or, under the paper's protocol, a fragment; fragments of one song are then in
several splits and the evaluation is leaky. Units are ordered by a hash of seed and unit, which depends on nothing else.

Artists have different numbers of songs and play several genres: a split by artist meets the shares as nearly as
possible.

A stable split depends only on the hash of seed and unit. On average, val and test each get a tenth of all units, not of
each genre; in return a song keeps its split when other songs are added or removed.

A fixed split keeps the test songs of an earlier split, so that models of a growing library have the same test songs.
"""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tumbao.components.ingest.artist_groups import deal_artists
from tumbao.components.ingest.tags import artist_key
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import has_subgenres
from tumbao.schema.record import SPLITS

PROTOCOLS: tuple[str, ...] = ("song", "artist", "fragment")
"""The unit that a split keeps together; with `fragment`, not even the fragments of a song stay together."""

METHODS: tuple[str, ...] = ("stratified", "stable")
"""How units are assigned: stratified by genre, or by their hash alone."""

GIVEN = "given"
"""The method of a library with its own splits, each by song."""

_HELD_OUT_SHARE = 0.1

Assignment = dict[str, dict[str, list[int]]]
"""Split → song → indexes of its fragments that belong there."""


Songs = Mapping[str, Mapping[str, int]]
"""Genre → song → number of its fragments."""


def leaks(protocol: str, method: str = "") -> bool:
    """Tell whether fragments of one song can be in several splits.

    Parameters
    ----------
    protocol : str
        One of `PROTOCOLS`.
    method : str
        How the split was made, see `library.write_manifests`.

    Returns
    -------
    leaky : bool
        Whether metrics of the test split are too optimistic.
    """
    return protocol == "fragment" and method != GIVEN


def split_songs(
    songs: Songs,
    protocol: str,
    seed: int,
    *,
    method: str = "stratified",
    artists: Mapping[str, str] | None = None,
) -> Assignment:
    """Assign every fragment of every song to a split.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    protocol : str
        `song` (leak-free), `artist` (leak-free, and no artist is in several splits) or `fragment` (the paper's
        protocol, leaky).
    seed : int
        Changes the assignment.
    method : str
        `stratified` by genre, or `stable` while the library grows.
    artists : mapping of str to str, optional
        Song → artist, required for `artist` only. Spellings are compared by `tags.artist_key`; a song without an artist
        is a unit of its own.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments.

    Raises
    ------
    ValueError
        If protocol or method is unknown, artists are required and missing, or a genre is not in every split.

    Examples
    --------
    >>> sides = split_songs({"salsa": {"a": 2, "b": 3, "c": 1}}, "song", seed=0)
    >>> {split: len(members) for split, members in sides.items()}
    {'train': 1, 'val': 1, 'test': 1}
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Expected a split protocol out of {PROTOCOLS}. Received: {protocol!r}")
    if method not in METHODS:
        raise ValueError(f"Expected a split method out of {METHODS}. Received: {method!r}")
    if protocol == "artist" and artists is None:
        raise ValueError("Expected the artists of the songs to split by artist. Received: None")
    unit_of = _unit_names(protocol, artists or {})
    _require_units(songs, protocol, unit_of)
    if method == "stable":
        return _stable(songs, protocol, seed, unit_of)
    if protocol == "artist":
        return _by_artist(songs, seed, unit_of)
    return _stratified(songs, protocol, seed)


def _stratified(
    songs: Songs, protocol: str, seed: int, tests: Collection[str] = (), learned: Collection[str] = ()
) -> Assignment:
    assignment: Assignment = {split: {} for split in SPLITS}
    for counts in songs.values():
        units = _units(counts, protocol)
        units.sort(key=lambda unit: hashlib.sha256(f"{seed}:{unit[0]}:{unit[1]}".encode()).digest())
        held_out = math.ceil(len(units) * _HELD_OUT_SHARE)
        test = [unit for unit in units if unit[0] in tests]
        if not test:
            test = ([unit for unit in units if unit[0] not in learned] or units)[:held_out]
        tested = set(test)
        rest = [unit for unit in units if unit not in tested]
        sides = {"test": test, "val": rest[:held_out], "train": rest[held_out:]}
        for split, members in sides.items():
            for song, fragments in members:
                assignment[split].setdefault(song, []).extend(fragments)
    return _in_order(assignment)


def fixed_split(songs: Songs, tests: Collection[str], seed: int, learned: Collection[str] = ()) -> Assignment:
    """Split by song, with fixed test songs.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    tests : collection of str
        The test songs; some may no longer exist. For a genre without any, a tenth of its songs is chosen.
    seed : int
        Changes which of the other songs go to val. While no song is added or removed, they are those of `split_songs`.
    learned : collection of str
        Songs that are chosen for test only if a genre has no other.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments. In a genre with `tests`, no other song is in test.

    Raises
    ------
    ValueError
        If a genre is not in every split.

    Examples
    --------
    >>> sides = fixed_split({"salsa": {"a": 2, "b": 3, "new": 1}}, {"b"}, seed=0)
    >>> sides["test"]
    {'b': [0, 1, 2]}
    """
    _require_units(songs, "song", _unit_names("song", {}))
    assignment = _stratified(songs, "song", seed, tests, learned)
    _require_genres(songs, assignment, "The test songs are fixed: add songs, which go to train and val.")
    return assignment


def given_splits(songs: Songs, sides: Iterable[tuple[str, str]]) -> Assignment:
    """Use the splits that the library defines.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    sides : iterable of tuple of str and str
        Song and split, for each row of the library's list; a split may be empty. Unused songs are ignored.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments.

    Raises
    ------
    ValueError
        If a song has no split or several, or a genre is not in every split.
    """
    side_of: dict[str, str] = {}
    used = {song for counts in songs.values() for song in counts}
    for song, side in sides:
        if song in used and side_of.setdefault(song, side) != side:
            raise UserError(
                f"Expected each song in one split of the library's own. Received: {song}, in {side_of[song] or 'none'} "
                f"and in {side or 'none'}."
            )
    if homeless := sorted(song for song in used if side_of.get(song) not in SPLITS):
        raise UserError(
            f"Expected a split out of {', '.join(SPLITS)} for each song, to use the library's own. Received: "
            f"{len(homeless)} of {len(used)} songs without one: {', '.join(homeless[:5])}"
            f"{' …' if len(homeless) > 5 else ''}. Fill them in, or split by song."
        )
    assignment = _whole_songs(songs, side_of)
    _require_genres(songs, assignment, "Change the splits of the library, or split by song.")
    return assignment


def artists_on_two_sides(assignment: Assignment, artists: Mapping[str, str]) -> list[str]:
    """List the artists with songs in more than one split.

    Parameters
    ----------
    assignment : dict
        Split → song → indexes of its fragments.
    artists : mapping of str to str
        Song → artist; spellings are compared by `tags.artist_key`.

    Returns
    -------
    names : list of str
        One spelling of each, sorted.

    Examples
    --------
    >>> sides = {"train": {"a": [0], "b": [0]}, "val": {"c": [0]}, "test": {"d": [0]}}
    >>> artists_on_two_sides(sides, {"a": "Celia Cruz", "b": "Joe Arroyo", "c": "CELIA CRUZ", "d": ""})
    ['CELIA CRUZ']
    """
    sides: dict[str, set[str]] = collections.defaultdict(set)
    names: dict[str, set[str]] = collections.defaultdict(set)
    for split, members in assignment.items():
        for song in members:
            if key := artist_key(artists.get(song, "")):
                sides[key].add(split)
                names[key].add(artists[song])
    return sorted(min(names[key]) for key, splits in sides.items() if len(splits) > 1)


def _units(counts: Mapping[str, int], protocol: str) -> list[tuple[str, Sequence[int]]]:
    if protocol == "fragment":
        return [(song, (index,)) for song, count in counts.items() for index in range(count)]
    return [(song, range(count)) for song, count in counts.items()]


def _unit_names(protocol: str, artists: Mapping[str, str]) -> Callable[[str, Sequence[int]], str]:
    """Return a function from a song and indexes of its fragments to the name of their unit."""
    keys = {song: artist_key(artist) for song, artist in artists.items()}

    def of_song(song: str, indexes: Sequence[int]) -> str:
        return f"song:{song}"

    def of_artist(song: str, indexes: Sequence[int]) -> str:
        return f"artist:{keys[song]}" if keys.get(song) else of_song(song, indexes)

    def of_fragment(song: str, indexes: Sequence[int]) -> str:
        return f"fragment:{indexes[0]}:{song}"

    return {"song": of_song, "artist": of_artist, "fragment": of_fragment}[protocol]


def _require_units(songs: Songs, protocol: str, unit_of: Callable[[str, Sequence[int]], str]) -> None:
    short: list[str] = []
    for genre, counts in songs.items():
        units = len({unit_of(*unit) for unit in _units(counts, protocol)})
        if units < len(SPLITS):
            short.append(f"{genre} has {units} and needs {len(SPLITS) - units} more")
    if short:
        advice = "or leave the genre out with --genres"
        if has_subgenres(tuple(songs)):
            advice += ", or fold the sub-genre up with a higher --min-songs"
        raise UserError(
            f"Every genre must stand in {', '.join(SPLITS)}, so each needs at least {len(SPLITS)} usable {protocol}s: "
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
            f"Every genre must stand in {', '.join(SPLITS)}. Received no song of {', '.join(missing)}. {advice}"
        )


def _stable(songs: Songs, protocol: str, seed: int, unit_of: Callable[[str, Sequence[int]], str]) -> Assignment:
    assignment: Assignment = {split: {} for split in SPLITS}
    for counts in songs.values():
        for song, indexes in _units(counts, protocol):
            digest = hashlib.sha256(f"{seed}:{unit_of(song, indexes)}".encode()).digest()
            place = int.from_bytes(digest[:8], "big") / 2**64
            split = "test" if place < _HELD_OUT_SHARE else "val" if place < 2 * _HELD_OUT_SHARE else "train"
            assignment[split].setdefault(song, []).extend(indexes)
    advice = f"By hash alone that happens where {protocol}s are few: add songs, use another seed, or split stratified."
    _require_genres(songs, assignment, advice)
    return _in_order(assignment)


def _by_artist(songs: Songs, seed: int, unit_of: Callable[[str, Sequence[int]], str]) -> Assignment:
    unit = {song: unit_of(song, ()) for counts in songs.values() for song in counts}
    sizes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for genre, counts in songs.items():
        for song in counts:
            sizes[unit[song]][genre] += 1
    sides = deal_artists(sizes, _HELD_OUT_SHARE, seed)
    assignment = _whole_songs(songs, {song: sides[name] for song, name in unit.items()})
    advice = "Its artists play other genres as well and could not be dealt out: use another seed, or split by song."
    _require_genres(songs, assignment, advice)
    return assignment


def _whole_songs(songs: Songs, side_of: Mapping[str, str]) -> Assignment:
    assignment: Assignment = {split: {} for split in SPLITS}
    for counts in songs.values():
        for song, count in counts.items():
            assignment[side_of[song]][song] = list(range(count))
    return _in_order(assignment)


def _in_order(assignment: Assignment) -> Assignment:
    return {
        split: {song: sorted(fragments) for song, fragments in sorted(members.items())}
        for split, members in assignment.items()
    }
