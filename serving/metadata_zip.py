"""Labels and parameters inside a .tflite: a zip archive after the model, as TFLite's metadata has its associated files.

The model's own bytes stay in front and as they were, so every runtime loads the file, also mapped into memory, and any
zip tool lists what is embedded.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_SAME_IN_EVERY_RUN = (1980, 1, 1, 0, 0, 0)


def embed(model: bytes, files: Mapping[str, str]) -> bytes:
    """Append files to a model.

    Parameters
    ----------
    model : bytes
        A .tflite.
    files : mapping of str to str
        Name → text.

    Returns
    -------
    model : bytes
        The .tflite that is a zip archive as well; the texts are stored uncompressed.

    Raises
    ------
    ValueError
        If the model holds an archive already.
    """
    file = io.BytesIO(model)
    if zipfile.is_zipfile(file):
        raise ValueError("Expected a model without embedded files. Received: one that is a zip archive already")
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _SAME_IN_EVERY_RUN), text)
    return file.getvalue()
