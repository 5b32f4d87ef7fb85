"""Rows of the tables that `catalog.write_manifests` writes, and JSON Lines; no TFX, as workers read them too."""

from __future__ import annotations

import json
from typing import Any

from tumbao.components.ingest.paths import place
from tumbao.components.ingest.tables import read_csv, read_json_line

Row = dict[str, str]
"""Column → cell; of a manifest see `catalog.MANIFEST_COLUMNS`."""


def table_rows(table: str) -> list[Row]:
    """Read a table.

    Parameters
    ----------
    table : str
        A path or an address.

    Returns
    -------
    rows : list of Row
        In their order.
    """
    return read_csv(place(table).read_bytes().decode())


def json_lines(file: str) -> list[dict[str, Any]]:
    """Read JSON Lines.

    Parameters
    ----------
    file : str
        A path or an address.

    Returns
    -------
    values : list of dict
        In their order.
    """
    return [read_json_line(line) for line in place(file).read_bytes().split(b"\n") if line]


def split_rows(split: str, manifests: str) -> list[Row]:
    """Read a split's manifest.

    Parameters
    ----------
    split : str
        One of `record.SPLITS`.
    manifests : str
        Folder of the manifests.

    Returns
    -------
    rows : list of Row
        With the split under `split`.
    """
    return [{**row, "split": split} for row in table_rows(f"{manifests}/{split}.csv")]


def rejected_lines(table: str) -> list[str]:
    """Read what was rejected at first sight.

    Parameters
    ----------
    table : str
        A `rejected.csv`.

    Returns
    -------
    lines : list of str
        Each row as JSON, its `entry` as a number.
    """
    return [json.dumps({**row, "entry": int(row["entry"])}) for row in table_rows(table)]
