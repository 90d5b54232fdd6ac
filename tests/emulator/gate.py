"""The compile gate: what every kernel uses on every architecture, held to one table of limits.

    python -m tests.emulator.gate [--json] [--write] [--compiler NVRTC]

Compiles kernels/*.cu, each with its defaults, by NVRTC and with the nvcc on PATH, whichever is here, for the
architectures that they know, and reads registers, stack, spills and static shared memory from ptxas. Fails where a
kernel is refused, has stack or spills, passes a limit of ``LIMITS``, or has none. With ``--write`` the tables in
kernels/README.md are written anew, one a compiler that is here and finds no fault.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.emulator import compilers, sections
from tests.emulator.build import BuildError
from tests.emulator.compilers import INSTALL, KERNELS, Compiler
from tests.emulator.occupancy import MAX_SHARED, REGISTERS, aligned, occupancy
from tests.emulator.usage import Usage, usages

README = KERNELS / "README.md"


@dataclass(frozen=True)
class Limit:
    """What a kernel may use, and its largest launch at 16 features, 16 clusters or candidates, 100 periods.

    ``registers`` a thread, over all template arguments and architectures; ``threads`` and dynamic ``shared`` bytes of a
    block. Static shared memory, stack and spills are forbidden to all.
    """

    registers: int
    threads: int
    shared: int


LIMITS = {
    "adopt_labels": Limit(40, 256, 0),
    "assign_merge": Limit(64, 512, 8192),
    "assign_rows": Limit(200, 256, 12_120),
    "assign_staged": Limit(80, 256, 49_024),
    "assign_sums": Limit(64, 256, 31_760),
    "bitmap_marks": Limit(40, 256, 0),
    "category_sums": Limit(64, 256, 512),
    "centre_rows": Limit(64, 256, 16_640),
    "distance_bins": Limit(64, 64, 24_576),
    "distance_sums": Limit(128, 128, 34_816),
    "draw_rows": Limit(48, 256, 0),
    "first_active": Limit(40, 256, 0),
    "keep_rows": Limit(56, 256, 0),
    "label_sums": Limit(80, 64, 49_152),
    "mass_bins": Limit(48, 128, 32_768),
    "mass_integers": Limit(40, 256, 512),
    "moments_partial": Limit(192, 128, 512),
    "nearer_rows": Limit(96, 128, 16_896),
    "pair_distances": Limit(96, 128, 17_408),
    "potentials_each": Limit(40, 256, 0),
    "range_merge": Limit(64, 32, 0),
    "revenue_sums": Limit(64, 256, 40_912),
    "scan_rows": Limit(80, 256, 18_560),
    "seed_candidates": Limit(96, 256, 1024),
    "square_silhouettes": Limit(168, 128, 33_280),
    "triangle_counts": Limit(48, 256, 20_200),
    "unit_vectors": Limit(48, 128, 0),
    "weigh_rows": Limit(40, 256, 512),
    "wide_merge": Limit(40, 128, 512),
}
"""One entry a kernel name."""


def faults(used: Sequence[Usage]) -> list[str]:
    """What is over a limit, in words; a kernel without a limit, a limit without a kernel."""
    said = [
        f"{kernel}: no limit in gate.LIMITS" for kernel in sorted({u.kernel for u in used} - LIMITS.keys())
    ]
    said += [
        f"{kernel}: a limit, and no such kernel"
        for kernel in sorted(LIMITS.keys() - {u.kernel for u in used})
    ]
    for one in used:
        limit = LIMITS.get(one.kernel)
        where = f"{one.file}: {one.symbol} for sm_{one.architecture} by {one.compiler}"
        if one.stack or one.spills:
            said.append(f"{where}: {one.stack} bytes of stack and {one.spills} of spills")
        if one.shared:
            said.append(f"{where}: {one.shared} bytes of static shared memory")
        if limit is not None and one.registers > limit.registers:
            said.append(f"{where}: {one.registers} registers exceed {limit.registers}")
    for kernel, limit in LIMITS.items():
        if limit.shared > MAX_SHARED:
            said.append(f"{kernel}: {limit.shared} shared bytes exceed the {MAX_SHARED} of a block")
        if aligned(32 * limit.registers, 256) * (limit.threads // 32) > REGISTERS:
            said.append(
                f"{kernel}: no block of {limit.threads} threads with {limit.registers} registers fits"
            )
    return said


def table(used: Sequence[Usage]) -> str:
    """Markdown: a row a kernel, a column an architecture with the most registers of any template arguments."""
    archs = sorted({one.architecture for one in used})
    heads = ["kernel", "threads", "shared bytes", *(f"sm_{arch}" for arch in archs), "limit"]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    for kernel in sorted({one.kernel for one in used}):
        limit = LIMITS[kernel]
        cells = []
        for arch in archs:
            most = max(u.registers for u in used if (u.kernel, u.architecture) == (kernel, arch))
            cells.append(f"{most} · {100 * occupancy(arch, limit.threads, most, limit.shared):.0f} %")
        lines.append(
            _row([f"`{kernel}`", str(limit.threads), str(limit.shared), *cells, str(limit.registers)])
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cells(markdown: str) -> dict[tuple[str, str], str]:
    """A table's cells by row and column heads."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("|")
    ]
    return {(row[0], head): cell for row in rows[2:] for head, cell in zip(rows[0], row, strict=True)}


