"""The page of `tumbao serve` in a real headless Chromium: as the API says, in two languages, by keyboard, offline."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

import tumbao
from tests.serving.chromium import Tab, open_tab
from tests.serving.server import conftest as server
from tests.sounds import write_libav
from tumbao.components.ingest.audio_error import Reason
from tumbao.schema.genres import GENRES
from tumbao.serving.browser import BrowserUnavailableError, require_browser
from tumbao.serving.song import combine, sections

WEB = Path(tumbao.__path__[0]) / "serving" / "web"
TOLERANCE = 1e-4
"""How far probabilities of the tiny model may differ between server and browser."""

serving = server.serving
quick_looks = server.quick_looks
Tone = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    """Start a browser; where there is none, or no bundle, the page is not tested."""
    try:
        program = require_browser()
    except BrowserUnavailableError as error:
        pytest.skip(f"the page is not tested: {error}")
    with open_tab(program) as page:
        yield page


@pytest.fixture(scope="module")
def client(serving: server.Serving, pushed: Path) -> Iterator[httpx.Client]:
    with serving(pushed) as one:
        yield one


@pytest.fixture
def page(browser: Tab, client: httpx.Client) -> Iterator[Tab]:
    """Open the page, as someone who was never there; at the end nothing was complained of."""
    address = str(client.base_url)
    browser.call("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "local_storage"})
    browser.errors.clear()
    browser.open(f"{address}/")
    browser.wait("!document.getElementById('offline').hidden")
    browser.requests.clear()
    yield browser
    assert browser.errors == []


@pytest.fixture(scope="module")
def medley(tmp_path_factory: pytest.TempPathFactory, tone: Tone) -> Path:
    """Write a song in stereo at 44.1 kHz: 60 s of salsa, 60 s of bachata, 30 s of silence, and a tail."""
    loud, soft = 2 * tone(60, rate=44_100), 0.02 * tone(60, rate=44_100)
    soft[-4_410:] = 0  # else what rings on is heard
    left = np.concatenate([loud, soft, np.zeros(35 * 44_100, np.float32)])
    path = tmp_path_factory.mktemp("songs") / "medley.wav"
    soundfile.write(path, np.stack([left, 0.9 * left], axis=1), 44_100, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, tone: Tone) -> Path:
    path = tmp_path_factory.mktemp("songs") / "short.wav"
    path.write_bytes(server.wav(2 * tone(5)))
    return path


def said_by_server(client: httpx.Client, path: Path) -> dict[str, Any]:
    return client.post("/v1/classify", files=[("files", (path.name, path.read_bytes()))]).json()["files"][0]


def said_in_browser(page: Tab, path: Path) -> dict[str, Any]:
    """Choose a file; return what the page's model answers for it."""
    page.run(
        """document.getElementById("files").addEventListener("change", (event) => {
            window.file = event.target.files[0];
        }, { capture: true })"""
    )
    page.choose(path)
    assert "classified on this computer" in finished(page, page.run("document.querySelectorAll('article').length"))
    return page.run(
        """(async () => {
            const { Model } = await import("./engine.js");
            const model = await Model.current();
            const file = window.file;
            return model.answer(file, await model.prepare(file), () => {});
        })()"""
    )


def finished(page: Tab, songs: int = 1) -> str:
    page.wait(f"document.querySelectorAll('.answered, .refused').length === {songs}")
    return page.run("document.querySelector('#list article').innerText")


