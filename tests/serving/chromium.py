"""A page in a headless Chromium, with its errors and requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage

from tumbao.serving.browser import TIMEOUT_SECONDS, launch

_MEDIA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--mute-audio")


class Tab:
    """A page: the errors of its console are collected in `errors`, its requests in `requests`."""

    def __init__(self, context: BrowserContext) -> None:
        self.errors: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self._page = context.new_page()
        self._page.set_default_timeout(1_000 * TIMEOUT_SECONDS)
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.on("console", self._note)
        self._page.on("request", lambda request: self.requests.append((request.method, request.url)))
        self._session = context.new_cdp_session(self._page)
        self.call = self._session.send

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def run(self, script: str) -> Any:
        return self._page.evaluate(script)

    def wait(self, script: str) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while not self.run(f"Boolean({script})"):  # the page's policy forbids Playwright's own function for this
            assert time.monotonic() < end, f"{script} did not become true; {self.errors}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        self._page.goto(address)

    def choose(self, *paths: Path) -> None:
        self._page.locator("input[type=file]").first.set_input_files(paths)

    def drop(self, *paths: Path) -> None:
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})

    def press(self, *keys: str) -> None:
        for key in keys:
            self._page.keyboard.press(key)

    def picture(self, width: int, height: int) -> bytes:
        """Render the page as PNG."""
        self._page.set_viewport_size({"width": width, "height": height})
        return self._page.screenshot(full_page=True)


@contextlib.contextmanager
def open_tab(program: str, language: str = "en-GB") -> Iterator[Tab]:
    """Start a Chromium with a page; it ends with the context."""
    with launch(program, *_MEDIA) as browser:
        yield Tab(browser.new_context(locale=language))
