"""TensorFlow's own client of gs:// with a local service that answers as Google's does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.components.ingest.bucket_service import PAGE, Service, service
from tumbao.components import model_registry
from tumbao.components.ingest.download_cache import cache_folder
from tumbao.components.ingest.paths import RemotePath, as_path, below
from tumbao.pipeline.config import parse
from tumbao.pipeline.resolve import resolve
from tumbao.pipeline.rollback import roll_back
from tumbao.serving.predict import find_assets
from tumbao.trainer.weights import weights_file

WriteSong = Callable[..., Path]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("service")) as (running, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def buckets(running: Service) -> Service:
    running.objects.clear()
    running.requests.clear()
    return running


def put(buckets: Service, folder: Path, name: str) -> RemotePath:
    for file in folder.rglob("*"):
        if file.is_file():
            buckets.objects[f"{name}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()
    return RemotePath(f"gs://{name}")


def test_a_bucket_is_listed_page_by_page_without_markers_of_folders(buckets: Service) -> None:
    songs = {f"salsa/{number}.mp3" for number in range(PAGE + 5)} | {"cumbia/Totó/La verdolaga #1?.mp3"}
    for name in (*songs, "salsa/", "empty/"):
        buckets.objects[f"music/library/{name}"] = b"a"
    library = RemotePath("gs://music/library")
    assert {str(below(file, library)) for file in library.files_below()} == songs
    assert len(buckets.requests) <= 4 * 2  # levels × pages
    assert {folder.name for folder in library.iterdir()} == {"cumbia", "salsa", "empty"}
    assert as_path("gs://music").is_dir() and library.is_dir() and not (library / "none").exists()


def test_files_are_written_and_read(buckets: Service) -> None:
    file = RemotePath("gs://music/a b/canción.txt")
    file.write_bytes("Químbara\n".encode())
    assert buckets.objects["music/a b/canción.txt"] == "Químbara\n".encode()
    assert (file.read_text(), file.is_file(), file.stat()) == ("Químbara\n", True, (10, 1_767_323_045_678_000_000))
    with pytest.raises(FileNotFoundError, match="none"):
        (file / "none").read_bytes()


def test_models_are_pushed_logged_and_rolled_back_in_a_bucket(buckets: Service, tmp_path: Path) -> None:
    versions = []
    for name in ("one", "two"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "variables" / "variables.index").write_text(name)
        (tmp_path / name / "fingerprint.pb").write_text(name)
        (tmp_path / name / "saved_model.pb").write_text(name)
        versions.append(model_registry.publish(str(tmp_path / name), "gs://work/models"))
        event = model_registry.Event(what="push", version=versions[-1], replaces="", fingerprint=name, why=name)
        model_registry.log_event("gs://work/models", event)
    assert model_registry.versions("gs://work/models") == versions
    event = roll_back("gs://work/models", why="mistakes salsa for cumbia")
    assert (event.of, event.replaces) == (versions[0], versions[1])
    assert [one.what for one in model_registry.read_log("gs://work/models")] == ["push", "push", "rollback"]
    assert buckets.objects[f"work/models/{event.version}/variables/variables.index"] == b"one"
    assert model_registry.served_version("gs://work/models") == event.version


def test_the_last_two_versions_of_a_registry_stay_in_the_cache(
    buckets: Service, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    found = [find_assets(put(buckets, pushed, "work/other"))]
    for version in ("2", "3", "4"):
        put(buckets, pushed / "1", f"work/pushed/{version}")
        found.append(find_assets(RemotePath("gs://work/pushed")))
    assert [assets.parent.name for assets in found] == ["1", "2", "3", "4"]
    assert [assets.exists() for assets in found] == [True, False, True, True]


def test_a_missing_bucket_is_refused_before_anything_is_written(buckets: Service) -> None:
    for there in ("gs://music", "gs://work/pushed/models"):
        RemotePath(there).require_bucket()
    with pytest.raises(ValueError, match=r"a bucket that exists.*Received: gs://wrok/pushed\..*create gs://wrok$"):
        RemotePath("gs://wrok/pushed").require_bucket()
    for root, push_to in (("gs://work", "gs://wrok/pushed"), ("gs://wrok/workspace", "gs://work/pushed")):
        config = parse({"runner": {"root": root}, "registry": {"push_to": push_to}})
        with pytest.raises(ValueError, match="a bucket that exists"):
            resolve(config, say=lambda line: None)


def test_models_and_weights_are_fetched_once(
    buckets: Service, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    models = put(buckets, pushed, "work/pushed")
    assets = find_assets(models)
    assert assets.parent.name == "1"
    assert {file.name: file.read_bytes() for file in assets.iterdir()} == {
        file.name: file.read_bytes() for file in (pushed / "1" / "assets.extra").iterdir()
    }
    buckets.objects["work/vgg16.h5"] = b"weights"
    file = weights_file("gs://work/vgg16.h5")
    assert file and file.read_bytes() == b"weights" and file.is_relative_to(cache_folder())
    buckets.requests.clear()
    assert (find_assets(models), weights_file("gs://work/vgg16.h5")) == (assets, file)
    assert not [path for path in buckets.requests if path.endswith((".tflite", "/vgg16.h5")) and "/v1/" not in path]
    shutil.rmtree(cache_folder())
    assert find_assets(models) == assets
