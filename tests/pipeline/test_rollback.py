"""A rollback serves an earlier model again, under a higher number, and logs it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import tensorflow as tf
from rich.console import Console

from tests.pipeline.conftest import Call
from tumbao.components import model_registry
from tumbao.components.model_registry import PUSHED, Event, fingerprint, publish, served_version, versions
from tumbao.pipeline.rollback import history, roll_back


@pytest.fixture
def registry(tmp_path: Path) -> str:
    folder = str(tmp_path / "pushed")
    for number, name in enumerate(("one", "two", "three")):
        model = tmp_path / name
        model.mkdir()
        (model / "saved_model.pb").touch()
        (model / "fingerprint.pb").write_text(name)
        before = served_version(folder)
        version = publish(str(model), folder)
        event = Event(
            what=PUSHED,
            version=version,
            replaces=before,
            fingerprint=fingerprint(str(model)),
            why=f"[good] {name}",
            model="vgg16",
            accuracy=0.9 + number / 100,
        )
        model_registry.log_event(folder, event)
    return folder


def served(registry: str) -> str:
    return Path(registry, served_version(registry), "fingerprint.pb").read_text()


def test_the_earlier_model_is_served_and_nothing_is_deleted(registry: str) -> None:
    before = versions(registry)
    event = roll_back(registry, why="mistakes salsa for cumbia")
    assert served(registry) == "two"
    assert versions(registry) == [*before, event.version]
    assert int(event.version) > int(before[-1])
    assert (event.replaces, event.model, event.accuracy) == (before[-1], "vgg16", 0.91)
    assert event.why == f"back to {before[1]}: mistakes salsa for cumbia"
    assert model_registry.read_log(registry)[-1] == event
    assert event.who == model_registry.user_and_host()


def test_two_rollbacks_go_back_two_models(registry: str) -> None:
    roll_back(f"{registry}/")
    assert served(registry) == "two"
    roll_back(registry)
    assert served(registry) == "one"
    with pytest.raises(ValueError, match=r"Expected an earlier model in .*--list prints"):
        roll_back(registry)


def test_a_removed_model_can_be_named(registry: str) -> None:
    third = versions(registry)[-1]
    roll_back(registry)
    roll_back(registry, third)
    assert served(registry) == "three"
    assert set(model_registry.rolled_back(model_registry.read_log(registry))) == {
        fingerprint(f"{registry}/{versions(registry)[1]}")
    }


def test_invalid_rollbacks_raise_and_change_nothing(registry: str, tmp_path: Path) -> None:
    found = versions(registry)
    with pytest.raises(ValueError, match=f"Expected --to out of {', '.join(found)}. Received: 7"):
        roll_back(registry, "7")
    with pytest.raises(ValueError, match=rf"Received: {found[-1]}, the same as {found[-1]}\."):
        roll_back(registry, found[-1])
    for act in (roll_back, history):
        with pytest.raises(ValueError, match=r"Expected a folder of pushed models .*nowhere, which has none"):
            act(str(tmp_path / "nowhere"))
    assert versions(registry) == found
    assert not (tmp_path / "nowhere").exists()


def printed_log(registry: str) -> list[str]:
    with (console := Console(width=200)).capture() as text:
        console.print(history(registry))
    return text.get().splitlines()


def test_the_log_marks_the_served_version(registry: str) -> None:
    event = roll_back(registry)
    rows = [line for line in printed_log(registry) if "vgg16" in line]
    assert len(rows) == 4
    assert "[good] three" in rows[2]
    assert "93.0%" not in rows[2]
    assert "92.0%" in rows[2]
    assert [f"{event.version} (served)" in row for row in rows] == [False, False, False, True]


def test_the_log_marks_unlogged_and_deleted_versions(registry: str) -> None:
    first, second, third = versions(registry)
    Path(registry, model_registry.LOG_FILE).unlink()
    assert sum("not in the log" in line for line in printed_log(registry)) == 3
    roll_back(registry, first)
    Path(registry, served_version(registry), "saved_model.pb").unlink()
    rows = printed_log(registry)
    assert f"{model_registry.read_log(registry)[-1].version} (deleted)" in "".join(rows)
    assert f"{third} (served)" in "".join(rows)
    assert second in "".join(rows)


def test_an_unreadable_line_of_the_log_is_shown(registry: str) -> None:
    log = Path(registry, model_registry.LOG_FILE)
    log.write_bytes(log.read_bytes()[:-20])
    roll_back(registry)
    rows = printed_log(registry)
    assert sum("unreadable" in line and "line 3" in line for line in rows) == 1
    assert served(registry) == "two"


def test_the_command_rolls_back_and_lists(registry: str, tumbao: Call) -> None:
    rollback = functools.partial(tumbao, "rollback", "--push-to", registry)
    before = versions(registry)
    code, out, _ = rollback("--to", before[0], "--why", os.fsdecode(b"canci\xf3n"))
    assert code == 0
    assert f"{registry}/{served_version(registry)} is served now, a copy of {before[0]}" in out
    assert served(registry) == "one"
    code, out, _ = rollback("--list")
    assert (code, "canci\\udcf3n" in out) == (0, True)
    assert len(versions(registry)) == 4
    code, _, err = rollback("--to", "7")
    assert (code, "Received: 7" in err) == (2, True)
    Path(registry, before[1], "lost").symlink_to("nowhere")
    code, _, err = rollback("--to", before[1])
    assert (code, f"{before[1]}/lost" in err) == (2, True)
    assert served(registry) == "one"


def test_an_unwritable_registry_is_exit_code_1(registry: str, tumbao: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "no rights to write there")

    monkeypatch.setattr("tumbao.pipeline.rollback.publish", refuse)
    code, _, err = tumbao("rollback", "--push-to", registry)
    assert code == 1
    assert err == "error: The folder of pushed models cannot be used: no rights to write there\n"
