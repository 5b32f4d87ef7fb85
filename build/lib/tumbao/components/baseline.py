"""Which model a new one is compared with."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx import v1 as tfx

CANDIDATE = "candidate"
"""Input of the resolver: the model that is about to be evaluated."""


class LatestOtherBlessedModel(tfx.dsl.experimental.LatestBlessedModelStrategy):
    """Resolve the latest blessed model that is not the candidate itself.

    With TFX's own strategy a second, identical run would find its own model as a new baseline, evaluate it again and
    push it again.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolve.

        Parameters
        ----------
        store : MetadataStore
            The metadata.
        input_dict : dict
            Models and blessings as for TFX's own strategy, and the candidate under `CANDIDATE`.

        Returns
        -------
        resolved : dict or None
            The latest blessed model and its blessing, or nothing where there is none.
        """
        others = dict(input_dict)
        candidates = {artifact.id for artifact in others.pop(CANDIDATE)}
        others = {key: [one for one in artifacts if one.id not in candidates] for key, artifacts in others.items()}
        resolved = super().resolve_artifacts(store, others)
        return {**resolved, CANDIDATE: []} if resolved is not None else None
