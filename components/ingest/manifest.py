"""Read the tables that `library.write_manifests` writes, and JSON Lines; imports no TFX, as workers read them too."""

from __future__ import annotations

import json
from typing import Any

from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.tables import read_csv, read_json_line

Row = dict[str, str]
"""Column → cell; for the columns of a manifest see `library.MANIFEST_COLUMNS`."""


def table_rows(table: str) -> list[Row]:
    """Read a CSV from a path or an address."""
    return read_csv(as_path(table).read_bytes().decode())


def json_lines(file: str) -> list[dict[str, Any]]:
    """Read JSON Lines from a path or an address."""
    return [read_json_line(line) for line in as_path(file).read_bytes().split(b"\n") if line]


def split_rows(split: str, manifests: str) -> list[Row]:
    """Read a split's manifest and add the column `split`."""
    return [{**row, "split": split} for row in table_rows(f"{manifests}/{split}.csv")]


def rejected_lines(table: str) -> list[str]:
    """Read the rows of `rejected.csv` as lines of JSON, with `entry` as a number."""
    return [json.dumps({**row, "entry": int(row["entry"])}) for row in table_rows(table)]
