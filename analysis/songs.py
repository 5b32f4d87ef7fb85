"""Measuring of all songs of a library, and TensorFlow Data Validation's statistics of the results."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd  # type: ignore[import-untyped]
from google.protobuf import text_format

from tumbao.components.ingest import progress
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.library import Rejected, Song
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count

Measured = TypeVar("Measured")

QUANTILES = 20
"""Buckets of a quantile histogram. With TFDV's default of 10, one outlier stretches a tenth of the values."""


def measure_songs(
    songs: Sequence[Song], measure: Callable[[Song, WorkerPool], Measured]
) -> tuple[list[Measured], list[Rejected]]:
    """Measure songs in parallel; those for which `measure` raises AudioError are rejected."""

    def outcome(song: Song) -> Measured | Rejected:
        try:
            return measure(song, pool)
        except AudioError as error:
            return Rejected(song.song, song.path, error.reason.value, error.message, song.entry)
        finally:
            progress.advance("measure")

    progress.start("measure", len(songs))
    with WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(cpu_count()) as threads:
        outcomes = list(threads.map(outcome, songs))
    rejected = [one for one in outcomes if isinstance(one, Rejected)]
    return [one for one in outcomes if not isinstance(one, Rejected)], rejected


def statistics_of(table: pd.DataFrame) -> Any:
    """Compute a DatasetFeatureStatisticsList in this process; NaN and None are missing values."""
    import tensorflow_data_validation as tfdv  # imports TensorFlow and Beam

    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=QUANTILES)
    return tfdv.generate_statistics_from_dataframe(table, options, n_jobs=1)


def write_statistics(statistics: Any, file: Path) -> None:
    """Write statistics as text; ``tfdv.load_statistics(file)`` reads it."""
    write_whole(file, text_format.MessageToString(statistics).encode())
