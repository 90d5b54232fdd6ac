"""Instruction mix of a kernel's hot loop, from the machine code that a compiler makes of it.

The hot loop is the innermost loop with the most float32 arithmetic, or without any the one with the most accesses to
memory. Where a kernel goes by template arguments, each instantiation has its own. A compare-and-swap anywhere in a
kernel is a fault: it is what a 64-bit or float atomic on shared memory becomes, and it spins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.emulator import compilers
from tests.emulator.compilers import Compiler
from tests.emulator.sass import Instruction, disassembled, disassembler, loops
from tests.emulator.usage import name_of

ARCHITECTURES = (80, 90)
FLOAT32 = {"FFMA", "FADD", "FMUL"}
FLOAT64 = {"DFMA", "DADD", "DMUL"}
CONVERSIONS = {"F2F", "F2I", "I2F", "I2FP", "F2FP", "FRND", "I2I"}
LOADS = {"LDS", "LDG", "LD"}
MEMORY = LOADS | {"ATOMS", "ATOM", "ATOMG", "RED", "REDG", "STS", "STG", "ST"}


@dataclass(frozen=True)
class Mix:
    """Of one kernel for one architecture.

    Shares are of the instructions of the hot loop; ``loads`` counts its loads by kind and bits, such as "LDS.128";
    ``swaps`` are the compare-and-swaps of the whole kernel.
    """

    file: str
    architecture: int
    symbol: str
    instructions: int
    ffma: float
    float32: float
    float64: float
    conversions: int
    loads: dict[str, int]
    swaps: tuple[str, ...]

    @property
    def kernel(self) -> str:
        """Its name without template arguments."""
        return name_of(self.symbol)


@dataclass(frozen=True)
class Floor:
    """Least shares of a hot loop: of FFMA, and of all float32 arithmetic.

    A distance is a subtraction and an FFMA a feature, so that half of a loop can be FFMA, unless it is of products.
    """

    ffma: float
    float32: float


FLOORS = {
    "assign_rows": Floor(0.42, 0.85),
    "assign_staged": Floor(0.40, 0.80),
    "distance_sums": Floor(0.38, 0.78),
    "nearer_rows": Floor(0.35, 0.70),
    "pair_distances": Floor(0.40, 0.72),
    "seed_candidates": Floor(0.23, 0.47),
    "square_silhouettes": Floor(0.40, 0.80),
}
"""Kernels whose arithmetic is float32 chains."""

WITHOUT_PRODUCTS = ("_Z14pair_distancesILi2E",)
"""Instantiations whose definition has no product: the Manhattan distance adds magnitudes."""


def unavailable() -> str | None:
    """Why no mix can be had here, or None."""
    here, left_out = compilers.found()
    if not here:
        return f"instruction mix: {'; '.join(left_out)}; {compilers.INSTALL}"
    if disassembler() is None:
        return "instruction mix: neither nvdisasm nor cuobjdump is here; the extra `kernels` brings them"
    return None


def compiler() -> Compiler:
    """NVRTC, which users have, else nvcc."""
    return compilers.found()[0][-1]


def mixes(source: Path, architecture: int) -> list[Mix]:
    """Every kernel of a file."""
    code = disassembled(compiler().made(source, architecture).cubin)
    return [mix_of(source.name, architecture, symbol, found) for symbol, found in code.items()]


def mix_of(file: str, architecture: int, symbol: str, code: Sequence[Instruction]) -> Mix:
    """Of a kernel's instructions."""
    hot = hot_loop(code)
    names = Counter(one.name for one in hot)

    def share(chosen: set[str]) -> float:
        return round(sum(names[name] for name in chosen) / max(len(hot), 1), 3)

    return Mix(
        file=file,
        architecture=architecture,
        symbol=symbol,
        instructions=len(hot),
        ffma=share({"FFMA"}),
        float32=share(FLOAT32),
        float64=share(FLOAT64),
        conversions=sum(names[name] for name in CONVERSIONS),
        loads=dict(sorted(Counter(load_of(one) for one in hot if one.name in LOADS).items())),
        swaps=tuple(
            one.opcode for one in code if any(part in {"CAS", "CAST"} for part in one.opcode.split("."))
        ),
    )


def hot_loop(code: Sequence[Instruction]) -> list[Instruction]:
    """Where a kernel's time goes; empty for a kernel without loops."""

    def weight(loop: list[Instruction]) -> tuple[int, int, int]:
        names = Counter(one.name for one in loop)
        return sum(names[name] for name in FLOAT32), sum(names[name] for name in MEMORY), len(loop)

    return max(loops(code), key=weight, default=[])


def load_of(one: Instruction) -> str:
    """Its kind and bits: ``LDG.E.128.CONSTANT`` is "LDG.128"."""
    widths = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128}
    return f"{one.name}.{next((widths[part] for part in one.opcode.split('.') if part in widths), 32)}"


def faults(found: Sequence[Mix]) -> list[str]:
    """What is wrong, in words: compare-and-swaps, shares below a floor, a floor without a kernel."""
    said = [
        f"{kernel}: a floor, and no such kernel"
        for kernel in sorted(FLOORS.keys() - {m.kernel for m in found})
    ]
    for one in found:
        where = f"{one.file}: {one.symbol} for sm_{one.architecture}"
        if one.swaps:
            said.append(f"{where}: compares and swaps, {', '.join(sorted(set(one.swaps)))}")
        floor = FLOORS.get(one.kernel)
        if floor is None:
            continue
        if one.ffma < floor.ffma and not one.symbol.startswith(WITHOUT_PRODUCTS):
            said.append(f"{where}: {one.ffma} of the hot loop is FFMA, at least {floor.ffma} is wanted")
        if one.float32 < floor.float32:
            said.append(
                f"{where}: {one.float32} of the hot loop is float32, at least {floor.float32} is wanted"
            )
    return said


def table(found: Sequence[Mix]) -> str:
    """Markdown: a row a kernel, its instantiation with the least FFMA; architectures that differ by a slash."""
    heads = ["kernel", "hot loop", "FFMA", "float32", "float64", "conversions", "loads by bits"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for kernel in sorted({one.kernel for one in found}):
        worst = [
            min(
                (one for one in found if (one.kernel, one.architecture) == (kernel, arch)),
                key=lambda one: (
                    one.symbol.startswith(WITHOUT_PRODUCTS),
                    one.ffma,
                    one.float32,
                    -one.instructions,
                ),
            )
            for arch in sorted({one.architecture for one in found})
        ]
        cells = [
            [str(one.instructions) for one in worst],
            *(
                [f"{100 * getattr(one, share):.0f} %" for one in worst]
                for share in ("ffma", "float32", "float64")
            ),
            [str(one.conversions) for one in worst],
            [", ".join(f"{count} {load}" for load, count in one.loads.items()) or "-" for one in worst],
        ]
        lines.append(f"| `{kernel}` | {' | '.join(' / '.join(dict.fromkeys(cell)) for cell in cells)} |")
    return "\n".join(lines)


def section(found: Sequence[Mix]) -> str:
    """What stands between the markers of asv_benchmarks/README.md."""
    archs = " / ".join(f"sm_{arch}" for arch in ARCHITECTURES)
    return f"By {compiler()}, for {archs}:\n\n{table(found)}\n"
