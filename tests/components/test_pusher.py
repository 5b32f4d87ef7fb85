"""A blessed model is pushed once; otherwise the log has the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from tests.components.decisions import write_decision
from tests.components.evaluations import Slices, write_evaluation
from tumbao.components import model_registry
from tumbao.components.evaluator import eval_config
from tumbao.components.mobile_check import AgreementReport
from tumbao.components.model_card.component import ModelCardPages
from tumbao.components.model_registry import PUSHED, REFUSED, ROLLED_BACK, Event
from tumbao.components.pusher import REASON, Pusher, ReportPage

GOOD: Slices = {"": (0.9, 0.85, 0.05), "salsa": (0.75, 0.75, 0.0)}
ALONE: Slices = {"": (0.9,), "salsa": (0.75,)}
"""Accuracy of slices, without a baseline."""


class Workbench:
    """Pushes made models to `registry`: push(...) -> the properties of the pushed model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = str(folder / "pushed")
        self.pushes = 0

    def push(
        self,
        model: str = "one",
        slices: Slices = GOOD,
        failures: tuple[str, ...] = (),
        songs: tuple[int, int] = (20, 20),
        card: bool = False,
        code: str = "c0de",
    ) -> dict[str, Any]:
        self.pushes += 1
        here = self.folder / str(self.pushes)
        saved = here / "model" / "Format-Serving"
        (saved / "assets.extra").mkdir(parents=True)
        (saved / "saved_model.pb").touch()
        (saved / "fingerprint.pb").write_text(model)
        info = {"metrics": {"test_accuracy": slices[""][0]}, "versions": {"code_digest": code}}
        (saved / "assets.extra" / "model.json").write_text(json.dumps(info))
        config = eval_config({"salsa": 10**30}, min_accuracy=0.8, min_recall=0.5, max_accuracy_drop=0.01)
        blessed = write_evaluation(here / "evaluation", config, slices)
        (here / "agreement").mkdir()
        row = {"name": "classifier-int8.tflite", "through": "LiteRT", "failures": list(failures)}
        (here / "agreement" / "agreement.json").write_text(json.dumps([row]))
        (here / "card").mkdir()
        (here / "card" / ("model_card.md" if card else "other.md")).write_text("# A model")
        (here / "report").mkdir()
        (here / "report" / "report.html").write_text("A report")
        blessing, checked = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        blessing.set_int_custom_property("blessed", int(blessed))
        checked.set_int_custom_property("blessed", int(not failures))
        inputs = {
            "model": standard_artifacts.Model(),
            "model_blessing": blessing,
            "infra_blessing": checked,
            "evaluation": standard_artifacts.ModelEvaluation(),
            "decision": write_decision(here / "decision", *songs),
            "agreement": AgreementReport(),
            "card": ModelCardPages(),
            "report": ReportPage(),
        }
        for key in inputs.keys() & {"model", "evaluation", "agreement", "card", "report"}:
            inputs[key].uri = str(here / key)
        pushed = standard_artifacts.PushedModel()
        Pusher.test_call(**inputs, pushed_model=pushed, registry=self.registry, name="vgg16", served="")
        found = {"pushed": pushed.get_int_custom_property("pushed")}
        return found | {
            name: pushed.get_string_custom_property(name)
            for name in ("pushed_destination", "pushed_version", REASON)
            if pushed.has_custom_property(name)
        }

    @property
    def log(self) -> list[Event]:
        return model_registry.read_log(self.registry)

    @property
    def versions(self) -> list[str]:
        return model_registry.versions(self.registry)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def test_a_blessed_model_becomes_the_newest_version_and_is_logged(bench: Workbench) -> None:
    bench.push("one", ALONE)
    result = bench.push("two", card=True)
    first, second = bench.versions
    destination = f"{bench.registry}/{second}"
    assert result == {"pushed": 1, "pushed_destination": destination, "pushed_version": second}
    assert Path(destination, "fingerprint.pb").read_text() == "two"
    assert Path(destination, "assets.extra", "model_card.md").read_text() == "# A model"
    assert Path(destination, "assets.extra", "report.html").read_text() == "A report"
    assert not Path(bench.registry, first, "assets.extra", "model_card.md").exists()
    one, event = bench.log
    assert (one.replaces, one.why) == ("", "passed every check: accuracy 0.900 by the Evaluator, there is no baseline")
    assert (event.what, event.version, event.replaces) == (PUSHED, second, first)
    assert (event.model, event.accuracy) == ("vgg16", 0.9)
    assert event.why == "passed every check: accuracy 0.900 by the Evaluator, the baseline's is 0.850"
    assert event.fingerprint == model_registry.fingerprint(destination)


