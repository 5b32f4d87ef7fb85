"""A blessed model is pushed once; what is not pushed has its reason in the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_model_analysis.proto import metrics_for_slice_pb2, validation_result_pb2
from tfx.types import channel_utils, standard_artifacts

from tumbao.components import model_registry, pusher, registry_log
from tumbao.components.evaluation.eval_config import ACCURACY
from tumbao.components.mobile_check import AgreementReport
from tumbao.components.model_card.component import ModelCardPages
from tumbao.components.pusher import REASON, Pusher, ReportPage
from tumbao.components.registry_log import PUSHED, REFUSED, ROLLED_BACK, Event

FINE = {"": (0.9, 0.85), "salsa": (0.75, None)}
"""Accuracy of slices: the candidate's and the baseline's."""


def write_evaluation(folder: Path, figures: Mapping[str, tuple[float, float | None]]) -> str:
    """Write what the Evaluator does, where 0.8 was asked overall, 0.5 of each genre, and a drop of at most 0.01."""
    folder.mkdir(parents=True)
    result = validation_result_pb2.ValidationResult()
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as writer:
        for genre, (value, baseline) in figures.items():
            metrics = metrics_for_slice_pb2.MetricsForSlice()
            verdict = validation_result_pb2.MetricsValidationForSlice()
            if genre:
                key = metrics.slice_key.single_slice_keys.add()
                key.column, key.bytes_value = "genre", genre.encode()
                verdict.slice_key.CopyFrom(metrics.slice_key)
            for model, number in (("candidate", value), ("baseline", baseline)):
                if number is not None:
                    item = metrics.metric_keys_and_values.add()
                    item.key.name, item.key.model_name = ACCURACY, model
                    item.value.double_value.value = number
            bound = 0.5 if genre else 0.8
            if value < bound:
                failure = verdict.failures.add()
                failure.metric_key.name = ACCURACY
                failure.metric_threshold.value_threshold.lower_bound.value = bound
            if baseline is not None and value < baseline - 0.01:
                failure = verdict.failures.add()
                failure.metric_key.name, failure.metric_key.is_diff = ACCURACY, True
                failure.metric_threshold.change_threshold.absolute.value = -0.01
            if verdict.failures:
                result.metric_validations_per_slice.append(verdict)
            writer.write(metrics.SerializeToString())
    with tf.io.TFRecordWriter(str(folder / "validations.tfrecord")) as writer:
        writer.write(result.SerializeToString())
    return str(folder)


class Workbench:
    """Pushes made models to `place`: push(...) -> the properties of the pushed model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder / "pushed")
        self.pushes = 0

    def push(
        self,
        model: str = "one",
        figures: Mapping[str, tuple[float, float | None]] = FINE,
        objections: tuple[str, ...] = (),
        card: bool = False,
        code: str = "c0de",
    ) -> dict[str, Any]:
        self.pushes += 1
        here = self.folder / str(self.pushes)
        saved = here / "model" / "Format-Serving"
        (saved / "assets.extra").mkdir(parents=True)
        (saved / "saved_model.pb").touch()
        (saved / "fingerprint.pb").write_text(model)
        info = {"metrics": {"test_accuracy": figures[""][0]}, "versions": {"code_digest": code}}
        (saved / "assets.extra" / "model.json").write_text(json.dumps(info))
        evaluation = write_evaluation(here / "evaluation", figures)
        (here / "agreement").mkdir()
        row = {"name": "classifier-int8.tflite", "through": "LiteRT", "failures": list(objections)}
        (here / "agreement" / "agreement.json").write_text(json.dumps([row]))
        (here / "card").mkdir()
        (here / "card" / ("model_card.md" if card else "other.md")).write_text("# A model")
        (here / "report").mkdir()
        (here / "report" / "report.html").write_text("A report")
        blessing, checked = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        missed = validation_failures(evaluation)
        blessing.set_int_custom_property("blessed", int(not missed))
        checked.set_int_custom_property("blessed", int(not objections))
        inputs = {
            "model": standard_artifacts.Model(),
            "model_blessing": blessing,
            "infra_blessing": checked,
            "evaluation": standard_artifacts.ModelEvaluation(),
            "agreement": AgreementReport(),
            "card": ModelCardPages(),
            "report": ReportPage(),
        }
        for key in inputs.keys() & {"model", "evaluation", "agreement", "card", "report"}:
            inputs[key].uri = str(here / key)
        pushed = standard_artifacts.PushedModel()
        Pusher.test_call(**inputs, pushed_model=pushed, registry=self.place, name="vgg16", served="")
        found = {"pushed": pushed.get_int_custom_property("pushed")}
        return found | {
            name: pushed.get_string_custom_property(name)
            for name in ("pushed_destination", "pushed_version", REASON)
            if pushed.has_custom_property(name)
        }

    @property
    def log(self) -> list[Event]:
        return registry_log.read(self.place)

    @property
    def versions(self) -> list[str]:
        return model_registry.versions(self.place)


