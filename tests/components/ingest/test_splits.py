"""Splits: by song nothing leaks, by artist less still, by fragment nothing is lost; all depend on seed and names."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from tumbao.components.ingest.splits import (
    Assignment,
    artists_in_several_splits,
    frozen_split,
    given_splits,
    group_split,
    split_songs,
)
from tumbao.schema.record import SPLITS

Songs = dict[str, dict[str, int]]


def library(*sizes: int, fragments: int = 3) -> Songs:
    return {f"genre{g}": {f"genre{g}/{i:03}.mp3": fragments for i in range(size)} for g, size in enumerate(sizes)}


def random_library(seed: int, fewest: int = 3) -> Songs:
    rng = np.random.default_rng(seed)
    return {
        f"genre{g}": {f"genre{g}/{i}.mp3": int(rng.integers(1, 9)) for i in range(rng.integers(fewest, 60))}
        for g in range(rng.integers(1, 7))
    }


def fragments(assignment: Assignment) -> list[tuple[str, int]]:
    return [(song, index) for split in SPLITS for song, indexes in assignment[split].items() for index in indexes]


def all_fragments(songs: Songs) -> set[tuple[str, int]]:
    return {(song, index) for counts in songs.values() for song, count in counts.items() for index in range(count)}


@pytest.mark.parametrize("seed", range(50))
def test_by_song_every_song_stands_whole_in_one_split_and_every_genre_in_all(seed: int) -> None:
    songs = random_library(seed)
    assignment = split_songs(songs, "song", seed)
    assert list(assignment) == list(SPLITS)
    names = [song for split in SPLITS for song in assignment[split]]
    assert len(names) == len(set(names)) == sum(map(len, songs.values()))
    assert set(fragments(assignment)) == all_fragments(songs)
    for counts in songs.values():
        assert all(counts.keys() & assignment[split].keys() for split in SPLITS)


@pytest.mark.parametrize("seed", range(50))
def test_by_fragment_every_fragment_stands_in_one_split_and_every_genre_in_all(seed: int) -> None:
    songs = random_library(seed)
    assignment = split_songs(songs, "fragment", seed)
    assert sorted(fragments(assignment)) == sorted(all_fragments(songs))
    assert all(indexes == sorted(indexes) for split in SPLITS for indexes in assignment[split].values())
    for counts in songs.values():
        assert all(counts.keys() & assignment[split].keys() for split in SPLITS)


def test_by_fragment_songs_stand_on_several_sides() -> None:
    assignment = split_songs(library(12, 12, fragments=6), "fragment", 7)
    assert assignment["train"].keys() & assignment["test"].keys()


@pytest.mark.parametrize(
    ("songs", "expected"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (10, (8, 1, 1)), (11, (7, 2, 2)), (100, (80, 10, 10))]
)
def test_shares(songs: int, expected: tuple[int, int, int]) -> None:
    for seed in range(5):
        assignment = split_songs(library(songs, songs), "song", seed)
        assert tuple(len(assignment[split]) for split in SPLITS) == tuple(2 * count for count in expected)


def test_too_few_songs_are_counted_by_genre() -> None:
    with pytest.raises(ValueError, match="genre0 has 1 and needs 2 more; genre2 has 2 and needs 1 more") as caught:
        split_songs(library(1, 3, 2), "song", 0)
    assert "genre1" not in str(caught.value)
    assert "3 usable songs" in str(caught.value)


def test_one_long_song_is_enough_by_fragment_only() -> None:
    songs = {"salsa": {"one.mp3": 3}}
    assert [len(split_songs(songs, "fragment", 0)[split]) for split in SPLITS] == [1, 1, 1]
    with pytest.raises(ValueError, match="salsa has 1 and needs 2 more"):
        split_songs(songs, "song", 0)
    with pytest.raises(ValueError, match="3 usable fragments: salsa has 2 and needs 1 more"):
        split_songs({"salsa": {"one.mp3": 2}}, "fragment", 0)


@pytest.mark.parametrize("protocol", ["song", "fragment"])
def test_the_order_of_genres_and_songs_plays_no_part(protocol: str) -> None:
    songs = library(20, 12)
    backwards = {genre: dict(reversed(counts.items())) for genre, counts in reversed(songs.items())}
    assert split_songs(songs, protocol, 7) == split_songs(backwards, protocol, 7)


@pytest.mark.parametrize("protocol", ["song", "fragment"])
def test_another_seed_gives_another_split(protocol: str) -> None:
    songs = library(20, 12)
    assert split_songs(songs, protocol, 7) == split_songs(songs, protocol, 7)
    assert split_songs(songs, protocol, 7) != split_songs(songs, protocol, 8)


def test_other_genres_play_no_part() -> None:
    alone = split_songs(library(20), "song", 7)
    beside = split_songs(library(20, 30), "song", 7)
    for split in SPLITS:
        assert alone[split] == {song: indexes for song, indexes in beside[split].items() if song.startswith("genre0")}


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match=r"song.*artist.*fragment.*Received: 'album'"):
        split_songs(library(3), "album", 0)
    with pytest.raises(ValueError, match=r"stratified.*stable.*Received: 'hash'"):
        split_songs(library(3), "song", 0, split_strategy="hash")
    with pytest.raises(ValueError, match="artists of the songs to split by artist"):
        split_songs(library(3), "artist", 0)


def test_manifests_of_former_versions_keep_their_digests() -> None:
    """Computed before there were artists and methods: a change here makes every library's manifests anew."""
    songs = {"salsa": {f"salsa/ñ {i}.mp3": 1 + i % 4 for i in range(23)}, "cumbia": {f"c{i}": 2 for i in range(5)}}
    assert digest(split_songs(songs, "song", 7)) == "0d488efafa993e98"
    assert digest(split_songs(songs, "fragment", 7)) == "686c54d644be4be3"


