"""A page in a headless Chromium, driven as its DevTools do it: JSON over two pipes, each message ended by a zero."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tumbao.serving import browser

MESSAGE_TIMEOUT_SECONDS = 60.0
_PIPES = 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null'  # where Chromium looks for them
_MEDIA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--mute-audio")


class Page:
    """A tab: its console's complaints gather in `complaints`, what it asks servers for in `requests`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self._receive, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and wait for what it returns."""
        number = len(self._answers) + 1
        answers = self._answers[number] = queue.SimpleQueue()
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        answer = answers.get(timeout=MESSAGE_TIMEOUT_SECONDS)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def run(self, script: str) -> Any:
        """Evaluate an expression, promises awaited; what it throws fails the test."""
        said = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, script: str) -> None:
        """Evaluate an expression until it is true."""
        end = time.monotonic() + MESSAGE_TIMEOUT_SECONDS
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"{script} did not become true; {self.complaints}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        """Go to a page and wait until its scripts have run."""
        self.call("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def choose(self, *paths: Path) -> None:
        """Choose files, as in the dialogue of the page's first input for them."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def drop(self, *paths: Path) -> None:
        """Drop files in the middle of the page."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def press(self, *keys: str) -> None:
        """Press keys by name, one after the other."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "End": 35, "Home": 36}
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, "")
            shared = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": codes[key]}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **shared)
            self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def picture(self, width: int, height: int, scheme: str = "light") -> bytes:
        """Draw the page as PNG."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _receive(self) -> None:
        assert self._process.stdout
        said = b""
        while block := os.read(self._process.stdout.fileno(), 65_536):
            *messages, said = (said + block).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]].put(message)
            return
        method, about = message["method"], message["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append((about["request"]["method"], about["request"]["url"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.complaints.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(json.dumps(about["entry"]))


@contextlib.contextmanager
def driven(program: str, folder: Path, language: str = "en-GB") -> Iterator[Page]:
    """Start a Chromium that is driven, with an empty folder for all that it writes; it ends with the context."""
    flags = [*browser._FLAGS, *_MEDIA, f"--lang={language}", f"--accept-lang={language}"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [program, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    own = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    process = subprocess.Popen(
        ["/bin/sh", "-c", _PIPES, "sh", *command],
        env=os.environ | own | {"LANGUAGE": language},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Page(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
