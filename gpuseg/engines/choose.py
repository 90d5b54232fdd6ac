"""Which engine runs (engines): ``auto``, ``cpu`` or ``cuda``, and the sentence that says why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

from gpuseg.engines.base import Engine
from gpuseg.errors import EngineUnavailableError, InputError

logger = logging.getLogger("gpuseg.engines")

ENGINES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, as it travels to workers, and why it was taken.

    Parameters
    ----------
    name : str
        "cpu" (this release has no other engine).
    reason : str
        One sentence.
    n_jobs : int or None
        Threads of the CPU engine; None for all that are allowed.
    """

    name: str
    reason: str
    n_jobs: int | None = None

    def build(self) -> Engine:
        """The engine itself; it holds no data, so building it is cheap."""
        from gpuseg.engines.cpu import CpuEngine  # numba is slow to import

        return CpuEngine(self.n_jobs)


def choose_engine(name: str = "auto", n_jobs: int | None = None) -> EngineChoice:
    """Resolve an ``engine=`` parameter.

    Raises
    ------
    InputError
        If the name is unknown or ``n_jobs`` is 0.
    EngineUnavailableError
        For "cuda": the CUDA engine is not part of this release.
    """
    if name not in ENGINES:
        msg = f"engine={name!r} is not known; use one of {', '.join(map(repr, ENGINES))}"
        raise InputError(msg)
    if n_jobs == 0:
        msg = "n_jobs=0 has no meaning; use a positive number, -1 for all CPUs, or None"
        raise InputError(msg)
    if name == "cuda":
        msg = (
            "engine='cuda' is not available: this release runs on the CPU engine; use engine='auto' or 'cpu'"
        )
        raise EngineUnavailableError(msg)
    if name == "cpu":
        return EngineChoice("cpu", "asked for", n_jobs)
    reason = "this release has no CUDA engine"
    _say_once(reason)
    return EngineChoice("cpu", reason, n_jobs)


@cache
def _say_once(reason: str) -> None:
    logger.info("engine='auto' takes the CPU engine: %s", reason)
