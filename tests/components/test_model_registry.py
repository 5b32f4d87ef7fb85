"""The registry has numbered versions, of which the highest is served, and a log."""

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

from tumbao.components import model_registry
from tumbao.components.model_registry import PUSHED, REFUSED, ROLLED_BACK, UNREADABLE, Event


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
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry that does not exist yet; the bucket is TensorFlow's memory."""
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


def test_the_newest_version_has_the_highest_number_and_all_files(registry: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# A model")
    first = model_registry.publish(str(model), registry)
    second = model_registry.publish(f"{model}/", registry, [str(tmp_path / "card.md")])
    assert int(second) > int(first)
    assert model_registry.versions(registry) == [first, second]
    assert model_registry.served_version(registry) == second
    assert files(f"{registry}/{first}") == {path.relative_to(model).as_posix() for path in model.rglob("*.*[bnx]")}
    assert files(f"{registry}/{second}") == files(f"{registry}/{first}") | {"assets.extra/card.md"}
    assert model_registry.fingerprint(f"{registry}/{second}") == model_registry.fingerprint(str(model)) != ""


def test_a_version_from_the_future_is_followed_by_the_next_number(registry: str, model: Path) -> None:
    tf.io.gfile.makedirs(f"{registry}/99999999999")  # half of a push, too: it is no version, but its number is taken
    assert model_registry.versions(registry) == []
    assert model_registry.publish(str(model), registry) == "100000000000"


def test_a_failed_push_leaves_nothing(tmp_path: Path, model: Path) -> None:
    with pytest.raises(tf.errors.NotFoundError):
        model_registry.publish(str(model), str(tmp_path / "pushed"), ["no such file"])
    assert list((tmp_path / "pushed").iterdir()) == []


def test_on_a_disk_a_version_gets_its_number_when_it_is_complete(
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


def test_concurrent_pushes_have_different_numbers_and_complete_models(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, looked = model_registry._numbers, threading.local()
    barrier = threading.Barrier(6)

    def together(registry: str) -> list[str]:
        found = listed(registry)
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
        versions = list(pool.map(model_registry.publish, models, [registry] * len(models)))
    monkeypatch.undo()
    assert model_registry.versions(registry) == sorted(versions, key=int)
    assert len(set(versions)) == len(models)
    for number, version in enumerate(versions):
        contents = {tf.io.gfile.GFile(f"{registry}/{version}/{name}").read() for name in files(f"{registry}/{version}")}
        assert contents == {str(number)}


def event(what: str, fingerprint: str, withdrawn: str = "") -> Event:
    return Event(what=what, version="2", replaces="1", fingerprint=fingerprint, why="año", withdrawn=withdrawn)


def test_events_are_read_in_order(registry: str) -> None:
    events = [event(PUSHED, "a"), dataclasses.replace(event(REFUSED, "b"), accuracy=0.5), event(ROLLED_BACK, "a", "c")]
    for one in events:
        model_registry.log_event(registry, one)
    assert model_registry.read_log(registry) == events
    assert model_registry.versions(registry) == []


@pytest.mark.parametrize("why", ["a\u2028b\u0085c\n\x1cd", os.fsdecode(b"canci\xf3n")], ids=["line ends", "not UTF-8"])
def test_any_text_stays_on_its_line(registry: str, why: str) -> None:
    events = [dataclasses.replace(event(ROLLED_BACK, "a"), why=why), event(PUSHED, "b")]
    for one in events:
        model_registry.log_event(registry, one)
    assert model_registry.read_log(registry) == events
    written = [tf.io.gfile.GFile(f"{registry}/{name}", "rb").read().decode("ascii") for name in files(registry)]
    assert len("".join(written).splitlines()) == 2


def test_concurrent_writers_lose_no_line(registry: str) -> None:
    events = [event(PUSHED, str(number)) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(model_registry.log_event, [registry] * len(events), events))
    assert sorted(model_registry.read_log(registry), key=lambda one: int(one.fingerprint)) == events


OF_OTHER_KIND = {"what": PUSHED, "version": "1", "replaces": "", "fingerprint": "a", "why": "", "accuracy": "high"}
BROKEN = [b"{", b"[]", b'{"what": "push"}', b"\xf3", b'{"what": "push", "why": "a', json.dumps(OF_OTHER_KIND).encode()]


@pytest.mark.parametrize("broken", BROKEN)
def test_an_invalid_line_is_reported_and_the_others_are_read(tmp_path: Path, broken: bytes) -> None:
    log = tmp_path / model_registry.LOG_FILE
    model_registry.log_event(str(tmp_path), event(PUSHED, "a"))
    log.write_bytes(log.read_bytes() + broken)  # whoever wrote it was cut off
    model_registry.log_event(str(tmp_path), event(ROLLED_BACK, "a", "c"))
    first, unreadable, last = model_registry.read_log(str(tmp_path))
    assert (first.what, unreadable.what, last.what) == (PUSHED, UNREADABLE, ROLLED_BACK)
    assert unreadable.why.startswith("line 2: expected an event as JSON. Received: ")
    assert set(model_registry.rolled_back([first, unreadable, last])) == {"c"}


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
def test_a_model_is_rolled_back_until_it_is_served_again(events: list[Event], away: set[str]) -> None:
    assert set(model_registry.rolled_back(events)) == away


def test_the_user_is_named_even_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    assert model_registry.user_and_host().startswith("ana@")

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert model_registry.user_and_host().startswith(f"uid{os.getuid()}@")