def validation_failures(evaluation: str) -> int:
    (record,) = tf.data.TFRecordDataset(f"{evaluation}/validations.tfrecord")
    return len(validation_result_pb2.ValidationResult.FromString(record.numpy()).metric_validations_per_slice)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def test_a_blessed_model_becomes_the_newest_version_and_the_log_says_why(bench: Workbench) -> None:
    bench.push("one")
    told = bench.push("two", card=True)
    first, second = bench.versions
    destination = f"{bench.place}/{second}"
    assert told == {"pushed": 1, "pushed_destination": destination, "pushed_version": second}
    assert Path(destination, "fingerprint.pb").read_text() == "two"
    assert Path(destination, "assets.extra", "model_card.md").read_text() == "# A model"
    assert Path(destination, "assets.extra", "report.html").read_text() == "A report"
    assert not Path(bench.place, first, "assets.extra", "model_card.md").exists()
    event = bench.log[-1]
    assert (event.what, event.version, event.replaces) == (PUSHED, second, first)
    assert (event.model, event.accuracy) == ("vgg16", 0.9)
    assert event.why == "passed every check: accuracy 0.900, the baseline's is 0.850"
    assert event.fingerprint == model_registry.fingerprint(destination)


def test_the_first_model_has_none_to_be_compared_with(bench: Workbench) -> None:
    bench.push(figures={"": (0.9, None)})
    assert bench.log[0].replaces == ""
    assert bench.log[0].why == "passed every check: accuracy 0.900, there is no baseline"


def test_the_served_model_is_not_pushed_again(bench: Workbench) -> None:
    bench.push("one")
    told = bench.push("one")
    (version,) = bench.versions
    assert told == {"pushed": 0, "pushed_destination": f"{bench.place}/{version}"}
    assert len(bench.log) == 1


def test_other_code_that_exports_the_same_model_gives_another_version(bench: Workbench) -> None:
    bench.push("one")
    assert bench.push("one", code="0ther")["pushed"] == 1
    assert len(bench.versions) == 2


@pytest.mark.parametrize(
    ("figures", "objections", "why"),
    [
        ({"": (0.7, None)}, (), "not blessed: accuracy is 0.700, below the minimum of 0.800"),
        (
            {"": (0.85, 0.9), "salsa": (0.4, None)},
            (),
            "not blessed: accuracy is 0.850 and the baseline's is 0.900: the minimum change is -0.010; recall of salsa "
            "is 0.400, below the minimum of 0.500",
        ),
        (FINE, ("is too large",), "vetoed by the mobile check: classifier-int8.tflite (LiteRT) is too large"),
    ],
    ids=["accuracy", "change and recall", "mobile check"],
)
def test_a_refused_model_is_kept_away_with_its_reason(
    bench: Workbench, figures: Mapping[str, tuple[float, float | None]], objections: tuple[str, ...], why: str
) -> None:
    bench.push("one")
    assert bench.push("two", figures, objections) == {"pushed": 0}
    assert len(bench.versions) == 1
    event = bench.log[-1]
    assert (event.what, event.version, event.replaces, event.why) == (REFUSED, "", bench.versions[0], why)


def test_a_removed_model_is_not_pushed_again(bench: Workbench) -> None:
    bench.push("one")
    bench.push("two")
    one, two = (model_registry.fingerprint(f"{bench.place}/{version}") for version in bench.versions)
    first, second = bench.versions
    again = model_registry.publish(f"{bench.place}/{first}", bench.place)
    registry_log.append(
        bench.place,
        Event(
            what=ROLLED_BACK, version=again, replaces=second, fingerprint=one, withdrawn=two, why="ad hoc", who="ana@x"
        ),
    )
    told = bench.push("two")
    assert told["pushed"] == 0
    assert told[REASON].startswith("a rollback at ")
    assert "by ana@x (ad hoc) removed this model" in told[REASON]
    assert told[REASON].endswith(f"`tumbao rollback --push-to {bench.place} --to {second}` serves it again")
    assert bench.log[-1].what == REFUSED
    assert bench.versions == [first, second, again]
    bench.push("three")
    assert len(bench.versions) == 4


def test_nothing_is_pushed_without_a_summary(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(evaluation: str) -> str:
        raise OSError(f"{evaluation} cannot be read")

    monkeypatch.setattr(pusher, "push_summary", unreadable)
    with pytest.raises(OSError, match="cannot be read"):
        bench.push()
    assert model_registry.versions(bench.place) == []


def test_the_component_runs_anywhere(bench: Workbench) -> None:
    channels = {
        "model": standard_artifacts.Model,
        "model_blessing": standard_artifacts.ModelBlessing,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "evaluation": standard_artifacts.ModelEvaluation,
        "agreement": AgreementReport,
        "card": ModelCardPages,
        "report": ReportPage,
    }
    inputs = {key: channel_utils.as_channel([kind()]) for key, kind in channels.items()}
    component = Pusher(**inputs, registry="gs://bucket/pushed", name="vgg16", served="7")
    assert component.id == "Pusher"
    assert component.executor_spec.class_path == "tumbao.components.pusher.Pusher_Executor"
    assert dict(component.exec_properties) == {"registry": "gs://bucket/pushed", "name": "vgg16", "served": "7"}
    assert component.inputs.keys() == channels.keys()
