"""Labels and parameters embedded in a .tflite file, as a zip archive after the model.

TFLite's metadata stores its associated files in the same way. The model's bytes at the beginning are unchanged, so
every runtime can load the file, also mapped into memory, and any zip tool can list the embedded files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_SAME_IN_EVERY_RUN = (1980, 1, 1, 0, 0, 0)


def embed(model: bytes, files: Mapping[str, str]) -> bytes:
    """Append text files, by name, to a .tflite model, uncompressed.

    Raises `ValueError` if the model already contains an archive.
    """
    file = io.BytesIO(model)
    if zipfile.is_zipfile(file):
        raise ValueError("Expected a model without embedded files. Received: one that is a zip archive already")
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _SAME_IN_EVERY_RUN), text)
    return file.getvalue()
