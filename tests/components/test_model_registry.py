"""A push place holds numbered versions, the highest is served, and its log tells how it came there."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tumbao.components import model_registry, registry_log
from tumbao.components.registry_log import PUSHED, REFUSED, ROLLED_BACK, UNREADABLE, Event


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder like a SavedModel's."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.index", "assets.extra/model.json"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture(params=["here", "in a bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A push place that is not there yet; the bucket is TensorFlow's memory."""
    if request.param == "here":
        yield str(tmp_path / "pushed")
        return
    yield (address := f"ram://{tmp_path.name}/pushed")
    if tf.io.gfile.exists(address):
        tf.io.gfile.rmtree(address)


def files(folder: str) -> set[str]:
    return {
        f"{inside.rstrip('/')}/{name}"[len(folder) + 1 :]
        for inside, _, names in tf.io.gfile.walk(folder)
        for name in names
    }


def test_where_nothing_was_pushed_nothing_stands(place: str) -> None:
    assert model_registry.versions(place) == []
    assert model_registry.served_version(place) == ""
    assert registry_log.read(place) == []


def test_the_newest_version_has_the_highest_number_and_all_of_the_model(
    place: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "card.md").write_text("# A model")
    first = model_registry.publish(str(model), place)
    second = model_registry.publish(f"{model}/", place, [str(tmp_path / "card.md")])
    assert int(second) > int(first)
    assert model_registry.versions(place) == [first, second]
    assert model_registry.served_version(place) == second
    assert files(f"{place}/{first}") == {path.relative_to(model).as_posix() for path in model.rglob("*.*[bnx]")}
    assert files(f"{place}/{second}") == files(f"{place}/{first}") | {"assets.extra/card.md"}
    assert model_registry.fingerprint(f"{place}/{second}") == model_registry.fingerprint(str(model)) != ""


def test_a_clock_that_went_ahead_does_not_hide_what_comes_after(place: str, model: Path) -> None:
    tf.io.gfile.makedirs(f"{place}/99999999999")  # half of a push, too: it is no version, but its number is taken
    assert model_registry.versions(place) == []
    assert model_registry.publish(str(model), place) == "100000000000"


def test_numbers_are_compared_as_numbers_and_other_names_passed_over(tmp_path: Path) -> None:
    for name in ("9", "10", "old", "11"):
        (tmp_path / name).mkdir()
    for name in ("9", "10", "old"):
        (tmp_path / name / "saved_model.pb").touch()
    assert model_registry.versions(str(tmp_path)) == ["9", "10"]


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path, model: Path) -> None:
    with pytest.raises(tf.errors.NotFoundError):
        model_registry.publish(str(model), str(tmp_path / "pushed"), ["no such file"])
    assert list((tmp_path / "pushed").iterdir()) == []


def test_on_a_disk_a_version_has_its_number_when_it_is_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    copy = tf.io.gfile.copy

    def watched(*asked: Any, **more: Any) -> None:
        copy(*asked, **more)
        seen.append({one.name for one in (tmp_path / "pushed").iterdir() if one.name.isdecimal()})

    monkeypatch.setattr(tf.io.gfile, "copy", watched)
    version = model_registry.publish(str(model), str(tmp_path / "pushed"))
    assert len(seen) > 2
    assert set.union(*seen) == set()
    assert [one.name for one in (tmp_path / "pushed").iterdir()] == [version]


