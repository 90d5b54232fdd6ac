"""Other runs of the same job (jobs; for erase): what lies beside a run and may hold the same customers."""

from __future__ import annotations

from pathlib import Path

from gpuseg.errors import OutputError, SourceError
from gpuseg.jobs.kept.runs import MANIFEST, Run, left_behind, locked, open_run


def sibling_runs(run: Run) -> tuple[tuple[Run, ...], dict[Path, str]]:
    """Other runs of a run's job in the same folder, and folders of which nobody can say, with the reason.

    Parameters
    ----------
    run : Run
        The one. What rewrites that were cut off left beside the others is taken away.

    Returns
    -------
    runs : tuple of Run
        By path.
    unknown : dict of Path to str
        Runs that cannot be opened, or only when another command is done with them.
    """
    found: dict[Path, Run] = {}
    unknown: dict[Path, str] = {}
    for path in sorted(run.path.parent.iterdir()):
        if path.name.startswith(".") or not (path / MANIFEST).exists():
            continue
        try:
            other = open_run(path)
            if other.path != run.path and other.manifest.get("job") == run.manifest.get("job"):
                found[other.path] = _alone(other)
        except (SourceError, OutputError) as error:
            unknown[path] = str(error)
    return tuple(found.values()), unknown


def _alone(run: Run) -> Run:
    """A run without what a rewrite that was cut off left beside it."""
    if not left_behind(run.path):
        return run
    with locked(run.path) as now:
        return now