def section(compiler: Compiler, used: Sequence[Usage]) -> str:
    """What stands between a compiler's markers in kernels/README.md."""
    return f"""\
Registers a thread and share of a multiprocessor's warps, by {compiler}. Each kernel with the defaults of its
file, the most over its template arguments; occupancy as computed for the threads and shared bytes of a launch at 16
features, 16 clusters, 100 periods. No kernel has stack, spills or static shared memory.

{table(used)}
"""


def files() -> list[Path]:
    """The kernel files."""
    return sorted(KERNELS.glob("*.cu"))


def measured(compiler: Compiler, architectures: Sequence[int]) -> tuple[list[Usage], list[str]]:
    """Every kernel for every architecture that the compiler knows, and the files that it refuses."""
    jobs = [(source, arch) for source in files() for arch in architectures if arch in compiler.architectures]

    def one(job: tuple[Path, int]) -> list[Usage] | str:
        try:
            return usages(compiler, *job)
        except BuildError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, jobs))
    used = [usage for each in found if isinstance(each, list) for usage in each]
    return used, [each for each in found if isinstance(each, str)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile all, say what is wrong; 0 when nothing is, 2 where there is no compiler."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator.gate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--json", action="store_true", help="print every instantiation, and what is wrong, as JSON"
    )
    parser.add_argument("--write", action="store_true", help="write the tables of kernels/README.md anew")
    parser.add_argument("--compiler", choices=("nvcc", "NVRTC"), help="this one alone")
    chosen = parser.parse_args(arguments)
    here, left_out = compilers.found(chosen.compiler)
    if not here:
        print("\n".join([*left_out, f"the gate needs a compiler: {INSTALL}"]), file=sys.stderr)
        return 2
    results = {one: measured(one, one.architectures) for one in here}
    used = [usage for some, _ in results.values() for usage in some]
    faulty = {one: [*faults(some), *refused] for one, (some, refused) in results.items()}
    wrong = list(dict.fromkeys(fault for some in faulty.values() for fault in some))
    if chosen.json:
        report = {
            "toolkits": {one.name: one.version for one in here},
            "left_out": left_out,
            "faults": wrong,
            "kernels": [
                asdict(one) | {"kernel": one.kernel, "occupancy": _occupancy_of(one)} for one in used
            ],
        }
        print(json.dumps(report, indent=1))
    else:
        print("\n".join([*(section(one, some) for one, (some, _) in results.items()), *left_out, *wrong]))
    if chosen.write:
        for one, (some, _) in results.items():
            if not faulty[one]:
                sections.write(README, f"gate {one.name}", section(one, some))
    return 1 if wrong else 0


def _occupancy_of(one: Usage) -> float | None:
    limit = LIMITS.get(one.kernel)
    return limit and occupancy(one.architecture, limit.threads, one.registers, limit.shared)


if __name__ == "__main__":
    sys.exit(main())
