"""The stages of a run (jobs; for the steps of a job): drawn while they run, kept with their promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpuseg.core.promise import Promise
from gpuseg.jobs.manifest import Stage
from gpuseg.jobs.progress import Progress
from gpuseg.jobs.progress import Stage as RunningStage


class Stages:
    """A reporter of progress that also remembers how far "one answer" reaches.

    Parameters
    ----------
    progress : Progress
        Draws the stages; one that has reported other runs may be used again.

    Examples
    --------
    >>> from gpuseg.jobs.progress import SilentProgress
    >>> stages = Stages(SilentProgress())
    >>> with stages.stage("read transactions") as stage:
    ...     stage.add_rows(3)
    >>> [(stage.name, stage.promise.value, stage.rows) for stage in stages.ended]
    [('read transactions', 'exact', 3)]
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ended: list[Stage] = []

    @property
    def ended(self) -> tuple[Stage, ...]:
        """The stages that ended well, in order."""
        return tuple(self._ended)

    @contextmanager
    def stage(self, name: str, promise: Promise = Promise.EXACT) -> Iterator[RunningStage]:
        """Open a stage; it is kept when the block ends well."""
        with self._progress.stage(name) as running:
            yield running
        record = self._progress.records[-1]
        self._ended.append(Stage(record.name, promise, record.rows, record.seconds))
