"""AnomalyGate: stop the run if ExampleValidator, which only reports, found anomalies."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.types import artifact_utils

from tumbao.components.ingest.paths import as_path


class DataAnomalyError(RuntimeError):
    """The records do not match the schema."""


@tfx.dsl.components.component
def AnomalyGate(  # noqa: N802 - TFX names components so
    anomalies: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ExampleAnomalies],
) -> None:
    """Stop the run if the records differ from the schema.

    Parameters
    ----------
    anomalies : ExampleAnomalies
        Output of ExampleValidator.

    Raises
    ------
    DataAnomalyError
        With split, feature and description of each anomaly.
    """
    lines = []
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        differences = as_path(f"{anomalies.uri}/Split-{split}/SchemaDiff.pb").read_bytes()
        found = anomalies_pb2.Anomalies.FromString(differences)
        if found.data_missing:
            lines.append(f"  {split}: no records")
        lines += [f"  {split}, {feature}: {info.description}" for feature, info in sorted(found.anomaly_info.items())]
    if lines:
        raise DataAnomalyError(
            "The records do not match schema/schema.pbtxt, so no model was trained:\n"
            + "\n".join(lines)
            + "\nCorrect the library (the report lists its songs), or name its genres with --genres."
        )
