"""Run AudioExampleGen with each tuple of arguments that a connection receives: client.py DESCRIPTOR."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import sys
import traceback

from tests.components.ingest.run_component import run_component

if __name__ == "__main__":
    connection = multiprocessing.connection.Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError):
        while True:
            arguments = connection.recv()
            try:
                run_component(*arguments)
                connection.send("")
            except Exception:
                connection.send(traceback.format_exc())
