"""Example deployments, also with all commented options."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.deploy.dockerfile import ROOT
from tumbao.pipeline.cloud import NEEDED, specify
from tumbao.pipeline.config import Config, read_config

EXAMPLES = ("kubeflow", "vertex")


def example(runner: str) -> Config:
    return read_config(ROOT / "deploy" / f"{runner}.yaml")


def complete(runner: str, folder: Path) -> Config:
    text = (ROOT / "deploy" / f"{runner}.yaml").read_text("utf-8")
    uncommented = re.sub(r"^( *)# ( *(?:\w+:(?: |$)|- ))", r"\1\2", text, flags=re.MULTILINE)
    assert uncommented != text
    file = folder / "complete.yaml"
    file.write_text(uncommented, "utf-8")
    return read_config(file)


@pytest.mark.parametrize("runner", EXAMPLES)
def test_examples_can_be_compiled_and_submitted(runner: str) -> None:
    config = example(runner)
    assert config.runner.name == runner
    assert all(getattr(config.runner, name) for name in NEEDED[runner])
    assert config.runner.schedule == ""
    specify(config)


@pytest.mark.parametrize("runner", EXAMPLES)
def test_commented_options_are_valid(runner: str, tmp_path: Path) -> None:
    config = complete(runner, tmp_path)
    assert config.runner.schedule == "0 3 * * 1"
    assert config.runner.resources["BackboneFeatures"].accelerators == 1
    assert bool(config.registry.endpoint) == bool(config.runner.vertex_training) == (runner == "vertex")
    specify(config)


def test_beam_knows_all_flags_of_the_examples(caplog: pytest.LogCaptureFixture) -> None:
    beam = example("vertex").runner.beam
    assert beam.keys() == {"AudioExampleGen", "StatisticsGen", "BackboneFeatures", "Evaluator"}
    with caplog.at_level(logging.WARNING):
        for flags in beam.values():
            options = PipelineOptions(list(flags)).get_all_options()
            assert options["sdk_container_image"].endswith("/worker:1")  # otherwise TFX sends a copy of itself
            assert options["service_account_email"] == example("vertex").runner.service_account
    assert "unparseable" not in caplog.text