def test_the_served_model_is_not_pushed_again_unless_other_code_exports_it(bench: Workbench) -> None:
    bench.push("one")
    result = bench.push("one")
    (version,) = bench.versions
    assert result == {"pushed": 0, "pushed_destination": f"{bench.registry}/{version}"}
    assert len(bench.log) == 1
    assert bench.push("one", code="0ther")["pushed"] == 1
    assert len(bench.versions) == 2


@pytest.mark.parametrize(
    ("slices", "failures", "why"),
    [
        ({"": (0.7,), "salsa": (0.75,)}, (), "not blessed: accuracy is 0.700, below the minimum of 0.800"),
        (
            {"": (0.85, 0.9, -0.05), "salsa": (0.4, 0.4, 0.0)},
            (),
            "not blessed: accuracy is 0.850 and the baseline's is 0.900: the minimum change is -0.010; recall of salsa "
            "is 0.400, below the minimum of 0.500",
        ),
        (GOOD, ("is too large",), "vetoed by the mobile check: classifier-int8.tflite (LiteRT) is too large."),
    ],
    ids=["accuracy", "change and recall", "mobile check"],
)
def test_a_refused_model_is_not_pushed_and_its_reason_is_logged(
    bench: Workbench, slices: Slices, failures: tuple[str, ...], why: str
) -> None:
    bench.push("one")
    assert bench.push("two", slices, failures) == {"pushed": 0}
    assert len(bench.versions) == 1
    event = bench.log[-1]
    assert (event.what, event.version, event.replaces, event.why) == (REFUSED, "", bench.versions[0], why)


def test_the_log_tells_why_songs_refuse_a_model_and_that_one_is_undecided(bench: Workbench) -> None:
    bench.push("one", songs=(15, 20))
    assert bench.log[-1].what == PUSHED  # --push-undecided
    assert bench.log[-1].why.startswith("undecided: accuracy is 0.750 on 20 songs")
    bench.push("two", {"": (0.7,), "salsa": (0.75,)}, songs=(5, 20))
    assert "; accuracy is 0.250 on 20 songs" in bench.log[-1].why


def test_a_removed_model_is_not_pushed_again(bench: Workbench) -> None:
    bench.push("one")
    bench.push("two")
    one, two = (model_registry.fingerprint(f"{bench.registry}/{version}") for version in bench.versions)
    first, second = bench.versions
    again = model_registry.publish(f"{bench.registry}/{first}", bench.registry)
    event = Event(
        what=ROLLED_BACK, version=again, replaces=second, fingerprint=one, withdrawn=two, why="ad hoc", who="ana@x"
    )
    model_registry.log_event(bench.registry, event)
    result = bench.push("two")
    assert result["pushed"] == 0
    assert result[REASON].startswith("a rollback at ")
    assert "by ana@x (ad hoc) removed this model" in result[REASON]
    assert result[REASON].endswith(f"`tumbao rollback --push-to {bench.registry} --to {second}` serves it again")
    assert bench.log[-1].what == REFUSED
    assert bench.versions == [first, second, again]
    bench.push("three")
    assert len(bench.versions) == 4
