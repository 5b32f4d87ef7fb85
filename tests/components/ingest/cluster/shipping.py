"""The package built by Beam's stager from `--setup_file` and installed as on a worker."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager

ROOT = Path(__file__).parents[4]


@dataclasses.dataclass(frozen=True)
class Shipment:
    source: Path
    """A copy of the repository's package, so that building it leaves no files in the repository."""
    staged: list[str]
    """Names of the files that are staged for workers."""
    installed: Path
    """Folder for PYTHONPATH."""

    @property
    def flag(self) -> str:
        return f"--setup_file={self.source / 'setup.py'}"


def ship(folder: Path) -> Shipment:
    source, built, installed = folder / "source", folder / "built", folder / "installed"
    built.mkdir(parents=True)
    shutil.copytree(ROOT / "tumbao", source / "tumbao", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    shipment = Shipment(source, [], installed)
    artifacts = Stager.create_job_resources(
        PipelineOptions([shipment.flag]), str(built), log_submission_env_dependencies=False
    )
    for artifact in artifacts:
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
        shipment.staged.append(role.staged_name)
    (archive,) = built.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, f"--target={installed}", str(archive)], check=True, timeout=120)
    return shipment
