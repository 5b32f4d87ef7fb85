"""TensorFlow Data Validation's statistics of tables in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from google.protobuf import text_format

from tumbao.components.ingest.atomic_write import write_whole

QUANTILES = 20
"""Buckets of a quantile histogram. With TFDV's default of 10, one outlier stretches a tenth of the values."""


def statistics_of(table: pd.DataFrame) -> Any:
    """Compute a DatasetFeatureStatisticsList in this process; NaN and None are missing values."""
    import tensorflow_data_validation as tfdv  # imports TensorFlow and Beam

    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=QUANTILES)
    return tfdv.generate_statistics_from_dataframe(table, options, n_jobs=1)


def write_statistics(statistics: Any, file: Path) -> None:
    """Write statistics as text; ``tfdv.load_statistics(file)`` reads it."""
    write_whole(file, text_format.MessageToString(statistics).encode())
