"""AudioExampleGen: the TFX component that turns songs into records."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tumbao.components.ingest.executor import Executor


class RejectedSongs(types.Artifact):
    """`rejected.jsonl`: entry, song, path, reason and detail of every file that was not used."""

    TYPE_NAME = "tumbao.RejectedSongs"


class IngestedSongs(types.Artifact):
    """`ingested.jsonl`: one line for each song that is used, as `transform.IngestSongs` describes it."""

    TYPE_NAME = "tumbao.IngestedSongs"


class AudioExampleGenSpec(component_spec.ComponentSpec):
    """Interface of `AudioExampleGen`."""

    PARAMETERS = {  # noqa: RUF012 - TFX reads the class attribute
        "manifests": component_spec.ExecutionParameter(type=str),
        "mel_spec": component_spec.ExecutionParameter(type=str),
        "cache": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}  # noqa: RUF012 - TFX reads the class attribute
    OUTPUTS = {  # noqa: RUF012 - TFX reads the class attribute
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "rejected": component_spec.ChannelParameter(type=RejectedSongs),
        "ingested": component_spec.ChannelParameter(type=IngestedSongs),
    }


class AudioExampleGen(base_beam_component.BaseBeamComponent):
    """Decode songs, cut fragments, render mel images and write GZIP TFRecords in the splits train, val and test.

    Parameters
    ----------
    manifests : str
        Folder of `library.write_manifests`. Its name is the digest of its content, so TFX runs the component
        again exactly if a song, its genre, its bytes or its split changed.
    mel_spec : str
        The front-end's parameters, `MelSpec` as JSON.
    cache : str
        Folder of rendered songs, see `song_cache`; runs and workers may share it.
    code : str
        Hash of the source code that ingest depends on: the records are written again if the code changes.

    Examples
    --------
    >>> songs = AudioExampleGen(manifests="catalogs/0a1b", mel_spec="{}", cache="songs", code="")
    >>> songs.outputs["examples"].type_name
    'Examples'
    """

    SPEC_CLASS = AudioExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, manifests: str, mel_spec: str, cache: str, code: str) -> None:
        spec = AudioExampleGenSpec(
            manifests=manifests,
            mel_spec=mel_spec,
            cache=cache,
            code=code,
            examples=types.Channel(type=standard_artifacts.Examples),
            rejected=types.Channel(type=RejectedSongs),
            ingested=types.Channel(type=IngestedSongs),
        )
        super().__init__(spec=spec)
