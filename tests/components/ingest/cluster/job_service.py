"""Beam's Python job service with a worker in each pool: job_service.py PORT DISPATCHER_PORT POOL...

Beam's own service starts one worker, whatever the flags, at one address. Here this is the address of a dispatcher,
which starts workers in the pools in turn and skips pools that do not respond.
"""

from __future__ import annotations

import itertools
import logging
import sys
from concurrent import futures
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.portability import local_job_service, local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner

TIMEOUT_SECONDS = 2.0


class Dispatcher(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts workers in several pools."""

    def __init__(self, pools: list[str]) -> None:
        stubs = [beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(pool)) for pool in pools]
        self._turn = itertools.cycle(stubs)
        self._pools = len(pools)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - Beam's name
        for _ in range(self._pools):
            try:
                return next(self._turn).StartWorker(request, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                logging.warning("A pool does not respond: %s", error)
        return context.abort(grpc.StatusCode.UNAVAILABLE, "no pool responds")


def main() -> None:
    job_port, dispatcher_port, *pools = sys.argv[1:]

    class Job(local_job_service.BeamJob):
        def _invoke_runner(self) -> Any:
            self.set_state(local_job_service.beam_job_api_pb2.JobState.RUNNING)
            runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
            runner._num_workers = len(pools)
            return runner.run_via_runner_api(self._pipeline_proto, self.pipeline_options())

    server = grpc.server(futures.ThreadPoolExecutor(1))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(Dispatcher(pools), server)
    server.add_insecure_port(f"localhost:{dispatcher_port}")
    server.start()
    local_job_service.BeamJob = Job
    local_job_service_main.run(["--job_port", job_port])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
