"""A configuration is read from files, options and settings; messages name invalid fields and their remedies."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tumbao.pipeline.config import Resources, UsageError, parse, read_config, to_yaml
from tumbao.schema.genres import GENRES
from tumbao.trainer.models.registry import find_model

VERTEX = """
runner:
  name: vertex
  root: gs://bucket/tumbao
  image: registry/tumbao:1
  resources:
    Trainer: {cpu: 4, memory_gb: 16, accelerator: NVIDIA_TESLA_T4, accelerators: 1}
data: {library: gs://bucket/library}
training: {epochs: 7}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vertex.yaml"
    path.write_text(VERTEX)
    return path


def test_the_defaults_are_the_papers() -> None:
    config = read_config()
    assert (config.models, config.head) == (("vgg16", "tumbao"), find_model("vgg16").settings())
    assert (config.head.epochs, config.head.batch, config.head.units) == (5, 32, (512, 64))
    bounds = {"min_accuracy": 0.8, "min_recall": 0.5, "max_accuracy_drop": 0.01}
    assert config.gate.model_dump() == bounds | {"push_undecided": False}
    assert (config.data.genres, config.split_strategy) == (GENRES, "stratified")
    assert config.push_to == "tumbao-workspace/pushed"


def test_settings_override_options_and_options_the_file(file: Path) -> None:
    config = read_config(file, {"runner.name": "kubeflow", "gate.min_accuracy": 0.9}, ["gate.min_accuracy=0.7"])
    assert (config.runner.name, config.head.epochs, config.gate.min_accuracy) == ("kubeflow", 7, 0.7)
    gpu = Resources(cpu=4, memory_gb=16, accelerator="NVIDIA_TESLA_T4", accelerators=1)
    assert config.runner.resources == {"Trainer": gpu}
    assert (config.push_to, config.split_strategy) == ("gs://bucket/tumbao/pushed", "stable")


@pytest.mark.parametrize(("widths", "units"), [("0", ()), ("512,64", (512, 64)), ("8", (8,)), ("[8, 4]", (8, 4))])
def test_units_are_one_number_or_several(widths: str, units: tuple[int, ...]) -> None:
    assert read_config(settings=[f"training.units={widths}"]).head.units == units


def test_the_training_has_the_seed_of_the_split_by_default() -> None:
    assert read_config(None, {"split.seed": 9}).head.seed == 9
    assert read_config(None, {"split.seed": 9}, ["training.seed=3"]).head.seed == 3


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_trailing_slashes_are_ignored(file: Path, slashes: str) -> None:
    assert read_config(file, {"runner.root": f"gs://bucket/t{slashes}"}).push_to == "gs://bucket/t/pushed"
    assert read_config(file, {"registry.push_to": f"gs://other/folder{slashes}"}).push_to == "gs://other/folder"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("gate.min_accuracy=1.01", "Expected gate.min_accuracy: less than or equal to 1. Received: gate.min_acc"),
        ("model.precision=foo", "model.precision: 'auto', 'float32' or 'mixed_bfloat16'"),
        ("model.name=vgg17", "Did you mean vgg16"),
        ("model.weights=relative.h5", "model.weights: random, or a whole address"),
        ("runner.beam_args=[--direct_num_workers=2]", "runner.beam_args: flags with a --runner"),
        ("runner.name=airflow", "runner.name: 'local', 'kubeflow' or 'vertex'. Received: runner.name='airflow'"),
        ("runner.root=tumbao", "runner.root: a folder by its whole address"),
        ("runner.image=''", "runner.image: a container image with Tumbao"),
        ("runner.cache='no'", "runner.cache: a valid boolean"),
        ("runner.from_component=Trainer", "runner.from_component: unset except locally"),
        ("runner.resources={Trainer: {cpu: four}}", "runner.resources.Trainer.cpu: a valid number"),
        ("runner.resources={Trainer: {cpus: 4}}", "Received: runner.resources.Trainer.cpus; did you mean cpu?"),
        ("runner.resources={Trainer: {accelerator: gpu}}", "a type of accelerator with its number"),
        ("runner.beam={Evaluator: --runner=FlinkRunner}", "runner.beam.Evaluator: a valid tuple"),
        ("runner.vertex_training={project: p, worker_pool_specs: []}", "runner.vertex_training: with a project"),
        ("runner.vertex_training={project: p, job_spec: {worker_pool_specs: [{}]}}", "and its image_uri each"),
        ("runner.name=kubeflow & runner.vertex_training={project: p}", "runner.vertex_training: empty on Kubeflow"),
        ("runner.name=kubeflow & runner.labels={team: music}", "runner.labels: empty on Kubeflow"),
        ("runner.name=kubeflow & registry.endpoint={endpoint_name: e}", "registry.endpoint: empty on Kubeflow"),
        ("registry.endpoint={endpoint_name: e}", "registry.endpoint: with project_id and endpoint_name"),
        ("registry.endpoint={endpoint_name: e, project_id: p}", "registry.serving_image: an image for the endpoint"),
        ("registry.push_to=models", "registry.push_to: a folder by its whole address"),
        ("data.library=library", "data.library: a library by its whole address"),
        ("data.layout=tape", "data.layout: 'auto', 'folder'"),
        ("data.genres=salsa,Salsa", "data.genres: at least 2, each once"),
        ("split.by=artist & split.strategy=fixed", "split.by: song where the test songs are fixed"),
        ("split.by=given & split.strategy=fixed", "split.strategy: none for given splits"),
        ("split.folds=1", "split.folds: 0 for no cross-validation, or at least 2"),
        ("model.name=vgg16,vgg16-avg & runner.resume=true", "runner.resume: false for a choice between models"),
        ("model.tune=3 & model.name=adaboost", "model.name: that gradients train for a search"),
        ("runner.name=local & model.tune=3 & runner.resume=true", "runner.resume: false for a search: each trial"),
        ("runner.schedule=daily", "runner.schedule: in cron's five fields, as 0 3 * * 1. Received"),
        ("runner.schedule=0 3 * * 1 1", "runner.schedule: in cron's five fields, as 0 3 * * 1. Received"),
        ("training.dropot=0.5", "Received: training.dropot; did you mean dropout?"),
        ("training.dropout=1.5", "Expected training.dropout: less than 1. Received: training.dropout=1.5"),
        ("training.units=some", "training.units: "),
        ("epochs=5", "Expected --set with a section, a name and a value, as training.mixup=0.2. Received: epochs=5"),
        ("runner.labels={", "Expected a value in YAML"),
        ("trainin.epochs=5", "Received: trainin; did you mean training?"),
    ],
)
def test_invalid_values_are_named(file: Path, settings: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(file, settings=settings.split(" & "))
    assert message in str(caught.value)


def test_a_message_lists_all_faults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("runner: {name: vertex}\n")
    with pytest.raises(UsageError) as caught:
        read_config(tmp_path / "config.yaml")
    assert all(f"Expected {name}: " in str(caught.value) for name in ("runner.root", "runner.image", "data.library"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- runner\n", "names and values"),
        ("runner: [vertex\n", "Expected a YAML file"),
        ("\udcff", "Expected a YAML file"),
        ("training: [epochs]", "Expected training: "),
        ("modle: {name: cnn}", "Received: modle; did you mean model?"),
        ("epochs: 5", "Expected names out of data, split, model, training, gate, registry, runner. Received: epochs"),
    ],
)
def test_invalid_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_config(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("schedule", ["", "*/15 0-6/2 1,15 jan-jun,DEC mon"])
def test_a_schedule_has_the_five_fields_of_cron(schedule: str) -> None:
    assert parse({"runner": {"schedule": schedule}}).runner.schedule == schedule


def test_the_yaml_can_be_read_again_and_has_a_comment_for_every_field(file: Path, tmp_path: Path) -> None:
    options = {"training.schedule": "cosine", "training.units": "8,4", "data.genres": "salsa,cumbia"}
    for config in (read_config(), read_config(file, options)):
        text = to_yaml(config)
        (tmp_path / "printed.yaml").write_text(text)
        assert read_config(tmp_path / "printed.yaml") == config
        lines = text.splitlines()
        fields = [number for number, line in enumerate(lines) if line.startswith("  ") and not line.startswith("  #")]
        assert len(fields) == sum(len(part) for part in yaml.safe_load(text).values())
        assert all(lines[number - 1].startswith("  # ") for number in fields)
