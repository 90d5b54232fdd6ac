"""What a run says about itself (jobs; for the steps of a job): ``manifest.json``, the last file of a result folder.

Its presence means that the folder is whole. It names the input by fingerprint, states every parameter, how far "one
answer" reaches for each stage, and the digest of every other file.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import metadata
from typing import Any

from gpuseg import __version__
from gpuseg.core.promise import CONTRACT, Promise, weakest
from gpuseg.jobs.output import OutputFile

FORMAT = 1
"""Version of the manifest's own layout; raised when a field changes its meaning or goes."""

_LIBRARIES = (
    "dask",
    "distributed",
    "jinja2",
    "llvmlite",
    "narwhals",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "tzdata",
    "xlsxwriter",
)


@dataclass(frozen=True)
class Stage:
    """One stage of the run: its promise, the rows it counted and the seconds it took."""

    name: str
    promise: Promise
    rows: int
    seconds: float


@dataclass(frozen=True)
class Manifest:
    """All that is known of a run.

    Parameters
    ----------
    job : str
        Name of the job.
    started : datetime
        When the run began, in UTC.
    input : mapping
        Where the records came from and the fingerprint of their contents.
    parameters : mapping
        Every choice that shapes the answer, the seed included.
    engine, placement : str
        Who computed and why, and where.
    counts : mapping
        Rows read, left out by reason, noted by kind; customers; segments.
    stages : sequence of Stage
        In the order in which they ran.
    files : sequence of OutputFile
        Every other file of the folder.
    findings : sequence of str
        What the run found, in plain words.
    run_id : str
        What its tables call it: the same records, choices and version have the same id.
    """

    job: str
    started: datetime
    input: Mapping[str, Any]
    parameters: Mapping[str, Any]
    engine: str
    placement: str
    counts: Mapping[str, Any]
    stages: Sequence[Stage]
    files: Sequence[OutputFile]
    findings: Sequence[str]
    run_id: str = ""

    def to_json(self) -> str:
        """The manifest as JSON text: strict (no NaN), keys in a stated order."""
        stages = [
            {
                "name": stage.name,
                "promise": stage.promise.value,
                "rows": stage.rows,
                "seconds": round(stage.seconds, 3),
            }
            for stage in self.stages
        ]
        record = {
            "format": FORMAT,
            "gpuseg": __version__,
            "contract": CONTRACT,
            "promise": weakest(stage.promise for stage in self.stages).value,
            "job": self.job,
            "run_id": self.run_id,
            "started": f"{self.started:%Y-%m-%dT%H:%M:%SZ}",
            "findings": list(self.findings),
            "input": dict(self.input),
            "parameters": dict(self.parameters),
            "engine": self.engine,
            "placement": self.placement,
            "counts": dict(self.counts),
            "stages": stages,
            "platform": {
                "python": platform.python_version(),
                "system": platform.system(),
                "machine": platform.machine(),
            },
            "libraries": {name: _version(name) for name in _LIBRARIES},
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