def click(page: Tab, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def close(ours: Any, theirs: Any) -> bool:
    """Compare values of JSON; numbers within the tolerance."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(close(ours[name], theirs[name]) for name in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    return ours == (pytest.approx(theirs, abs=TOLERANCE) if isinstance(theirs, float) else theirs)


def test_a_dropped_song_gets_the_answer_of_the_api(page: Tab, client: httpx.Client, medley: Path) -> None:
    page.drop(medley)
    text, said = finished(page), said_by_server(client, medley)
    assert said["genre"] is not None
    assert page.run("document.querySelector('.verdict strong').textContent") == said["genre"]
    share = f"{round(100 * said['probability'])}%"
    assert f"with a probability of {share}" in text
    assert "From 1:00: bachata" in text
    assert "One silent fragment was ignored." in text
    assert "classified by the server" in text
    assert page.run("document.querySelectorAll('.track button').length") == len(said["fragments"]) == 4
    assert page.run("document.querySelectorAll('.change').length") == 1
    assert page.run("document.querySelector('.wave') !== null")
    assert page.run("document.getElementById('status').textContent").startswith(f"medley.wav: {said['genre']}")
    page.wait("document.querySelector('canvas[data-rendered]')")
    level = "document.querySelector('canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0]"
    loud = page.run(level)
    click(page, ".track button:last-of-type")
    page.wait("document.querySelector('canvas[data-rendered]')")
    assert page.run(level) < loud
    assert [method for method, _ in page.requests if method == "POST"] == ["POST"]


def test_the_browser_gives_the_same_answer_and_sends_nothing(
    page: Tab, client: httpx.Client, medley: Path, song: Path
) -> None:
    click(page, "#local")
    for path in (medley, song):
        ours = said_in_browser(page, path)
        assert [method for method, _ in page.requests if method != "GET"] == []
        theirs = said_by_server(client, path)
        assert theirs.pop("declared_seconds") == pytest.approx(theirs["duration_seconds"])
        assert (theirs.pop("audio_track"), theirs.pop("audio_tracks")) == (1, 1)
        assert [ours.pop(name) for name in ("declared_seconds", "audio_track", "audio_tracks")] == [None] * 3
        assert close(ours, theirs), (ours, theirs)
    assert page.run("document.querySelectorAll('.verdict strong')[1].textContent") == "salsa"


@pytest.mark.parametrize(
    ("name", "codec", "rate", "kind"),
    [
        ("song.m4a", "aac", 44_100, 'audio/mp4; codecs="mp4a.40.2"'),
        ("song.m4a", "aac", 48_000, 'audio/mp4; codecs="mp4a.40.2"'),
        ("song.ogg", "vorbis", 44_100, 'audio/ogg; codecs="vorbis"'),
        ("song.opus", "libopus", 48_000, 'audio/ogg; codecs="opus"'),
        ("song.webm", "libopus", 48_000, 'audio/webm; codecs="opus"'),
    ],
)
def test_recording_formats_get_the_answer_of_the_server(
    page: Tab, client: httpx.Client, tone: Tone, tmp_path: Path, name: str, codec: str, rate: int, kind: str
) -> None:
    if not page.run(f"new Audio().canPlayType({json.dumps(kind)})"):
        pytest.skip(f"this browser does not decode {kind}")
    path, samples = tmp_path / name, 1.8 * tone(6, rate=rate)
    if codec == "vorbis":  # PyAV has no good encoder of it
        soundfile.write(path, samples, rate, format="OGG", subtype="VORBIS")
    else:
        write_libav(path, samples, rate, codec)
    click(page, "#local")
    ours, theirs = said_in_browser(page, path), said_by_server(client, path)
    assert ours["genre"] == theirs["genre"]
    assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=0.01)  # other padding
    assert ours["duration_seconds"] == pytest.approx(theirs["duration_seconds"], abs=0.05)


def test_song_values_equal_those_of_the_server(page: Tab, rng: np.random.Generator) -> None:
    leaves = ["cumbia", "salsa", "salsa/dura", "vallenato"]
    rows = rng.dirichlet(np.full(4, 0.3), 40).astype(np.float32)
    rows[20:, 3] += 2
    rows /= rows.sum(axis=1, keepdims=True)
    heard = [{"index": index, "padded": False, "probabilities": row.tolist()} for index, row in enumerate(rows)]
    for threshold in (0.2, 0.9):
        card = {
            "genres": leaves,
            "mel": {"fragment_seconds": 30.0},
            "calibration": {"temperature": 1.7, "threshold": threshold},
        }
        ours = page.run(
            f"""import("./song.js").then(({{ songValues }}) =>
                songValues({json.dumps(heard)}, {{ seconds: 1207, silent: 0 }}, {json.dumps(card)}))"""
        )
        answer = combine(rows, threshold)
        assert answer.confident == (threshold < 0.5)
        assert ours["genre"] == (leaves[answer.genre] if answer.confident else None)
        assert ours["nearest"] == leaves[answer.genre]
        assert ours["majority"] == leaves[answer.majority]
        assert [*ours["votes"].values()] == [*answer.votes]
        np.testing.assert_allclose([*ours["probabilities"].values()], answer.probabilities, atol=1e-9)
        assert ours["main_probabilities"]["salsa"] == pytest.approx(sum(answer.probabilities[1:3]))
        parts = sections([30.0 * index for index in range(40)], 1200.0, rows)
        assert len(parts) > 1
        assert [(one["start_seconds"], one["end_seconds"], one["genre"]) for one in ours["sections"]] == [
            (part.start_seconds, part.end_seconds, leaves[part.genre]) for part in parts
        ]


def test_a_song_is_judged_by_the_mean_of_its_distances(page: Tab) -> None:
    card = {"genres": ["cumbia", "salsa"], "mel": {"fragment_seconds": 30.0}, "out_of_distribution": {"threshold": 2}}
    for distances, inside in (([1.0, 2.9], [True, False]), ([1.0, 3.1], [True, False])):
        heard = [
            {"index": at, "padded": False, "probabilities": [0.3, 0.7], "distance": one}
            for at, one in enumerate(distances)
        ]
        ours = page.run(
            f"""import("./song.js").then(({{ songValues }}) =>
                songValues({json.dumps(heard)}, {{ seconds: 60, silent: 0 }}, {json.dumps(card)}))"""
        )
        assert ours["genre"] == ("salsa" if np.mean(distances) <= 2 else None)
        assert [fragment["familiar"] for fragment in ours["fragments"]] == inside


def test_the_page_uses_the_chosen_language(page: Tab, client: httpx.Client, song: Path) -> None:
    agent = page.run("navigator.userAgent")
    page.call("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "es-CO"})
    try:
        page.open(f"{client.base_url}/?es")
        assert page.run("document.documentElement.lang") == "es"
        assert page.run("document.querySelector('h1').textContent") == "¿De qué género es esta canción?"
        page.choose(song)
        assert "con una probabilidad del" in finished(page)
        assert "La canción es más corta que un fragmento" in page.run("document.body.innerText")
        click(page, ".languages [value=en]")
        assert "with a probability of" in page.run("document.body.innerText")
        page.open(f"{client.base_url}/")
        assert page.run("[document.documentElement.lang, navigator.language]") == ["en", "es-CO"]
    finally:
        page.call("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "en-GB"})


def test_both_languages_have_all_errors(page: Tab) -> None:
    english, spanish = (
        page.run(f'import("./strings.js").then(({{ words }}) => words("{code}"))') for code in ("en", "es")
    )
    assert english.keys() == spanish.keys()
    assert english["says"].keys() == spanish["says"].keys()
    assert not set(english["says"].values()) & set(spanish["says"].values())
    library = {"changed", "duplicate", "unknown genre", "outside the library", "still being written", "invalid row"}
    assert {reason.value for reason in Reason} - library <= english["says"].keys()


def test_the_page_works_with_the_keyboard(page: Tab, medley: Path) -> None:
    page.choose(medley)
    finished(page)
    page.run("document.activeElement.blur()")
    seen = []
    for _ in range(20):
        page.press("Tab")
        seen.append(page.run("document.activeElement.id || document.activeElement.className || "
                             "document.activeElement.value || document.activeElement.textContent"))  # fmt: skip
        style = "getComputedStyle(document.activeElement.id === 'files' ? document.activeElement.nextElementSibling"
        assert page.run(f"{style} : document.activeElement).outlineWidth") == "3px"
        if page.run("document.activeElement.matches('.track button')"):
            break
    assert seen[:6] == ["en", "es", "files", "record", "local", "remove"]
    page.press("ArrowRight", "ArrowRight")
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.run(label).startswith("1:00 to 1:30: bachata, ")
    assert page.run("document.querySelector('.detail h4').textContent") == "1:00 – 1:30"
    page.press("End")
    assert page.run(label).startswith("1:30 to 2:00")
    page.press("Home", "Enter")
    assert page.run("document.querySelector('.listen').textContent") == "Stop"
    page.press("Enter")
    assert page.run("document.querySelector('.listen').textContent") == "Listen"


def test_without_a_bundle_the_model_is_not_offered_in_the_browser(
    browser: Tab, serving: server.Serving, pushed: Path, song: Path, tmp_path: Path
) -> None:
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("litert"))
    with serving(pushed, web=tmp_path / "web") as one:
        browser.open(f"{one.base_url}/")
        browser.wait("document.getElementById('local').disabled")
        assert "set up without LiteRT.js" in browser.run("document.getElementById('where').textContent")
        browser.choose(song)
        assert "classified by the server" in finished(browser)
        assert browser.run("document.getElementById('local').checked") is False
        browser.open("about:blank")
    browser.errors.clear()


def test_an_invalid_file_gets_an_error_message(page: Tab, tmp_path: Path, song: Path) -> None:
    (tmp_path / "words.mp3").write_text("no song")
    page.drop(tmp_path / "words.mp3", song)
    finished(page, 2)
    told = "document.querySelector('.refusal').textContent"
    assert page.run(told).startswith("words.mp3 is not in a format that can be decoded")
    click(page, ".languages [value=es]")
    assert page.run(told) == "words.mp3 no está en un formato que se pueda decodificar."
    click(page, ".refused .remove")
    assert page.run("[document.querySelectorAll('article').length, document.activeElement.id]") == [1, "files"]
    click(page, "#local")
    page.choose(tmp_path / "words.mp3")
    finished(page, 2)
    assert page.run(told) == "words.mp3 no está en un formato que se pueda decodificar."
    (expected,) = page.errors  # Chromium's own about the status
    assert "422" in expected
    page.errors.clear()


def test_the_microphone_is_recorded(page: Tab) -> None:
    click(page, "#record")
    page.wait("!document.getElementById('meter').hidden")
    page.wait("document.getElementById('level').value > 0")
    page.wait("/0:0[3-9]|0:[1-5]./.test(document.getElementById('recording').textContent)")
    page.run("new Promise((resolve) => setTimeout(resolve, 500))")
    click(page, "#record")
    assert "The song is shorter than a fragment" in finished(page)
    assert page.run("document.querySelector('h3').textContent").endswith(".webm")
    assert page.run("document.getElementById('meter').hidden")


def test_the_page_works_offline_and_updates_its_model(
    browser: Tab, serving: server.Serving, pushed: Path, tmp_path: Path, song: Path
) -> None:
    model = shutil.copytree(pushed, tmp_path / "pushed")
    with serving(model) as one:
        address = f"{one.base_url}/"
        browser.open(address)
        browser.wait("!document.getElementById('offline').hidden")
        former = one.get("/v1/model").json()["model"]
        shutil.copytree(model / "1", model / "2", ignore=shutil.ignore_patterns("saved_model.pb"))
        card = model / "2" / "assets.extra" / "model.json"
        card.write_text(card.read_text().replace('"library": "tiny"', '"library": "other"'))
        (model / "2" / "saved_model.pb").touch()
        while one.get("/v1/model").json()["model"] == former:
            pass
        newest = one.get("/v1/model").json()["model"]
        browser.choose(song)
        finished(browser)
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(address)
    browser.wait("!document.getElementById('offline').hidden")
    click(browser, "#local")
    browser.choose(song)
    assert "classified on this computer" in finished(browser)
    assert (
        browser.run("import('./engine.js').then(({ Model }) => Model.current()).then((one) => one.identity)") == newest
    )
    assert browser.run("document.querySelector('.verdict strong').textContent") in GENRES
    kept = browser.run("caches.open('tumbao').then((cache) => cache.keys()).then((all) => all.map((one) => one.url))")
    assert sum("frontend.tflite" in url for url in kept) == 1
    click(browser, "#local")
    browser.choose(song)
    finished(browser, 2)
    assert "cannot be reached" in browser.run("document.querySelector('.refusal').textContent")


def test_the_service_worker_caches_every_file_of_the_page() -> None:
    listed = set(re.findall(r'^  "(.+)",$', (WEB / "sw.js").read_text(), re.MULTILINE))
    files = {path.name for path in WEB.iterdir() if path.is_file()}
    assert listed == {"./"} | files - {"check.js", "index.html", "sw.js"}
