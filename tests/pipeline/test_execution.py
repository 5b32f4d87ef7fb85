"""What ended a run: a person, or an error."""

from __future__ import annotations

import apache_beam as beam
import pytest

from tumbao.pipeline.execution import _interrupted


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_in_a_beam_worker_is_known_for_what_it_is() -> None:
    with (
        pytest.raises(Exception, match="KeyboardInterrupt") as caught,
        beam.Pipeline(argv=["--runner=FnApiRunner"]) as p,
    ):
        _ = p | beam.Create([1], reshuffle=False) | beam.Map(interrupt)
    assert not isinstance(caught.value, KeyboardInterrupt)
    assert _interrupted(caught.value)


def test_an_error_is_no_interruption() -> None:
    error = RuntimeError("a fault")
    error.__cause__ = ValueError("of its own")
    assert not _interrupted(error)
