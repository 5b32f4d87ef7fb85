"""A deployment is read from a file and options, and what is wrong in it is named with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tumbao.pipeline.config import UsageError
from tumbao.pipeline.deployment import Resources, read_deployment

FILE = """
runner: vertex
root: gs://bucket/tumbao
data: gs://bucket/library
image: registry/tumbao:1
epochs: 7
resources:
  Trainer: {cpu: 4, memory_gb: 16, accelerator: NVIDIA_TESLA_T4, accelerators: 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.yaml"
    path.write_text(FILE)
    return path


def test_options_go_before_the_file(file: Path) -> None:
    found = read_deployment(file, runner="kubeflow", epochs=None, min_accuracy=0.9)
    assert (found.runner, found.epochs, found.min_accuracy) == ("kubeflow", 7, 0.9)
    assert found.resources == {"Trainer": Resources(cpu=4, memory_gb=16, accelerator="NVIDIA_TESLA_T4", accelerators=1)}
    assert found.pushed == "gs://bucket/tumbao/pushed"
    assert read_deployment(file, push_to="gs://other/place").pushed == "gs://other/place"


def test_without_a_file_the_options_are_enough() -> None:
    found = read_deployment(None, runner="kubeflow", root="/mnt/tumbao", image="tumbao:1", data="/mnt/library")
    assert (found.root, found.data, found.split_method) == ("/mnt/tumbao", "/mnt/library", "stable")


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_slash_at_the_end_of_a_folder_names_the_same_folder(file: Path, slashes: str) -> None:
    assert read_deployment(file, root=f"gs://bucket/t{slashes}").pushed == "gs://bucket/t/pushed"
    assert read_deployment(file, push_to=f"gs://other/place{slashes}").pushed == "gs://other/place"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"runner": "airflow"}, "runner: out of kubeflow, vertex. Received: runner='airflow'"),
        ({"root": "tumbao"}, "root: a folder by its whole address"),
        ({"root": "gs://"}, "root: a folder by its whole address"),
        ({"data": "library"}, "data: a library by its whole address"),
        ({"image": ""}, "image: a container image with Tumbao in it"),
        ({"epochs": -1}, "epochs: 0 or more"),
        ({"min_songs": 2}, "min_songs: 0, or at least 3"),
        ({"split_method": "drawn"}, "split_method: out of stratified, stable, fixed, given"),
        ({"split": "artist", "split_method": "fixed"}, "split: song where the test songs are fixed"),
        ({"seed": -1}, "seed: 0 or more"),
        ({"precision": "foo"}, "precision: out of auto, float32, mixed_bfloat16"),
        ({"weights": "relative.h5"}, "weights: random, or a file by its whole address"),
        ({"schedule": "daily"}, "schedule: in cron's five fields, as 0 3 * * 1. Received: schedule='daily'"),
        ({"schedule": "99 99 99 99 99"}, "schedule: in cron's five fields"),
        ({"vertex_training": {"foo": 1}}, "vertex_training: with a project, and worker_pool_specs"),
        ({"vertex_training": {"project": "p", "worker_pool_specs": []}}, "vertex_training: with a project"),
        ({"vertex_training": {"project": "p", "job_spec": {"worker_pool_specs": [{}]}}}, "and its image_uri each"),
        ({"runner": "kubeflow", "vertex_training": {"project": "p"}}, "vertex_training: empty on Kubeflow"),
        ({"training": {"epochs": 3}}, "training: without epochs and seed"),
        ({"training": {"dropot": 0.5}}, "dropot"),
        ({"training": {"dropout": 1.5}}, "Expected dropout"),
        ({"model": "vgg17"}, "Did you mean vgg16"),
        ({"genres": "salsa"}, "genres: a list of text. Received: genres='salsa'"),
        ({"genres": 5}, "genres: a list of text"),
        ({"model": 5}, "model: text. Received: model=5"),
        ({"data": 5}, "data: text"),
        ({"tune": "many"}, "tune: a whole number"),
        ({"tune": True}, "tune: a whole number"),
        ({"min_recall": "high"}, "min_recall: a number"),
        ({"cache": "no"}, "cache: true or false"),
        ({"labels": 5}, "labels: names, with text for each. Received: labels=5"),
        ({"labels": {"year": 2026}}, "labels: names, with text for each"),
        ({"images": ["Trainer"]}, "images: names, with text for each"),
        ({"images": {"Trainer": None}}, "images: names, with text for each"),
        ({"training": ["epochs"]}, "training: names, with anything for each"),
        ({"resources": ["a"]}, "resources: names, with resources for each"),
        ({"resources": {"Trainer": 5}}, "resources of Trainer: names and values. Received: 5"),
        ({"resources": {"Trainer": {"cpu": "four"}}}, "cpu: a number. Received: cpu='four'"),
        ({"beam": {"Evaluator": "--runner=FlinkRunner"}}, "beam: names, with a list of text for each"),
        ({"layout": "tape"}, "layout: out of auto"),
        ({"runner": "kubeflow", "labels": {"team": "music"}}, "labels: empty on Kubeflow"),
        ({"runner": "kubeflow", "endpoint": {"endpoint_name": "e"}}, "endpoint: empty on Kubeflow"),
        (
            {"endpoint": {"endpoint_name": "e"}, "serving_image": "i"},
            "endpoint: with a project_id and an endpoint_name",
        ),
        ({"endpoint": {"endpoint_name": "e", "project_id": "p"}}, "serving_image: named where there is an endpoint"),
        ({"resources": {"Trainer": {"cpus": 4}}}, "Received: cpus; did you mean cpu?"),
        ({"resources": {"Trainer": {"cpu": -4}}}, "Expected resources of 0 or more"),
        ({"resources": {"Trainer": {"accelerator": "gpu"}}}, "a type of accelerator with its number"),
        ({"epochz": 5}, "Received: epochz; did you mean epochs?"),
    ],
)
def test_what_is_wrong_is_named(file: Path, changes: dict[str, Any], refusal: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_deployment(file, **changes)
    assert refusal in str(caught.value)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("runner: vertex\n", "Expected root, image, data among the fields of"),
        ("- runner\n", "names and values"),
        ("runner: [vertex\n", "Expected a YAML file"),
        ("\udcff", "Expected a YAML file"),
    ],
)
def test_a_file_that_is_none_is_said(tmp_path: Path, text: str, refusal: str) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=refusal):
        read_deployment(file)
