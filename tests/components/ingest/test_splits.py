"""Splits keep songs or artists whole, reach every genre, and depend on seed and names only."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumbao.components.ingest.splits import (
    Assignment,
    artists_in_several_splits,
    frozen_split,
    given_splits,
    group_split,
    is_leaky,
    split_songs,
)
from tumbao.schema.errors import UserError
from tumbao.schema.record import SPLITS

Songs = dict[str, dict[str, int]]
SEEDS = st.integers(0, 10**9)
few = settings(deadline=None, max_examples=30)


def library(*sizes: int, fragments: int = 3) -> Songs:
    return {f"genre{g}": {f"genre{g}/{i:03}.mp3": fragments for i in range(size)} for g, size in enumerate(sizes)}


def libraries(fewest: int = 3) -> st.SearchStrategy[Songs]:
    """Up to 5 genres of up to 50 songs, each of 1 to 8 fragments."""
    counts = st.lists(st.lists(st.integers(1, 8), min_size=fewest, max_size=50), min_size=1, max_size=5)
    return counts.map(
        lambda genres: {
            f"genre{g}": {f"genre{g}/{i}.mp3": count for i, count in enumerate(songs)} for g, songs in enumerate(genres)
        }
    )


def backwards(songs: Songs) -> Songs:
    return {genre: dict(reversed(counts.items())) for genre, counts in reversed(songs.items())}


def split_of(assignment: Assignment) -> dict[tuple[str, int], str]:
    """Map each fragment to its split; no fragment may be in two."""
    assert list(assignment) == list(SPLITS)
    found = [
        ((song, index), split) for split in SPLITS for song, indexes in assignment[split].items() for index in indexes
    ]
    assert len(dict(found)) == len(found)
    assert all(list(members) == sorted(members) for members in assignment.values())
    return dict(found)


def require_complete(songs: Songs, assignment: Assignment) -> None:
    """Every fragment is in one split, every genre in all."""
    fragments = {(song, index) for counts in songs.values() for song, count in counts.items() for index in range(count)}
    assert split_of(assignment).keys() == fragments
    for counts in songs.values():
        assert all(counts.keys() & assignment[split].keys() for split in SPLITS)


@pytest.mark.parametrize("split_by", ["song", "fragment"])
@few
@given(libraries(), SEEDS)
def test_every_fragment_is_in_one_split_and_every_genre_in_all(split_by: str, songs: Songs, seed: int) -> None:
    assignment = split_songs(songs, split_by, seed)
    require_complete(songs, assignment)
    if split_by == "song":
        assert sum(map(len, assignment.values())) == sum(map(len, songs.values()))


def test_by_fragment_a_song_is_in_several_splits() -> None:
    assignment = split_songs(library(12, 12, fragments=6), "fragment", 7)
    assert assignment["train"].keys() & assignment["test"].keys()
    assert is_leaky("fragment") and not is_leaky("fragment", "given") and not is_leaky("song")


@pytest.mark.parametrize(
    ("songs", "expected"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (10, (8, 1, 1)), (11, (7, 2, 2)), (100, (80, 10, 10))]
)
def test_val_and_test_get_a_tenth_each_rounded_up(songs: int, expected: tuple[int, int, int]) -> None:
    for seed in range(5):
        assignment = split_songs(library(songs, songs), "song", seed)
        assert tuple(len(assignment[split]) for split in SPLITS) == tuple(2 * count for count in expected)


def test_too_few_songs_are_counted_by_genre() -> None:
    with pytest.raises(ValueError, match="genre0 has 1 and needs 2 more; genre2 has 2 and needs 1 more") as caught:
        split_songs(library(1, 3, 2), "song", 0)
    assert "genre1" not in str(caught.value) and "3 usable songs" in str(caught.value)
    assert "--min-songs" not in str(caught.value)
    with pytest.raises(ValueError, match=r"or merge the sub-genre into its genre with a higher --min-songs\.$"):
        split_songs({"salsa": {"a": 1}, "salsa/dura": dict.fromkeys("bcd", 1)}, "song", 0)


def test_one_long_song_is_enough_by_fragment_only() -> None:
    songs = {"salsa": {"one.mp3": 3}}
    assert [len(split_songs(songs, "fragment", 0)[split]) for split in SPLITS] == [1, 1, 1]
    with pytest.raises(ValueError, match="salsa has 1 and needs 2 more"):
        split_songs(songs, "song", 0)
    with pytest.raises(ValueError, match="3 usable fragments: salsa has 2 and needs 1 more"):
        split_songs({"salsa": {"one.mp3": 2}}, "fragment", 0)


@pytest.mark.parametrize("split_strategy", ["stratified", "stable"])
@pytest.mark.parametrize("split_by", ["song", "artist", "fragment"])
def test_a_split_depends_on_the_seed_and_not_on_the_order(split_by: str, split_strategy: str) -> None:
    songs = library(150, 120)
    artists = spelled([*range(90)], songs, several_genres=True)
    first, same, other = (
        split_songs(one, split_by, seed, split_strategy=split_strategy, groups=groups)
        for one, seed, groups in (
            (songs, 7, artists),
            (backwards(songs), 7, dict(reversed(artists.items()))),
            (songs, 8, artists),
        )
    )
    assert first == same != other


def test_a_split_of_a_genre_does_not_depend_on_other_genres() -> None:
    alone = split_songs(library(20), "song", 7)
    beside = split_songs(library(20, 30), "song", 7)
    for split in SPLITS:
        assert alone[split] == {song: indexes for song, indexes in beside[split].items() if song.startswith("genre0")}


def digest(assignment: object) -> str:
    return hashlib.sha256(json.dumps(assignment).encode()).hexdigest()[:16]


def test_splits_are_those_of_earlier_versions() -> None:
    """Another split would make models incomparable with those of earlier versions."""
    songs = {"salsa": {f"salsa/ñ {i}.mp3": 1 + i % 4 for i in range(23)}, "cumbia": {f"c{i}": 2 for i in range(5)}}
    assert digest(split_songs(songs, "song", 7)) == "0d488efafa993e98"
    assert digest(split_songs(songs, "fragment", 7)) == "686c54d644be4be3"
    assert digest(split_songs(library(40), "song", 7, split_strategy="stable")) == "b0a7bdcc5144d6bb"
    assert digest(split_songs(library(40), "fragment", 7, split_strategy="stable")) == "dcf53ca16dc0a238"
    artists = {f"{genre}{i}": {genre: 1 + i * i % 17} for genre in "abc" for i in range(15)}
    artists |= {f"several {i}": {"a": i + 1, "c": 9 - i} for i in range(6)}
    assert digest(group_split(artists, 7)) == "aeae2823d412f9ee"


def spelled(names: list[int], songs: Songs, several_genres: bool) -> dict[str, str]:
    """Name the songs' artists in several spellings; number 0 is no name."""
    artists = {}
    for genre, counts in songs.items():
        for place, song in enumerate(counts):
            number = names[place % len(names)]
            name = f"Peña {number} {'' if several_genres else genre}"
            artists[song] = (name, name.upper(), f"{name} feat. Celia", f"The {name}")[place % 4] if number else ""
    return artists


