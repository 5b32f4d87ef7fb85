"""The curated schema for TensorFlow Data Validation, with the run's own genres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tumbao.schema import record

_CURATED = Path(__file__).with_name("schema.pbtxt")


def schema_text(genres: Sequence[str]) -> str:
    """Return `schema.pbtxt` as text, with the domains of label and genre set to the run's genres."""
    schema = text_format.Parse(_CURATED.read_text("utf-8"), schema_pb2.Schema())
    for feature in schema.feature:
        if feature.name == record.LABEL:
            feature.int_domain.max = len(genres) - 1
    for domain in schema.string_domain:
        if domain.name == record.GENRE:
            del domain.value[:]
            domain.value.extend(genres)
    return text_format.MessageToString(schema)
