"""The engine ``"emulated"``: the whole device engine over the emulator, registered by tests, never by gpuseg.

Worker processes register it themselves: ``client.run(register)`` (they find this module when ``tests`` is on their
path), or ``forget`` it again.
"""

from __future__ import annotations

from gpuseg.engines import choose
from gpuseg.engines.choose import EngineKind, register_engine
from gpuseg.engines.device import DeviceEngine
from tests.emulator.build import unavailable
from tests.emulator.device import EmulatedDevice

NAME = "emulated"
TILE_BYTES = 4096
"""Small, so that a few dozen rows are several tiles."""


def engine(n_jobs: int | None = None, **options) -> DeviceEngine:
    """A device engine over an emulator of its own."""
    del n_jobs
    return DeviceEngine(EmulatedDevice(**options), name=NAME, tile_bytes=TILE_BYTES)


def register() -> None:
    """Make ``engine="emulated"`` known in this process."""
    register_engine(NAME, EngineKind(engine, unavailable, resource="GPU"))


def forget() -> None:
    """Unmake it."""
    choose._KINDS.pop(NAME, None)
