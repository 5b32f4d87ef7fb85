"""Where drawn songs are kept in a workspace."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from tumbao.pipeline.source import source_digest
from tumbao.schema.mel_spec import MelSpec


def song_cache(workspace: str, spec: MelSpec) -> str:
    """Name the folder where what is drawn of each song is kept.

    Parameters
    ----------
    workspace : str
        The workspace.
    spec : MelSpec
        How songs are drawn.

    Returns
    -------
    folder : str
        In the workspace: in a folder for the present code, one for each `MelSpec`.
    """
    code = source_digest("tumbao.components.ingest.transform")
    settled = json.dumps(dataclasses.asdict(spec))
    return f"{workspace}/songs/{code}/{hashlib.sha256(settled.encode()).hexdigest()[:16]}"
