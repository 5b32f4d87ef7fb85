"""schema.pbtxt, record.py and genres.py agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

import tumbao.schema
from tumbao.components.ingest.library import schema_text
from tumbao.schema import record
from tumbao.schema.genres import GENRES

TYPES = {
    record.IMAGE: schema_pb2.BYTES,
    record.LABEL: schema_pb2.INT,
    record.GENRE: schema_pb2.BYTES,
    record.SONG: schema_pb2.BYTES,
    record.FRAGMENT: schema_pb2.INT,
    record.START_SECONDS: schema_pb2.FLOAT,
    record.PADDED: schema_pb2.INT,
}


def parse(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


@pytest.fixture
def curated() -> schema_pb2.Schema:
    return parse(Path(tumbao.schema.__path__[0], "schema.pbtxt").read_text("utf-8"))


def test_the_schema_has_the_features_of_a_record(curated: schema_pb2.Schema) -> None:
    assert {feature.name: feature.type for feature in curated.feature} == TYPES


def test_other_genres_replace_only_the_domains(curated: schema_pb2.Schema) -> None:
    own = parse(schema_text(["porro", "champeta"]))
    features = {feature.name: feature for feature in own.feature}
    assert features[record.LABEL].int_domain.max == 1
    assert list(own.string_domain[0].value) == ["porro", "champeta"]
    features[record.LABEL].int_domain.max = len(GENRES) - 1
    del own.string_domain[0].value[:]
    own.string_domain[0].value.extend(GENRES)
    assert own == curated
