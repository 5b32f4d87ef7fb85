"""TensorFlow Data Validation's statistics of tables in memory, as files and in TFDV's own view.

Functions import TFDV when they need it, because it imports TensorFlow and Beam.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from google.protobuf import text_format

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.serving.page import template, write_page

QUANTILES = 20
"""Buckets of a quantile histogram. With TFDV's default of 10, one outlier stretches a tenth of the values."""

VIEW_NEEDS = "cdnjs.cloudflare.com and raw.githubusercontent.com"
"""Hosts from which TFDV's view loads Facets when it is opened."""


def statistics_of(table: pd.DataFrame) -> Any:
    """Compute statistics in this process, without a Beam pipeline; NaN and None are missing values.

    Returns a DatasetFeatureStatisticsList with one dataset.
    """
    import tensorflow_data_validation as tfdv

    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=QUANTILES)
    return tfdv.generate_statistics_from_dataframe(table, options, n_jobs=1)


def write_statistics(statistics: Any, file: Path) -> None:
    """Write statistics as text; ``tfdv.load_statistics(file)`` reads it."""
    write_whole(file, text_format.MessageToString(statistics).encode())


def write_view(statistics: Any, file: Path, title: str) -> None:
    """Write TFDV's own view of statistics, a page that loads Facets, which plots them, from the web."""
    from tensorflow_data_validation.utils import display_util

    page = template(Path(__file__).parent, "tfdv_view.html.j2")
    view = display_util.get_statistics_html(statistics, lhs_name=title)
    write_page(file, page.render(title=title, view=view, needs=VIEW_NEEDS, beside=f"{file.stem}.pbtxt"))
