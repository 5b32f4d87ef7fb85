"""Splits: by song nothing leaks, by fragment nothing is lost, and both depend on seed and names alone."""

from __future__ import annotations

import numpy as np
import pytest

from tumbao.components.ingest.splits import Assignment, split_songs
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
    with pytest.raises(ValueError, match=r"song.*fragment.*Received: 'artist'"):
        split_songs(library(3), "artist", 0)
