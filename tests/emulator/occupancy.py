"""How many blocks a multiprocessor holds at a time: the calculation of cuda_occupancy.h, which a test compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of a multiprocessor (CUDA C++ Programming Guide, technical specifications a compute capability)."""

    warps: int
    blocks: int
    shared: int
    reserved: int  # shared bytes that each block costs beside its own
    granularity: int  # of shared memory


MULTIPROCESSORS = {
    75: Multiprocessor(32, 16, 64 << 10, 0, 256),
    80: Multiprocessor(64, 32, 164 << 10, 1024, 128),
    86: Multiprocessor(48, 16, 100 << 10, 1024, 128),
    89: Multiprocessor(48, 24, 100 << 10, 1024, 128),
    90: Multiprocessor(64, 32, 228 << 10, 1024, 128),
    100: Multiprocessor(64, 32, 228 << 10, 1024, 128),
    120: Multiprocessor(48, 24, 100 << 10, 1024, 128),
}
REGISTERS = 65_536  # of a multiprocessor, in four parts; allocated to a warp 256 at a time
MAX_SHARED = 48 << 10  # of a block that does not ask for more


def blocks_at_once(architecture: int, threads: int, registers: int, shared: int) -> int:
    """Blocks that a multiprocessor holds at a time."""
    sm = MULTIPROCESSORS[architecture]
    warps = -(-threads // 32)
    by_registers = 4 * (REGISTERS // 4 // aligned(32 * max(registers, 1), 256)) // warps
    taken = aligned(shared + sm.reserved, sm.granularity)
    by_shared = sm.shared // taken if taken else sm.blocks
    return min(sm.warps // warps, sm.blocks, by_registers, by_shared)


def occupancy(architecture: int, threads: int, registers: int, shared: int) -> float:
    """Share of a multiprocessor's warps."""
    blocks = blocks_at_once(architecture, threads, registers, shared)
    return blocks * -(-threads // 32) / MULTIPROCESSORS[architecture].warps


def aligned(value: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-value // step) * step