def test_who_comes_second_takes_the_next_number(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model_registry.publish(str(model), str(tmp_path))
    monkeypatch.setattr(model_registry, "_numbers", lambda place: [])  # as it was before the first one ended
    monkeypatch.setattr(model_registry.time, "time", lambda: float(first))
    assert model_registry.publish(str(model), str(tmp_path)) == str(int(first) + 1)
    assert files(f"{tmp_path}/{int(first) + 1}") == files(f"{tmp_path}/{first}") != set()


def test_of_those_who_push_at_once_each_has_a_number_and_all_of_its_model(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, looked = model_registry._numbers, threading.local()
    barrier = threading.Barrier(6)

    def together(place: str) -> list[str]:
        found = listed(place)
        if not hasattr(looked, "once"):
            looked.once = True
            barrier.wait(60)
        return found

    monkeypatch.setattr(model_registry, "_numbers", together)
    models = []
    for number in range(6):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        for name in ("saved_model.pb", "fingerprint.pb", "weights"):
            (folder / name).write_text(str(number))
        models.append(str(folder))
    with ThreadPoolExecutor(len(models)) as pool:
        versions = list(pool.map(model_registry.publish, models, [place] * len(models)))
    monkeypatch.undo()
    assert model_registry.versions(place) == sorted(versions, key=int)
    assert len(set(versions)) == len(models)
    for number, version in enumerate(versions):
        contents = {tf.io.gfile.GFile(f"{place}/{version}/{name}").read() for name in files(f"{place}/{version}")}
        assert contents == {str(number)}


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a SavedModel, with a saved_model\.pb\. Received: "):
        model_registry.publish(str(tmp_path), str(tmp_path / "pushed"))


def event(what: str, fingerprint: str, withdrawn: str = "") -> Event:
    return Event(what=what, version="2", replaces="1", fingerprint=fingerprint, why="año", withdrawn=withdrawn)


def test_what_is_logged_is_read_in_order(place: str) -> None:
    events = [event(PUSHED, "a"), dataclasses.replace(event(REFUSED, "b"), accuracy=0.5), event(ROLLED_BACK, "a", "c")]
    for one in events:
        registry_log.append(place, one)
    assert registry_log.read(place) == events
    assert model_registry.versions(place) == []


@pytest.mark.parametrize("why", ["a\u2028b\u0085c\n\x1cd", os.fsdecode(b"canci\xf3n")], ids=["line ends", "not UTF-8"])
def test_whatever_is_said_stays_on_its_line_and_is_read_as_it_was(place: str, why: str) -> None:
    events = [dataclasses.replace(event(ROLLED_BACK, "a"), why=why), event(PUSHED, "b")]
    for one in events:
        registry_log.append(place, one)
    assert registry_log.read(place) == events
    written = [tf.io.gfile.GFile(f"{place}/{name}", "rb").read().decode("ascii") for name in files(place)]
    assert len("".join(written).splitlines()) == 2


def test_of_those_who_write_at_once_none_loses_a_line(place: str) -> None:
    events = [event(PUSHED, str(number)) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(registry_log.append, [place] * len(events), events))
    assert sorted(registry_log.read(place), key=lambda one: int(one.fingerprint)) == events


def test_a_later_versions_keys_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / registry_log.PUSH_LOG
    log.write_text(json.dumps({**dataclasses.asdict(event(PUSHED, "a")), "mood": "good"}) + "\n")
    assert [one.fingerprint for one in registry_log.read(str(tmp_path))] == ["a"]


def test_a_log_of_a_former_version_is_read_whatever_was_said(tmp_path: Path) -> None:
    former = dataclasses.replace(event(ROLLED_BACK, "a"), why="a\u2028b\u0085c")
    line = json.dumps(dataclasses.asdict(former), ensure_ascii=False)
    (tmp_path / registry_log.PUSH_LOG).write_text(f"{line}\n", "utf-8")
    assert registry_log.read(str(tmp_path)) == [former]


OF_OTHER_KIND = {"what": PUSHED, "version": "1", "replaces": "", "fingerprint": "a", "why": "", "accuracy": "high"}
BROKEN = [b"{", b"[]", b'{"what": "push"}', b"\xf3", b'{"what": "push", "why": "a', json.dumps(OF_OTHER_KIND).encode()]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_line_is_told_and_hides_no_other(tmp_path: Path, broken: bytes) -> None:
    log = tmp_path / registry_log.PUSH_LOG
    registry_log.append(str(tmp_path), event(PUSHED, "a"))
    log.write_bytes(log.read_bytes() + broken)  # whoever wrote it was cut off
    registry_log.append(str(tmp_path), event(ROLLED_BACK, "a", "c"))
    first, unreadable, last = registry_log.read(str(tmp_path))
    assert (first.what, unreadable.what, last.what) == (PUSHED, UNREADABLE, ROLLED_BACK)
    assert unreadable.why.startswith("line 2: expected an event as JSON. Received: ")
    assert set(registry_log.rolled_back([first, unreadable, last])) == {"c"}


@pytest.mark.parametrize(
    ("events", "away"),
    [
        ([event(PUSHED, "a"), event(PUSHED, "b")], set()),
        ([event(PUSHED, "b"), event(ROLLED_BACK, "a", "b")], {"b"}),
        ([event(ROLLED_BACK, "a", "b"), event(REFUSED, "b")], {"b"}),
        ([event(ROLLED_BACK, "a", "b"), event(ROLLED_BACK, "b", "a")], {"a"}),
        ([event(ROLLED_BACK, "a", "b"), event(PUSHED, "b")], set()),
    ],
    ids=["never", "rolled back", "refused again", "there and back", "pushed again"],
)
def test_a_model_is_withdrawn_from_a_rollback_until_it_stands_again(events: list[Event], away: set[str]) -> None:
    assert set(registry_log.rolled_back(events)) == away


def test_who_is_named_even_where_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    assert registry_log.user_and_host().startswith("ana@")

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert registry_log.user_and_host().startswith(f"uid{os.getuid()}@")
