from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.serving.server.conftest import Serving, send
from tumbao.schema.genres import GENRES
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE, LABELS_FILE
from tumbao.serving.server.middleware import HEADERS

WebFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    for name in ("index.html", "page.js", "model.mjs", "litert/runtime.wasm"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder.parent / "secret.txt").write_text("secret")
    return folder


def test_description_and_files_of_the_model(client: httpx.Client, pushed: Path) -> None:
    assets = pushed / "1" / ASSETS_FOLDER
    assert client.get("/v1/labels").json() == {"labels": list(GENRES)}
    description = client.get("/v1/model").json()
    assert (description["version"], description["card"]["metrics"]) == ("1", {"test_accuracy": 1.0})
    assert [file["name"] for file in description["files"]] == [
        INFO_FILE,
        LABELS_FILE,
        "frontend.tflite",
        "classifier-int8.tflite",
    ]
    for file in description["files"]:
        response = client.get(f"/v1/{file['url']}")
        assert response.content == (assets / file["name"]).read_bytes()
        assert (len(response.content), hashlib.sha256(response.content).hexdigest()) == (file["bytes"], file["sha256"])
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        again = client.get(f"/v1/model/files/{file['name']}")
        assert (again.status_code, again.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["saved_model.pb", "..%2Fsaved_model.pb", "frontend.tflite?sha256=0"])
def test_other_files_are_not_served(client: httpx.Client, name: str) -> None:
    response = client.get(f"/v1/model/files/{name}")
    assert (response.status_code, response.json()["error"]["reason"]) == (404, "not found")


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/nothing", "/v1/model/files/labels.txt"])
def test_every_response_has_the_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert HEADERS.keys() <= {name.title() for name in headers}
    assert headers["Cache-Control"] in ("no-store", "no-cache")


def test_unknown_paths_and_methods_have_the_usual_error_format(client: httpx.Client) -> None:
    assert client.get("/nothing").json()["error"]["reason"] == "not found"
    for response in (client.get("/v1/classify"), client.post("/v1/labels"), client.post("/nothing")):
        assert (response.status_code, response.json()["error"]["reason"]) == (405, "method not allowed")
    assert client.get("/v1/classify").headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/model/files/labels.txt"])
def test_head_has_the_headers_of_get_and_no_body(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_an_internal_error_reveals_nothing(
    client: httpx.Client, salsa: bytes, monkeypatch: pytest.MonkeyPatch, pushed: Path
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"{pushed} is broken")

    monkeypatch.setattr("tumbao.serving.server.classify_handler.song_values", fail)
    response = send(client, salsa)
    assert response.status_code == 500
    assert response.json() == {
        "error": {"reason": "internal", "message": "The server failed; its log contains the error."}
    }
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_is_served_with_its_media_types(serving: Serving, pushed: Path, web: Path) -> None:
    types = {
        "": "text/html; charset=utf-8",
        "page.js": "text/javascript; charset=utf-8",
        "model.mjs": "text/javascript; charset=utf-8",
        "litert/runtime.wasm": "application/wasm",
    }
    with serving(pushed, web=web) as client:
        for path, kind in types.items():
            response = client.get(f"/{path}")
            assert (response.text, response.headers["Content-Type"]) == (path or "index.html", kind)
            assert response.headers["Cache-Control"] == "no-cache"
            known = {"If-None-Match": response.headers["ETag"]}
            assert client.get(f"/{path}", headers=known).status_code == 304
        for path in ("../secret.txt", "..%2Fsecret.txt", "%2e%2e/secret.txt", "litert/..%2f..%2fsecret.txt"):
            assert client.get(f"/{path}").status_code == 404
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("stripped", [True, False], ids=["the proxy takes the path away", "the proxy leaves it"])
def test_a_proxy_with_a_path(serving: Serving, pushed: Path, web: Path, salsa: bytes, stripped: bool) -> None:
    with serving(pushed, web=web, root_path="/tumbao/") as client:
        root = "" if stripped else "/tumbao"
        for path in ("/v1/labels", "/openapi.json", "/page.js", "/", "/v1/model/files/labels.txt"):
            assert client.get(root + path).status_code == 200
        assert client.post(f"{root}/v1/classify", files={"files": salsa}).status_code == 200
        assert client.get(f"{root}/openapi.json").json()["servers"] == [{"url": "/tumbao"}]


def test_only_named_origins_are_allowed(client: httpx.Client, serving: Serving, pushed: Path, salsa: bytes) -> None:
    origin = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in client.get("/v1/labels", headers=origin).headers
    with serving(pushed, origins=["https://example.org"]) as named:
        response = named.post("/v1/classify", files={"files": salsa}, headers=origin)
        assert response.headers["Access-Control-Allow-Origin"] == "https://example.org"
        other = named.get("/v1/labels", headers={"Origin": "https://example.net"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_metrics(serving: Serving, pushed: Path, salsa: bytes) -> None:
    with serving(pushed) as client:
        send(client, salsa, b"no song")
        send(client, b"no song")
        client.post("/v1/classify", content=b"x")
        client.get("/anything/at/all")
        client.request("INVENTED", "/healthz")
        response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    lines = response.text.splitlines()
    for line in (
        'tumbao_requests_total{method="POST",path="/v1/classify",status="200"} 1.0',
        'tumbao_requests_total{method="POST",path="/v1/classify",status="422"} 1.0',
        'tumbao_requests_total{method="POST",path="/v1/classify",status="415"} 1.0',
        'tumbao_requests_total{method="GET",path="/",status="404"} 1.0',
        'tumbao_requests_total{method="other",path="/healthz",status="405"} 1.0',
        'tumbao_files_total{outcome="answered"} 1.0',
        'tumbao_files_total{outcome="unsupported"} 2.0',
        'tumbao_errors_total{reason="no form"} 1.0',
        'tumbao_step_seconds_count{step="upload"} 3.0',
        'tumbao_step_seconds_count{step="wait"} 2.0',
        'tumbao_step_seconds_count{step="classify"} 3.0',
        "tumbao_requests_accepted 0.0",
        "tumbao_requests_working 0.0",
        'tumbao_model_loads_total{outcome="loaded"} 1.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