def digest(assignment: Assignment) -> str:
    return hashlib.sha256(json.dumps(assignment).encode()).hexdigest()[:16]


def random_artists(songs: Songs, seed: int, *, several_genres: bool = False) -> dict[str, str]:
    """Artists of very different sizes, spelled in several ways; a tenth of the songs has none."""
    rng = np.random.default_rng(seed)
    artists = {}
    for genre, counts in songs.items():
        for song in counts:
            name = f"Peña {int(rng.integers(90) ** 2 / 90)} {'' if several_genres else genre}"
            spelling = (name, name.upper(), f"{name} feat. Celia", f"The {name}")[rng.integers(4)]
            artists[song] = "" if rng.random() < 0.1 else spelling
    return artists


@pytest.mark.parametrize("method", ["stratified", "stable"])
@pytest.mark.parametrize("several_genres", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_by_artist_no_artist_stands_on_two_sides(seed: int, several_genres: bool, method: str) -> None:
    songs = library(350, 400, 300)
    artists = random_artists(songs, seed, several_genres=several_genres)
    assert artists_in_several_splits(split_songs(songs, "song", seed, split_strategy=method), artists)
    assignment = split_songs(songs, "artist", seed, split_strategy=method, artists=artists)
    assert artists_in_several_splits(assignment, artists) == []
    assert sorted(fragments(assignment)) == sorted(all_fragments(songs))
    for counts in songs.values():
        assert all(counts.keys() & assignment[split].keys() for split in SPLITS)


@pytest.mark.parametrize("seed", range(10))
def test_by_artist_the_shares_are_met_where_artists_are_small(seed: int) -> None:
    songs = library(100, 200)
    artists = {song: song[:-5] for counts in songs.values() for song in counts}  # ten songs each
    assignment = split_songs(songs, "artist", seed, artists=artists)
    for counts, expected in zip(songs.values(), ((80, 10, 10), (160, 20, 20)), strict=True):
        assert tuple(len(counts.keys() & assignment[split].keys()) for split in SPLITS) == expected


def test_three_artists_are_enough_however_large_one_is() -> None:
    songs = library(40, 3)
    artists = {song: "Large" if int(song[7:10]) < 38 else song for song in songs["genre0"]}
    assignment = split_songs(songs, "artist", 0, artists=artists)
    assert [len(songs["genre0"].keys() & assignment[split].keys()) for split in SPLITS] == [38, 1, 1]
    with pytest.raises(ValueError, match="3 usable artists: genre0 has 2 and needs 1 more"):
        split_songs(songs, "artist", 0, artists={**artists, "genre0/039.mp3": "LARGE ft. Small"})


@pytest.mark.parametrize("seed", range(100))
def test_artists_of_one_genre_each_always_fill_every_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    artists = {
        f"{genre}{i}": {genre: int(rng.integers(1, 1 + 10 ** rng.integers(1, 4)))}
        for genre in "abc"
        for i in range(rng.integers(3, 9))
    }
    sides = group_split(artists, 0.1, seed)
    assert sides.keys() == artists.keys()
    for genre in "abc":
        assert {side for artist, side in sides.items() if artist.startswith(genre)} == set(SPLITS)


def test_artists_that_cannot_be_dealt_out_are_refused() -> None:
    artists = {"a": {"x": 1, "y": 1}, "b": {"x": 1, "z": 1}, "c": {"y": 1, "z": 1}, "d": {"x": 1}, "e": {"y": 1}}
    songs: Songs = {genre: {} for genre in "xyz"}
    for artist, genres in {**artists, "f": {"z": 1}}.items():
        for genre in genres:
            songs[genre][f"{artist}{genre}"] = 1
    of = {song: song[0] for counts in songs.values() for song in counts}
    refused = 0
    for seed in range(50):
        try:
            assert artists_in_several_splits(split_songs(songs, "artist", seed, artists=of), of) == []
        except ValueError as error:
            assert "Received no song of" in str(error)
            refused += 1
    assert refused < 50


@pytest.mark.parametrize("method", ["stratified", "stable"])
def test_by_artist_the_order_plays_no_part(method: str) -> None:
    songs = library(350, 300)
    artists = random_artists(songs, 7, several_genres=True)
    backwards = {genre: dict(reversed(counts.items())) for genre, counts in reversed(songs.items())}
    assignments = [
        split_songs(order, "artist", 7, split_strategy=method, artists=names)
        for order, names in ((songs, artists), (backwards, dict(reversed(artists.items()))))
    ]
    assert assignments[0] == assignments[1]
    assert assignments[0] != split_songs(songs, "artist", 8, split_strategy=method, artists=artists)


def sides(assignment: Assignment) -> dict[tuple[str, int], str]:
    return {
        (song, index): split for split in SPLITS for song, indexes in assignment[split].items() for index in indexes
    }


@pytest.mark.parametrize("protocol", ["song", "artist", "fragment"])
def test_a_stable_split_keeps_every_side_while_the_library_changes(protocol: str) -> None:
    large = library(200, 150, 90)
    small = {genre: dict(list(counts.items())[::2]) for genre, counts in large.items() if genre != "genre2"}
    artists = random_artists(large, 7)
    before = sides(split_songs(small, protocol, 7, split_strategy="stable", artists=artists))
    after = sides(split_songs(large, protocol, 7, split_strategy="stable", artists=artists))
    assert before.items() <= after.items()
    stratified = [sides(split_songs(songs, protocol, 7, artists=artists)) for songs in (small, large)]
    assert not stratified[0].items() <= stratified[1].items()


def test_a_stable_split_does_not_ask_how_long_a_song_is() -> None:
    short, long = library(100, fragments=2), library(100, fragments=5)
    first, second = (split_songs(songs, "song", 7, split_strategy="stable") for songs in (short, long))
    assert [list(first[split]) for split in SPLITS] == [list(second[split]) for split in SPLITS]


def test_the_shares_of_a_stable_split() -> None:
    assignment = split_songs(library(10_000, fragments=1), "song", 7, split_strategy="stable")
    assert [len(assignment[split]) for split in SPLITS] == pytest.approx([8_000, 1_000, 1_000], abs=120)


def test_a_stable_split_that_leaves_a_genre_out_is_refused() -> None:
    songs = library(1_000, 3)
    with pytest.raises(ValueError, match=r"Received no song of genre1 in .*another seed"):
        split_songs(songs, "song", 0, split_strategy="stable")


def test_the_splits_of_the_library_itself() -> None:
    songs = library(4)
    names = list(songs["genre0"])
    rows = [*zip(names, ("train", "val", "test", "train"), strict=True), (names[0], "train"), ("rejected.mp3", "")]
    assignment = given_splits(songs, rows)
    assert {split: list(members) for split, members in assignment.items()} == {
        "train": [names[0], names[3]],
        "val": [names[1]],
        "test": [names[2]],
    }
    assert sorted(fragments(assignment)) == sorted(all_fragments(songs))


def test_splits_of_the_library_that_do_not_hold_are_refused() -> None:
    songs = library(4, 3)
    rows = [(song, SPLITS[int(song[7:10]) % 3]) for counts in songs.values() for song in counts]
    with pytest.raises(ValueError, match=r"each song in one split.*genre1/002\.mp3, in test and in train"):
        given_splits(songs, [*rows, ("genre1/002.mp3", "train")])
    with pytest.raises(ValueError, match=r"1 of 7 songs without one: genre0/000\.mp3"):
        given_splits(songs, rows[1:])
    with pytest.raises(ValueError, match=r"1 of 7 songs without one: genre0/000\.mp3"):
        given_splits(songs, [("genre0/000.mp3", ""), *rows[1:]])
    with pytest.raises(ValueError, match="Received no song of genre1 in test"):
        given_splits(songs, [*rows[:-1], ("genre1/002.mp3", "val")])


def test_artists_on_two_sides_by_whatever_spelling() -> None:
    assignment: Assignment = {
        "train": {"a": [0], "b": [0], "c": [0], "d": [1]},
        "val": {"e": [0], "f": [0]},
        "test": {"g": [0], "d": [0]},
    }
    artists = {"a": "Celia Cruz", "b": "", "c": "Niche", "d": "Willie Colón", "e": "CELIA CRUZ", "f": "", "g": "Joe"}
    assert artists_in_several_splits(assignment, artists) == ["CELIA CRUZ", "Willie Colón"]


@pytest.mark.parametrize("seed", range(10))
def test_a_fixed_split_is_the_first_one_while_nothing_changes(seed: int) -> None:
    songs = random_library(seed)
    first = split_songs(songs, "song", seed)
    assert frozen_split(songs, first["test"].keys(), seed) == first


@pytest.mark.parametrize("seed", range(10))
def test_in_a_fixed_split_new_songs_are_never_tested(seed: int) -> None:
    songs = random_library(seed, fewest=8)
    tests = split_songs(songs, "song", seed)["test"]
    gone = min(song for song in tests if song.startswith("genre0/"))
    grown = {
        genre: {song: count for song, count in counts.items() if song != gone or len(counts) < 12}
        | {f"{genre}/new{number}.mp3": 2 for number in range(200)}
        for genre, counts in songs.items()
    }
    assignment = frozen_split(grown, tests.keys(), seed)
    assert assignment["test"].keys() == tests.keys() & {song for counts in grown.values() for song in counts}
    assert sorted(fragments(assignment)) == sorted(all_fragments(grown))
    new = [sum("new" in song for song in assignment[split]) for split in SPLITS]
    assert new[0] > new[1] > 0


@pytest.mark.parametrize("seed", range(10))
def test_a_genre_without_fixed_test_songs_is_given_a_tenth_once(seed: int) -> None:
    songs = library(30, 30)
    first = split_songs({"genre0": songs["genre0"]}, "song", seed)
    grown = frozen_split(songs, first["test"].keys(), seed)
    assert {song for song in grown["test"] if song in songs["genre0"]} == first["test"].keys()
    assert {song for song in grown["test"] if song in songs["genre1"]} == {
        song for song in split_songs(songs, "song", seed)["test"] if song in songs["genre1"]
    }
    assert frozen_split(songs, grown["test"].keys(), seed) == grown


def test_test_songs_are_chosen_of_what_nobody_learned_from_as_long_as_there_is_something() -> None:
    songs = library(30)
    names = sorted(songs["genre0"])
    assert frozen_split(songs, (), 0, learned=names[2:])["test"].keys() <= set(names[:2])
    assert frozen_split(songs, (), 0, learned=names) == split_songs(songs, "song", 0)


def test_a_genre_with_nothing_but_fixed_test_songs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no song of genre1 in train, genre1 in val\. The test songs are fixed: add"):
        frozen_split(library(9, 3), library(0, 3)["genre1"], 0)
    with pytest.raises(ValueError, match="genre1 has 2 and needs 1 more"):
        frozen_split(library(9, 2), (), 0)
