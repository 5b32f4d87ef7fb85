"""An earlier push is served again, under a higher number, and the log tells who did it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from rich.console import Console

from tumbao.components import registry_log
from tumbao.components.model_registry import fingerprint, publish, served_version, versions
from tumbao.components.registry_log import PUSHED, Event
from tumbao.pipeline import cli
from tumbao.pipeline.rollback import history, roll_back


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Three models, pushed one after another."""
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
        registry_log.append(folder, event)
    return folder


def served(place: str) -> str:
    return Path(place, served_version(place), "fingerprint.pb").read_text()


def test_the_model_before_is_served_again_and_nothing_is_lost(place: str) -> None:
    before = versions(place)
    event = roll_back(place, why="mistakes salsa for cumbia")
    assert served(place) == "two"
    assert versions(place) == [*before, event.version]
    assert int(event.version) > int(before[-1])
    assert (event.replaces, event.model, event.accuracy) == (before[-1], "vgg16", 0.91)
    assert event.why == f"back to {before[1]}: mistakes salsa for cumbia"
    assert registry_log.read(place)[-1] == event
    assert event.who == registry_log.user_and_host()


def test_going_back_twice_does_not_come_round_again(place: str) -> None:
    roll_back(f"{place}/")
    assert served(place) == "two"
    roll_back(place)
    assert served(place) == "one"
    with pytest.raises(ValueError, match=r"Expected an earlier model to go back to in .*--list shows"):
        roll_back(place)


def test_a_withdrawn_model_comes_back_when_it_is_named(place: str) -> None:
    third = versions(place)[-1]
    roll_back(place)
    roll_back(place, third)
    assert served(place) == "three"
    assert set(registry_log.rolled_back(registry_log.read(place))) == {fingerprint(f"{place}/{versions(place)[1]}")}


def test_what_cannot_be_is_refused_and_changes_nothing(place: str, tmp_path: Path) -> None:
    found = versions(place)
    with pytest.raises(ValueError, match=f"Expected --to out of {', '.join(found)}. Received: 7"):
        roll_back(place, "7")
    with pytest.raises(ValueError, match=rf"Received: {found[-1]}, the same as {found[-1]}\."):
        roll_back(place, found[-1])
    for act in (roll_back, history):
        with pytest.raises(ValueError, match=r"Expected a place with pushed models, .*nowhere, which has none"):
            act(str(tmp_path / "nowhere"))
    assert versions(place) == found
    assert not (tmp_path / "nowhere").exists()


def shown(place: str) -> list[str]:
    console = Console(width=200)
    with console.capture() as text:
        console.print(history(place))
    return text.get().splitlines()


def test_the_log_is_a_table_that_says_what_is_served(place: str) -> None:
    event = roll_back(place)
    rows = [line for line in shown(place) if "vgg16" in line]
    assert len(rows) == 4
    assert "[good] three" in rows[2]
    assert "93.0%" not in rows[2]
    assert "92.0%" in rows[2]
    assert [f"{event.version} (served)" in row for row in rows] == [False, False, False, True]


def test_versions_from_before_the_log_and_deleted_ones_are_told(place: str) -> None:
    first, second, third = versions(place)
    Path(place, registry_log.PUSH_LOG).unlink()
    assert sum("not in the log" in line for line in shown(place)) == 3
    roll_back(place, first)
    Path(place, served_version(place), "saved_model.pb").unlink()
    rows = shown(place)
    assert f"{registry_log.read(place)[-1].version} (deleted)" in "".join(rows)
    assert f"{third} (served)" in "".join(rows)
    assert second in "".join(rows)


def test_a_log_with_a_broken_line_is_shown_and_does_not_stop_a_rollback(place: str) -> None:
    log = Path(place, registry_log.PUSH_LOG)
    log.write_bytes(log.read_bytes()[:-20])
    roll_back(place)
    rows = shown(place)
    assert sum("unreadable" in line and "line 3" in line for line in rows) == 1
    assert served(place) == "two"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["tumbao", "rollback", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_the_command_rolls_back_lists_and_refuses(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = versions(place)
    assert call(monkeypatch, "--push-to", place, "--to", before[0], "--why", "año nuevo") == 0
    assert f"{place}/{served_version(place)} is served now, a copy of {before[0]}" in capfd.readouterr().out
    assert served(place) == "one"
    assert call(monkeypatch, "--push-to", place, "--list") == 0
    assert "año nuevo" in capfd.readouterr().out
    assert len(versions(place)) == 4
    assert call(monkeypatch, "--push-to", place, "--to", "7") == 2
    assert "Received: 7" in capfd.readouterr().err
    Path(place, before[1], "lost").symlink_to("nowhere")
    assert call(monkeypatch, "--push-to", place, "--to", before[1]) == 2
    assert f"{before[1]}/lost" in capfd.readouterr().err
    assert served(place) == "one"


def test_a_push_place_that_cannot_be_used_is_1_with_the_reason(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "no rights to write there")

    monkeypatch.setattr("tumbao.pipeline.rollback.publish", refuse)
    assert call(monkeypatch, "--push-to", place) == 1
    said = capfd.readouterr().err
    assert said == "error: The place of pushed models cannot be used: no rights to write there\n"


def test_whatever_is_said_can_be_listed(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--push-to", place, "--why", os.fsdecode(b"canci\xf3n\xe2\x80\xa8ajena")) == 0
    assert call(monkeypatch, "--push-to", place, "--list") == 0
    assert "canci\\udcf3n" in capfd.readouterr().out
