"""The data gate ends a run with the anomalies of TensorFlow Data Validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder  # type: ignore[import-untyped]

from tumbao.components.anomaly_gate import AnomalyGate, DataAnomalyError
from tumbao.components.ingest.library import schema_text
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.schema import record
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

Gate = Callable[[dict[str, anomalies_pb2.Anomalies]], None]
FLOOR = to_png(np.zeros((300, 300), np.int32), palette(MelSpec()))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Run the gate on anomalies by split, laid out as ExampleValidator does."""

    def run(anomalies: dict[str, anomalies_pb2.Anomalies]) -> None:
        artifact = standard_artifacts.ExampleAnomalies()
        artifact.uri = str(tmp_path)
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        for split in SPLITS:
            (tmp_path / f"Split-{split}").mkdir()
            found = anomalies.get(split, anomalies_pb2.Anomalies())
            (tmp_path / f"Split-{split}" / "SchemaDiff.pb").write_bytes(found.SerializeToString())
        AnomalyGate.test_call(anomalies=artifact)

    return run


def records(**changes: Any) -> list[tf.train.Example]:
    """Two valid records of each genre, the first one with changes."""
    made: list[dict[str, Any]] = [
        {"label": label, "genre": genre, "song": f"{genre}/a.mp3", "fragment": index, "start_seconds": 30.0 * index}
        for label, genre in enumerate(GENRES)
        for index in range(2)
    ]
    made[0] |= changes
    return [to_example(FLOOR, padded=False, **features) for features in made]


def validate(examples: Sequence[tf.train.Example], genres: Sequence[str] = GENRES) -> anomalies_pb2.Anomalies:
    """Validate records as StatisticsGen and ExampleValidator do."""
    schema = text_format.Parse(schema_text(genres), schema_pb2.Schema())
    batch = ExamplesToRecordBatchDecoder().DecodeBatch([example.SerializeToString() for example in examples])
    statistics = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions(schema=schema))
    return tfdv.validate_statistics(statistics, schema)


def test_records_of_ingest_have_no_anomalies(gate: Gate) -> None:
    gate(dict.fromkeys(SPLITS, validate(records())))


def test_the_message_names_split_feature_and_what_is_wrong(gate: Gate) -> None:
    found = anomalies_pb2.Anomalies()
    found.anomaly_info["genre"].description = "Examples contain values missing from the schema: rock (~20%)."
    found.anomaly_info["label"].description = "Unexpectedly large value: 5."
    with pytest.raises(DataAnomalyError) as caught:
        gate({"val": found})
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  val, genre: Examples contain values missing from the schema: rock (~20%).",
        "  val, label: Unexpectedly large value: 5.",
    ]
    assert "no model was trained" in lines[0]
    assert "--genres" in lines[-1]


def lose_song(examples: list[tf.train.Example]) -> None:
    del examples[0].features.feature[record.SONG]


def add_lyrics(examples: list[tf.train.Example]) -> None:
    for example in examples:
        example.features.feature["lyrics"].bytes_list.value.append(b"salsa")


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"genre": "rock"}, record.GENRE),
        ({"label": 5}, record.LABEL),
        ({"start_seconds": -0.5}, record.START_SECONDS),
        (lose_song, record.SONG),
        (add_lyrics, "lyrics"),
    ],
)
def test_a_difference_from_the_schema_ends_the_run(gate: Gate, change: Any, feature: str) -> None:
    examples = records(**change) if isinstance(change, dict) else records()
    if callable(change):
        change(examples)
    with pytest.raises(DataAnomalyError, match=rf"\n  test, {feature}: .+\n"):
        gate({"test": validate(examples)})


def test_own_genres_have_their_own_schema(gate: Gate) -> None:
    with pytest.raises(DataAnomalyError, match=r"train, genre: .*vallenato"):
        gate({"train": validate(records(), genres=GENRES[:-1])})


def test_a_split_without_records_ends_the_run(gate: Gate) -> None:
    with pytest.raises(DataAnomalyError, match="val: no records"):
        gate({"val": validate([])})
