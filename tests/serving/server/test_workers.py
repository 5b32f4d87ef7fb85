from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from tests.processes import children, kill, wait_until_gone
from tests.serving.server.conftest import Serving, send
from tumbao.components.ingest import decoders


def test_killed_workers_are_replaced(serving: Serving, pushed: Path, salsa: bytes) -> None:
    before = children()
    with serving(pushed) as client:
        for ask in (lambda: send(client, salsa), lambda: client.get("/readyz"), lambda: send(client, salsa, salsa)):
            assert children() - before  # /readyz has started one
            kill(children() - before)
            wait_until_gone(before)
            assert ask().status_code == 200
    wait_until_gone(before)


def test_a_server_recovers_when_workers_can_be_started_again(
    serving: Serving, pushed: Path, salsa: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    with serving(pushed) as client:
        with monkeypatch.context() as patch:
            error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            patch.setattr(subprocess, "Popen", mock.Mock(side_effect=error))
            kill(children() - before)
            wait_until_gone(before)
            for response in (client.get("/readyz"), send(client, salsa)):
                assert response.status_code == 503
                assert response.json()["error"]["reason"] == "no worker"
                assert response.headers["Retry-After"] == "5"
            files = send(client, salsa, salsa).json()["files"]
            assert [one["status"] for one in files] == [503, 503]
            assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert send(client, salsa).status_code == 200


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT])
def test_an_unreadable_upload_is_a_server_error(
    serving: Serving, pushed: Path, salsa: bytes, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with serving(pushed) as client:
        monkeypatch.setattr(decoders, "local_copy", mock.Mock(side_effect=OSError(number, "no such luck")))
        response = send(client, salsa)
    assert response.status_code == 500
    assert response.json()["error"]["reason"] == "i/o error"
    assert "luck" not in response.text