@pytest.mark.parametrize("split_strategy", ["stratified", "stable"])
@pytest.mark.parametrize("several_genres", [False, True])
@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 60), min_size=90, max_size=90), SEEDS)
def test_by_artist_no_artist_is_in_several_splits(
    several_genres: bool, split_strategy: str, names: list[int], seed: int
) -> None:
    songs = library(150, 200, 120)
    artists = spelled([*range(60), *names], songs, several_genres)
    assert artists_in_several_splits(split_songs(songs, "song", seed, split_strategy=split_strategy), artists)
    try:
        assignment = split_songs(songs, "artist", seed, split_strategy=split_strategy, groups=artists)
    except UserError:  # a genre cannot be in every split
        assert several_genres or split_strategy == "stable"
        return
    assert artists_in_several_splits(assignment, artists) == []
    require_complete(songs, assignment)


@pytest.mark.parametrize("seed", range(3))
def test_by_artist_the_shares_are_met_if_artists_are_small(seed: int) -> None:
    songs = library(100, 200)
    artists = {song: song[:-5] for counts in songs.values() for song in counts}  # ten songs each
    assignment = split_songs(songs, "artist", seed, groups=artists)
    for counts, expected in zip(songs.values(), ((80, 10, 10), (160, 20, 20)), strict=True):
        assert tuple(len(counts.keys() & assignment[split].keys()) for split in SPLITS) == expected


def test_three_artists_are_enough_however_large_one_is() -> None:
    songs = library(40, 3)
    artists = {song: "Large" if int(song[7:10]) < 38 else song for song in songs["genre0"]}
    assignment = split_songs(songs, "artist", 0, groups=artists)
    assert [len(songs["genre0"].keys() & assignment[split].keys()) for split in SPLITS] == [38, 1, 1]
    with pytest.raises(ValueError, match="3 usable artists: genre0 has 2 and needs 1 more"):
        split_songs(songs, "artist", 0, groups={**artists, "genre0/039.mp3": "LARGE ft. Small"})


@pytest.mark.parametrize("seed", range(5))
def test_artists_of_several_genres_that_cannot_fill_every_split_are_refused(seed: int) -> None:
    genres = {"a": "xy", "b": "xy", "c": "xz", "d": "yz", "e": "z"}  # c and d would have to share a split
    songs = {genre: {f"{artist}{genre}": 1 for artist in genres if genre in genres[artist]} for genre in "xyz"}
    artists = {song: song[0] for counts in songs.values() for song in counts}
    with pytest.raises(ValueError, match=r"Received no song of .*use another seed, or split by song\.$"):
        split_songs(songs, "artist", seed, groups=artists)


