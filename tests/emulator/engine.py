"""The engine ``"emulated"``: the whole device engine over the emulator, registered by tests, never by gpuseg.

Worker processes register it themselves: ``client.run(register)`` (they find this module when ``tests`` is on their
path), or ``forget`` it again.
"""

from __future__ import annotations

from functools import cache

from gpuseg.engines import choose
from gpuseg.engines.choose import EngineKind, register_engine
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.engine import DeviceEngine
from tests.emulator.build import unavailable
from tests.emulator.device import EmulatedDevice

NAME = "emulated"
_CUDA = choose._KINDS["cuda"]
TILE_BYTES = 4096
"""Small, so that a few dozen rows are several tiles."""

built: list[str] = []
"""Engines that this process built, by class."""


def emulated(n_jobs: int | None) -> DeviceEngine:
    """The process's device engine, as there is one over CuPy."""
    del n_jobs
    built.append("DeviceEngine")
    return _engine()


@cache
def _engine() -> DeviceEngine:
    return DeviceEngine(EmulatedDevice(), name=NAME, tile_bytes=TILE_BYTES)


def plain(n_jobs: int | None) -> CpuEngine:
    """The CPU engine under the emulated one's name: what a mixture of workers is made of."""
    built.append("CpuEngine")
    return CpuEngine(n_jobs)


def register(*, on_cpu: bool = False, name: str = NAME) -> None:
    """Make ``engine="emulated"`` known in this process, or let it be what another name stands for."""
    built.clear()
    register_engine(name, EngineKind(plain if on_cpu else emulated, unavailable, resource="GPU"))


def what_was_built(*, forget: bool = False) -> set[str]:
    """Classes of the engines that this process built since it was registered, or last asked to forget them."""
    found = set(built)
    if forget:
        built.clear()
    return found


def restore_cuda() -> None:
    """Let "cuda" stand for CUDA again."""
    register_engine("cuda", _CUDA)


def forget() -> None:
    """Unmake it."""
    choose._KINDS.pop(NAME, None)
