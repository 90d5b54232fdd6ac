"""Which engine runs (engines): ``auto``, ``cpu`` or ``cuda``, and the sentence that says why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from gpuseg.engines.base import Engine
from gpuseg.errors import EngineUnavailableError, InputError

logger = logging.getLogger("gpuseg.engines")

ENGINES = ("auto", "cpu", "cuda")
PREFERRED = "cuda"
"""What ``auto`` takes where it can run."""

OR_CPU = "or use engine='cpu', which gives the same answer"
"""The last remedy of every refusal."""


@dataclass(frozen=True)
class EngineKind:
    """How a process makes an engine.

    Parameters
    ----------
    build : callable
        The engine for a number of threads.
    unavailable : callable
        One sentence, reason and remedy, why it cannot run in this process; None where it can.
    resource : str
        Dask resource that its tasks ask for where workers have it; "" for none.
    """

    build: Callable[[int | None], Engine]
    unavailable: Callable[[], str | None]
    resource: str = ""


def register_engine(name: str, kind: EngineKind) -> None:
    """Make an engine known in this process by a name of its own; workers have to be told as well."""
    _KINDS[name] = kind


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, as it travels to workers, and why it was taken.

    Parameters
    ----------
    name : str
        "cpu" or "cuda".
    reason : str
        One sentence.
    n_jobs : int or None
        Threads of the CPU engine; None for all that are allowed.
    required : bool
        Whether it was asked for by name. Otherwise a process where it cannot run takes the CPU engine: the answer is
        the same.
    resource : str
        Dask resource that its tasks ask for, because workers offer it; "" for none.
    """

    name: str
    reason: str
    n_jobs: int | None = None
    required: bool = True
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"

    def here(self) -> EngineChoice:
        """What it comes to in this process: itself, or the CPU engine and why.

        Raises
        ------
        EngineUnavailableError
            If it was asked for by name and cannot run here.
        """
        reason = _unavailable(self.name)
        if reason is None:
            return self
        if self.required:
            raise _refusal(self.name, reason)
        return EngineChoice("cpu", reason, self.n_jobs)

    def on_driver(self) -> EngineChoice:
        """The same for work that the driver does itself for its workers: it need not have what they have."""
        return replace(self, required=False, resource="")

    def build(self) -> Engine:
        """The engine itself, in whatever process this is; it holds no data, so building it is cheap.

        Raises
        ------
        EngineUnavailableError
            If it was asked for by name and cannot run here.
        """
        found = self.here()
        if found is not self:
            say_once(f"the CPU engine stands in for {self.name!r} here: {found.reason}")
        return _KINDS[found.name].build(self.n_jobs)


def check_engine(name: str, n_jobs: int | None = None) -> None:
    """Refuse an ``engine=`` or ``n_jobs=`` that has no meaning anywhere.

    Raises
    ------
    InputError
        If the name is unknown or ``n_jobs`` is 0.
    """
    if name not in ENGINES and name not in _KINDS:
        msg = f"engine={name!r} is not known; use one of {', '.join(map(repr, ENGINES))}"
        raise InputError(msg)
    if n_jobs == 0:
        msg = "n_jobs=0 has no meaning; use a positive number, -1 for all CPUs, or None"
        raise InputError(msg)


def choose_engine(name: str = "auto", n_jobs: int | None = None) -> EngineChoice:
    """Resolve an ``engine=`` parameter for work of this process (:mod:`gpuseg.graph.placing` does it for workers).

    Parameters
    ----------
    name : str
        As :func:`check_engine` allows it.
    n_jobs : int, optional
        Threads of the CPU engine.

    Raises
    ------
    InputError
        If the name is unknown or ``n_jobs`` is 0.
    EngineUnavailableError
        For "cuda" where it cannot run: the message has the reason and the remedy.
    """
    check_engine(name, n_jobs)
    if name != "auto":
        return EngineChoice(name, "asked for", n_jobs).here()
    reason = _unavailable(PREFERRED)
    if reason is None:
        return EngineChoice(PREFERRED, "a device is here", n_jobs, required=False)
    say_once(f"engine='auto' takes the CPU engine: {reason}")
    return EngineChoice("cpu", reason, n_jobs)


def resource_of(name: str) -> str:
    """Dask resource that the tasks of an engine ask for where workers offer it; "" for none.

    Parameters
    ----------
    name : str
        As :func:`check_engine` allows it; "auto" stands for what it prefers.
    """
    return _KINDS[PREFERRED if name == "auto" else name].resource


@cache
def say_once(message: str) -> None:
    """Log a message, once a process."""
    logger.info(message)


def _cpu(n_jobs: int | None) -> Engine:
    from gpuseg.engines.cpu.engine import CpuEngine  # numba is slow to import

    return CpuEngine(n_jobs)


def _cuda(n_jobs: int | None) -> Engine:
    from gpuseg.engines.cuda import cuda_engine

    del n_jobs  # of the CPU engine
    return cuda_engine()


def _no_cuda() -> str | None:
    from gpuseg.engines.cuda import unavailable

    return unavailable()


_KINDS = {
    "cpu": EngineKind(_cpu, lambda: None),
    "cuda": EngineKind(_cuda, _no_cuda, resource="GPU"),
}


def _unavailable(name: str) -> str | None:
    kind = _KINDS.get(name)
    return f"no engine {name!r} is known in this process" if kind is None else kind.unavailable()


def _refusal(name: str, reason: str) -> EngineUnavailableError:
    return EngineUnavailableError(f"engine={name!r} cannot run here: {reason}; {OR_CPU}")
