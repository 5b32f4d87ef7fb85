"""Song → train, val or test.

Conventions: 80/10/10 within each genre, val and test rounded up so that each has at least one unit; what is left is
train. A unit is a song or, under the paper's protocol, a fragment: then fragments of one song stand on several sides
and the evaluation is leaky. Units are dealt out in the order of a hash of seed and unit, which depends on nothing else.

Artists come in all sizes and play several genres: by artist the shares are met as nearly as that allows.

A stable split asks nothing but the hash of seed and unit. A tenth of all units goes to val and a tenth to test on
average, not in each genre; in return a song keeps its side whatever songs come or go.

In a fixed split the test songs are those of an earlier split, so that models of a growing library are asked the same.
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
"""What a split keeps whole; `fragment` keeps not even the fragments of a song together."""

METHODS: tuple[str, ...] = ("stratified", "stable")
"""How units are dealt out: by their share of each genre, or by their hash alone."""

GIVEN = "given"
"""The method of a library that brings its own splits, each by song."""

_HELD_OUT_SHARE = 0.1

Assignment = dict[str, dict[str, list[int]]]
"""Split → song → indexes of its fragments that belong there."""


Songs = Mapping[str, Mapping[str, int]]
"""Genre → song → number of its fragments."""


def leaks(protocol: str, method: str = "") -> bool:
    """Tell whether fragments of one song can stand on both sides of a split.

    Parameters
    ----------
    protocol : str
        One of `PROTOCOLS`.
    method : str
        How the split was drawn, see `catalog.write_manifests`.

    Returns
    -------
    leaky : bool
        Whether figures of its test split are too good.
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
        `song` (leak-free), `artist` (nor does a model know the artists that it is tested on) or `fragment` (the
        paper's protocol, leaky).
    seed : int
        Changes who goes where.
    method : str
        `stratified` by genre, or `stable` while the library grows.
    artists : mapping of str to str, optional
        Song → artist, needed by artist only. Spellings are compared by `tags.artist_key`; a song without an artist
        stands alone.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments.

    Raises
    ------
    ValueError
        If protocol or method is unknown, artists are needed and not given, or a genre cannot stand in every split.

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
    """Split by song, with test songs that are fixed.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    tests : collection of str
        The test songs; some may be gone. A genre without any is given some: a tenth of its songs.
    seed : int
        Changes which of the others go to val. While no song comes or goes, they are those of `split_songs`.
    learned : collection of str
        Songs that are chosen for test only where a genre has no other.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments: of a genre with `tests` no other song stands in test.

    Raises
    ------
    ValueError
        If a genre does not stand in every split.

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
    """Take the splits that the library brings.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    sides : iterable of tuple of str and str
        Song and split, for each row of the library's list; a split may be empty. Songs that are not used may be there.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments.

    Raises
    ------
    ValueError
        If a song has no split or several, or a genre does not stand in every split.
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
    """Name the artists whose songs stand in more than one split.

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
    """Make what names the unit that fragments of a song belong to."""
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
