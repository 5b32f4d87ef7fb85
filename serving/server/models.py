"""The served model: a push folder is watched, and a new version replaces the current one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tumbao.components.ingest.paths import AnyPath, RemotePath
from tumbao.serving.model_info import INFO_FILE, LABELS_FILE, ModelInfo, identity
from tumbao.serving.predict import TFLiteModel, find_assets
from tumbao.serving.server.middleware import Metrics

POLL_SECONDS = 1.0  # interval between checks of the push folder
BUCKET_POLL_SECONDS = 30.0  # interval for a push folder in a bucket, where each check takes several requests

_log = logging.getLogger(__name__)
_State = tuple[tuple[str, int, int], ...]


class ModelAsset(NamedTuple):
    """A downloadable file: its size and the SHA-256 of its content, hexadecimal."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model that has already classified one fragment."""

    classifier: TFLiteModel
    assets: Path
    version: str
    identity: str
    card: dict[str, Any]
    files: dict[str, ModelAsset]

    @property
    def info(self) -> ModelInfo:
        """Content of model.json."""
        return self.classifier.info


def load(assets: Path) -> Model:
    """Load a model, compare its files with their digests, and classify one fragment."""
    info = ModelInfo.read(assets)
    files = {name: _describe_asset(assets / name) for name in (INFO_FILE, LABELS_FILE)}
    for file in info.files.values():
        files[file.name] = found = _describe_asset(assets / file.name)
        if found.sha256 != file.sha256:
            raise ValueError(f"{assets / file.name}: expected the SHA-256 {file.sha256}. Received: {found.sha256}")
    classifier = TFLiteModel(assets)
    classifier.predict(np.zeros(info.mel.fragment_samples, np.float32))
    card = json.loads((assets / INFO_FILE).read_text(encoding="utf-8"))
    return Model(classifier, assets, assets.absolute().parent.name, identity(assets), card, files)


class Models:
    """Watches a push folder, which need not exist yet."""

    def __init__(self, folder: AnyPath, metrics: Metrics) -> None:
        self.current: Model | None = None
        self._folder, self._metrics = folder, metrics
        self._tried: _State = ()
        self._problem = ""
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch the folder in a thread."""
        threading.Thread(target=self._watch, name="models", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def refresh(self) -> None:
        """Load the newest version if it is not loaded yet, and was changed since it was refused."""
        try:
            assets = find_assets(self._folder)
            state = _state(assets)
        except FileNotFoundError:  # being copied, or just deleted
            return
        except (ValueError, OSError) as error:  # no model yet, no support for this kind of bucket, or no rights
            if self._problem != str(error):  # log a problem once, until it changes or is resolved
                _log.warning("No model can be loaded: %s", error)
                self._problem = str(error)
            return
        self._problem = ""
        if state == self._tried:
            return
        self._tried = state
        try:
            model = load(assets)
        except Exception as error:  # a faulty version must not stop the server
            self._metrics.loads.labels("refused").inc()
            outcome = "the current model is kept" if self.current else "no model is served"
            _log.error("Model in %s not loaded, %s: %r", assets, outcome, error)
            return
        self.current = model
        self._metrics.loads.labels("loaded").inc()
        self._metrics.model.clear()
        self._metrics.model.labels(model.version, model.identity).set(1)
        _log.info("Model %s (%s) loaded: %s", model.version, model.identity, ", ".join(model.info.genres))

    def _watch(self) -> None:
        self.refresh()
        pause = BUCKET_POLL_SECONDS if isinstance(self._folder, RemotePath) else POLL_SECONDS
        while not self._stopped.wait(pause):
            self.refresh()


def _state(assets: Path) -> _State:
    status = {str(path): path.stat() for path in sorted(assets.iterdir())}
    return tuple((name, one.st_size, one.st_mtime_ns) for name, one in status.items())


def _describe_asset(path: Path) -> ModelAsset:
    content = path.read_bytes()
    return ModelAsset(len(content), hashlib.sha256(content).hexdigest())
