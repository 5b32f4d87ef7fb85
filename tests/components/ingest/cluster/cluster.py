"""A cluster on one machine: a head and two pools of workers, each with its own network, folder and environment.

With network namespaces, each host has its own address and cannot be reached from outside. If the kernel does not allow
them, all are one host with different ports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.components.ingest.cluster import client, job_service
from tumbao.schema.mel_spec import MelSpec

ROOT = Path(__file__).parents[4]
UMASKS = (0o022, 0o026)
"""Umasks of the pools: a file's mode shows which of them wrote it."""

_NETWORK = """
set -e
mount -t tmpfs tmpfs /run
hostname 10.77.1.1
ip link set lo up
for pool in 1 2; do
    ip netns add pool$pool
    ip link add to_pool$pool type veth peer name eth0 netns pool$pool
    ip addr add 10.77.$pool.1/30 dev to_pool$pool
    ip link set to_pool$pool up
    ip -n pool$pool link set lo up
    ip -n pool$pool addr add 10.77.$pool.2/30 dev eth0
    ip -n pool$pool link set eth0 up
    ip -n pool$pool route add default via 10.77.$pool.1
done
echo ready
exec sleep infinity
"""


@dataclasses.dataclass(frozen=True)
class Host:
    """A host of the cluster. Beam gives workers the head's name, so its name is its address."""

    address: str = "localhost"
    enter: tuple[str, ...] = ()

    def command(self, folder: Path, *command: str) -> list[str]:
        """Return the command line that runs a command on the host in a folder."""
        return [*self.enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    pools: list[subprocess.Popen[bytes]]
    homes: list[Path]
    flags: list[str]
    client: multiprocessing.connection.Connection

    def begin(self, manifests: Path, spec: MelSpec, cache: Path, folder: Path, flags: Sequence[str]) -> None:
        """Run the component in the client."""
        self.client.send((str(manifests), spec, str(cache), str(folder), list(flags)))

    def end(self, seconds: float = 90) -> str:
        """Wait for the client and return the traceback of the component's error; empty without one."""
        if not self.client.poll(seconds):
            raise TimeoutError(f"the run did not end within {seconds} s")
        return str(self.client.recv())

    def kill_pool(self, number: int) -> None:
        """Kill a pool, its workers and their decoders."""
        os.killpg(self.pools[number].pid, signal.SIGKILL)
        self.pools[number].wait()


@contextlib.contextmanager
def cluster(folder: Path, package: Path) -> Iterator[Cluster]:
    """Start a cluster whose pools have the installed package, not this repository."""
    with contextlib.ExitStack() as stack:
        head, *hosts = stack.enter_context(_network(folder / "network"))
        job_port, dispatcher_port, *ports = _free_ports(2 + len(hosts))
        homes = [folder / f"pool{number}" for number in range(len(hosts))]
        pools = []
        for home, host, port, umask in zip(homes, hosts, ports, UMASKS, strict=True):
            (home / "bin").mkdir(parents=True)
            (home / "tmp").mkdir()
            environment = {
                "PATH": f"{home}/bin:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/bin",
                "HOME": str(home),
                "TMPDIR": str(home / "tmp"),
                "PYTHONPATH": str(package),
            }
            command = ["python", "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
            running = _running(host.command(home, *command), home, env=environment, umask=umask)
            pools.append(stack.enter_context(running))
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(pools[-1].pid, {cpus[len(pools) % len(cpus)]})  # one decoder each, quicker to start
        addresses = [f"{host.address}:{port}" for host, port in zip(hosts, ports, strict=True)]
        command = [sys.executable, "-m", job_service.__name__, str(job_port), str(dispatcher_port), *addresses]
        stack.enter_context(_running(head.command(ROOT, *command), folder / "head"))
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", client.__name__, str(theirs.fileno())]
            running = _running(head.command(ROOT, *command), folder / "client", pass_fds=[theirs.fileno()])
            stack.enter_context(running)
        flags = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{dispatcher_port}",
            "--experiments=disable_logging_submission_environment",  # no pip freeze for each run
        ]
        connection = stack.enter_context(multiprocessing.connection.Connection(ours.detach()))
        yield Cluster(pools, homes, flags, connection)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in its own session; all its processes end with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    how.setdefault("env", {**os.environ, "TMPDIR": str(folder)})
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **how)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _network(folder: Path) -> Iterator[list[Host]]:
    enter_new = 'exec unshare --map-root-user --net --uts --mount sh -c "$0"'
    with _running(["sh", "-c", enter_new, _NETWORK], folder, stdout=subprocess.PIPE) as process:
        assert process.stdout
        with process.stdout as output:
            if output.readline() != b"ready\n":
                yield [Host(), Host(), Host()]
                return
        enter = ("nsenter", f"--target={process.pid}", "--user", "--net", "--uts", "--mount", "--preserve-credentials")
        pools = [Host(f"10.77.{pool}.2", (*enter, "ip", "netns", "exec", f"pool{pool}")) for pool in (1, 2)]
        yield [Host("10.77.1.1", enter), *pools]


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]