@pytest.mark.parametrize("split_by", ["song", "artist", "fragment"])
def test_a_stable_split_keeps_every_fragment_while_the_library_changes(split_by: str) -> None:
    large = library(200, 150, 90)
    small = {genre: dict(list(counts.items())[::2]) for genre, counts in large.items() if genre != "genre2"}
    artists = spelled([*range(90)], large, several_genres=False)
    before = split_of(split_songs(small, split_by, 7, split_strategy="stable", groups=artists))
    after = split_of(split_songs(large, split_by, 7, split_strategy="stable", groups=artists))
    assert before.items() <= after.items()
    stratified = [split_of(split_songs(songs, split_by, 7, groups=artists)) for songs in (small, large)]
    assert not stratified[0].items() <= stratified[1].items()


def test_a_stable_split_does_not_depend_on_lengths_and_meets_its_shares() -> None:
    short, long = library(10_000, fragments=1), library(10_000, fragments=2)
    first, second = (split_songs(songs, "song", 7, split_strategy="stable") for songs in (short, long))
    assert [list(first[split]) for split in SPLITS] == [list(second[split]) for split in SPLITS]
    assert [len(first[split]) for split in SPLITS] == pytest.approx([8_000, 1_000, 1_000], abs=120)


def test_a_stable_split_without_a_genre_in_a_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Received no song of genre1 in .*another seed"):
        split_songs(library(1_000, 3), "song", 0, split_strategy="stable")


def test_the_librarys_own_splits() -> None:
    songs = library(4)
    names = list(songs["genre0"])
    rows = [*zip(names, ("train", "val", "test", "train"), strict=True), (names[0], "train"), ("rejected.mp3", "")]
    assignment = given_splits(songs, rows)
    assert {split: list(members) for split, members in assignment.items()} == {
        "train": [names[0], names[3]],
        "val": [names[1]],
        "test": [names[2]],
    }
    require_complete(songs, assignment)


def test_invalid_splits_of_a_library_are_refused() -> None:
    songs = library(4, 3)
    rows = [(song, SPLITS[int(song[7:10]) % 3]) for counts in songs.values() for song in counts]
    with pytest.raises(ValueError, match=r"each song in one split.*genre1/002\.mp3, in test and in train"):
        given_splits(songs, [*rows, ("genre1/002.mp3", "train")])
    for without in (rows[1:], [("genre0/000.mp3", ""), *rows[1:]]):
        with pytest.raises(ValueError, match=r"1 of 7 songs without one: genre0/000\.mp3\. Fill"):
            given_splits(songs, without)
    with pytest.raises(ValueError, match=r"5 of 7 songs without one: .*genre1/002\.mp3\. Fill"):
        given_splits(songs, rows[:2])
    with pytest.raises(ValueError, match=r"6 of 7 songs without one: genre0/001\.mp3.*genre1/001\.mp3 …\. Fill"):
        given_splits(songs, rows[:1])
    with pytest.raises(ValueError, match="Received no song of genre1 in test"):
        given_splits(songs, [*rows[:-1], ("genre1/002.mp3", "val")])


@few
@given(libraries(), SEEDS)
def test_a_frozen_split_of_an_unchanged_library_is_the_first_split(songs: Songs, seed: int) -> None:
    first = split_songs(songs, "song", seed)
    assert frozen_split(songs, first["test"].keys(), seed) == first


@few
@given(libraries(fewest=8), SEEDS)
def test_in_a_frozen_split_new_songs_are_never_in_test(songs: Songs, seed: int) -> None:
    tests = split_songs(songs, "song", seed)["test"]
    gone = min(song for song in tests if song.startswith("genre0/"))
    grown = {
        genre: {song: count for song, count in counts.items() if song != gone or len(counts) < 12}
        | {f"{genre}/new{number}.mp3": 2 for number in range(200)}
        for genre, counts in songs.items()
    }
    assignment = frozen_split(grown, tests.keys(), seed)
    assert assignment["test"].keys() == tests.keys() & {song for counts in grown.values() for song in counts}
    require_complete(grown, assignment)
    new = [sum("new" in song for song in assignment[split]) for split in SPLITS]
    assert new[0] > new[1] > 0


def test_a_genre_of_frozen_test_songs_only_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no song of genre1 in train, genre1 in val\. The test songs are fixed: add"):
        frozen_split(library(9, 3), library(0, 3)["genre1"], 0)
    with pytest.raises(ValueError, match="genre1 has 2 and needs 1 more"):
        frozen_split(library(9, 2), (), 0)
