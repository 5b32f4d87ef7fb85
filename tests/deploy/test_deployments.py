"""The example deployments compile without a fault, with all that is commented in them too."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.deploy.dockerfile import ROOT
from tumbao.pipeline.compile import PARAMETERS, specify
from tumbao.pipeline.deployment import Deployment, read_deployment
from tumbao.pipeline.specification import faults
from tumbao.pipeline.submit import NEEDED

EXAMPLES = ("kubeflow", "vertex")


def example(runner: str) -> Deployment:
    return read_deployment(ROOT / "deploy" / f"{runner}.yaml")


def complete(runner: str, folder: Path) -> Deployment:
    """Read an example with the options that are commented in it."""
    text = (ROOT / "deploy" / f"{runner}.yaml").read_text("utf-8")
    told = re.sub(r"^( *)# ( *(?:\w+:(?: |$)|- ))", r"\1\2", text, flags=re.MULTILINE)
    assert told != text
    file = folder / "complete.yaml"
    file.write_text(told, "utf-8")
    return read_deployment(file)


def no_fault(deployment: Deployment) -> None:
    parameters = {name: getattr(deployment, name) for name in PARAMETERS}
    assert faults(specify(deployment), parameters) == []


@pytest.mark.parametrize("runner", EXAMPLES)
def test_an_example_can_be_submitted_once_its_names_are_yours(runner: str) -> None:
    deployment = example(runner)
    assert deployment.runner == runner
    assert all(getattr(deployment, name) for name in NEEDED[runner])
    assert deployment.schedule == ""
    no_fault(deployment)


@pytest.mark.parametrize("runner", EXAMPLES)
def test_what_is_commented_in_an_example_is_valid_too(runner: str, tmp_path: Path) -> None:
    deployment = complete(runner, tmp_path)
    assert deployment.schedule == "0 3 * * 1"
    assert deployment.resources["BackboneFeatures"].accelerators == 1
    assert bool(deployment.endpoint) == bool(deployment.vertex_training) == (runner == "vertex")
    no_fault(deployment)


def test_beam_knows_all_flags_of_the_examples(caplog: pytest.LogCaptureFixture) -> None:
    beam = example("vertex").beam
    assert beam.keys() == {"AudioExampleGen", "StatisticsGen", "BackboneFeatures", "Evaluator"}
    with caplog.at_level(logging.WARNING):
        for flags in beam.values():
            options = PipelineOptions(list(flags)).get_all_options()
            assert options["sdk_container_image"].endswith("/worker:1")  # and so TFX ships no copy of itself
            assert options["service_account_email"] == example("vertex").service_account
    assert "unparseable" not in caplog.text
