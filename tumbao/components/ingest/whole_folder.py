"""A folder of files that nobody sees half."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tumbao.components.ingest.places import Address, Place


def write_whole_folder(folder: Place, texts: Mapping[str, str]) -> None:
    """Write files into a folder; one that is there already is left as it is.

    Parameters
    ----------
    folder : Place
        Where to. A bucket has no folders: there, it is whole once its last file is there.
    texts : mapping of str to str
        Name → what stands in the file.
    """
    last = list(texts)[-1]
    if isinstance(folder, Address):
        if not (folder / last).exists():
            for name, text in texts.items():
                (folder / name).write_bytes(text.encode())
        return
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as half_written:
            inner = Path(half_written) / folder.name
            inner.mkdir()
            for name, text in texts.items():
                (inner / name).write_text(text, "utf-8")
            inner.rename(folder)
