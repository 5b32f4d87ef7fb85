"""Selection of the head that `--resume` starts from: the newest one that was trained on the same songs and split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_metadata.proto import metadata_store_pb2

from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.tables import split_rows
from tumbao.pipeline.resolve import Resolved
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.fit import HEAD_FILE
from tumbao.trainer.training import Training


def head_to_resume(store: Any, resolved: Resolved) -> str:
    """Return the newest head trained on the songs of this run, with its split, genres, seed and model.

    Any other head may have been trained on songs that are in the test split now. If there is no such head, a
    `UserError` describes how the newest one differs.
    """
    live = metadata_store_pb2.Artifact.LIVE
    heads = [artifact for artifact in store.get_artifacts_by_type("ModelRun") if artifact.state == live]
    if not heads:
        raise UserError(
            "Expected an earlier run to resume from. Received: a workspace without one; leave --resume out."
        )
    differences = []
    for head in sorted(heads, key=lambda artifact: artifact.id, reverse=True):
        differences.append(_differences(store, head, resolved))
        if not differences[-1]:
            return f"{head.uri}/{HEAD_FILE}"
    raise UserError(
        "Expected an earlier run with the same songs, split, genres, seed and model to resume from: another head may "
        f"have learned from songs that are test songs now. Received: the newest one {', and '.join(differences[0])}. "
        "Leave --resume out to train anew, or run with the data and settings of that run."
    )


def _differences(store: Any, head: Any, resolved: Resolved) -> list[str]:
    """List how the training of a head, or of the head that it was resumed from, differs from this run."""
    executions = _made_by(store, [head.id])
    trainers = [one for one in executions if "custom_config" in one.custom_properties]
    if not trainers:
        return ["does not tell how it was trained"]
    former = json.loads(trainers[-1].custom_properties["custom_config"].string_value)
    if _was_tuned(store, trainers[-1]):
        return ["was trained with the settings that a search (--tune) had found"]
    found = [*_other_settings(former, resolved), *_other_songs(_manifests(store, executions), resolved.manifests)]
    if found or not former.get("resume"):
        return found
    before = store.get_artifacts_by_uri(former["resume"].removesuffix(f"/{HEAD_FILE}"))
    if not before:
        return ["went on from a head that is not known any more"]
    return [f"went on from a head that {one}" for other in before for one in _differences(store, other, resolved)]


def _was_tuned(store: Any, trainer: Any) -> bool:
    events = store.get_events_by_execution_ids([trainer.id])
    return any(step.key == "hyperparameters" for event in events for step in event.path.steps)


def _other_settings(former: Mapping[str, Any], resolved: Resolved) -> Iterator[str]:
    if former["model"] != resolved.config.model.name:
        yield f"is of the model {former['model']}, not {resolved.config.model.name}"
    if former["genres"] != list(resolved.genres):
        yield f"knows the genres {', '.join(former['genres'])}, not {', '.join(resolved.genres)}"
    training, current = Training(**former["training"]), resolved.config.head
    if training.seed != current.seed:
        yield f"had the seed {training.seed}, not {current.seed}"
    if training.units != current.units:
        yield f"has dense layers of {training.units}, not {current.units}"
    if bool(training.fine_tune) != bool(current.fine_tune):
        yield f"was trained {'with' if training.fine_tune else 'without'} --fine-tune"
    if MelSpec(**former["mel_spec"]) != resolved.mel_spec:
        yield "was trained on images that are drawn in another way"
    if former["weights"] != resolved.weights_file:
        yield "was trained on features of other weights"


def _made_by(store: Any, artifacts: list[int]) -> list[Any]:
    events = store.get_events_by_artifact_ids(artifacts) if artifacts else []
    made = sorted({event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT})
    return list(store.get_executions_by_id(made)) if made else []


def _manifests(store: Any, executions: list[Any]) -> set[str]:
    """Find the manifests that executions, or those upstream of them, read."""
    found: set[str] = set()
    while executions:
        found |= {
            one.custom_properties["manifests"].string_value
            for one in executions
            if "manifests" in one.custom_properties
        }
        events = store.get_events_by_execution_ids([one.id for one in executions])
        executions = _made_by(
            store, sorted({event.artifact_id for event in events if event.type == metadata_store_pb2.Event.INPUT})
        )
    return found


def _other_songs(former: set[str], now: str) -> Iterator[str]:
    """Compare songs, labels and splits of earlier manifests with those of this run."""
    if len(former) != 1:
        yield "does not tell which songs it was trained on"
        return
    (folder,) = former
    if folder == now:
        return
    if not as_path(f"{folder}/{SPLITS[0]}.csv").exists():
        yield f"was trained on songs whose list is gone ({folder})"
        return
    before, after = _sides(folder), _sides(now)
    if before == after:
        return
    learned = {song for song, split in before if split != "test"}
    leaked = len({song for song, split in after if split == "test"} & learned)
    songs, others = ({song for song, _ in sides} for sides in (before, after))
    counts = f"{len(others - songs)} songs are new and {len(songs - others)} are gone"
    yield (
        f"was trained on another library or split: {counts if songs != others else 'the songs are divided otherwise'}; "
        f"{leaked} of the test songs now were in its training or validation split"
    )


def _sides(manifests: str) -> set[tuple[tuple[str, ...], str]]:
    """Return the songs or parts of songs of manifests, with genre and split."""
    return {
        (tuple(row[column] for column in ("sha256", "start", "end", "genre", "fragments")), split)
        for split in SPLITS
        for row in split_rows(split, manifests)
    }
