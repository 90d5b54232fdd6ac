"""The compile gate: what every kernel uses on every architecture, held to one table of limits.

    python -m tests.emulator.gate [--json] [--write]

Compiles kernels/*.cu with the nvcc on PATH, each with its defaults, for the architectures below that it knows, and
reads registers, stack, spills and static shared memory from ptxas. What it said is kept by hash beside the emulator's
builds. Fails where a kernel has stack or spills, passes a limit of ``LIMITS``, or has none. With ``--write`` the table
in kernels/README.md is written anew. Where cupy is installed, the text that the engine compiles goes through NVRTC too.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from gpuseg.engines.cuda_compile import OPTIONS, compile_options
from gpuseg.engines.launch import inline_headers, read_kernel_file
from tests.emulator.build import BuildError, _cached, _run

KERNELS = Path(__file__).parents[2] / "kernels"
README = KERNELS / "README.md"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
FLAGS = (*OPTIONS, "-cubin", "-Werror", "all-warnings", "-Xptxas", "-v")

_BEGIN, _END = "<!-- gate: begin -->", "<!-- gate: end -->"


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel: registers a thread, bytes of stack, of spills, of static shared memory."""

    file: str
    architecture: int
    symbol: str
    registers: int
    stack: int
    spills: int
    shared: int

    @property
    def kernel(self) -> str:
        """Its name without template arguments."""
        mangled = re.match(r"_Z(\d+)", self.symbol)
        return self.symbol[mangled.end() :][: int(mangled[1])] if mangled else self.symbol


@cache
def toolkit() -> str | None:
    """Version of the nvcc on PATH, or None."""
    if shutil.which("nvcc") is None or shutil.which("g++") is None:
        return None
    said = re.search(r"V(\d+\.\d+\.\d+)", _run("nvcc", "--version", check=False).stdout)
    return said[1] if said else None


@cache
def known() -> tuple[int, ...]:
    """The architectures that this nvcc compiles for."""
    codes = _run("nvcc", "--list-gpu-code").stdout.split()
    return tuple(arch for arch in ARCHITECTURES if f"sm_{arch}" in codes)


def report(source: Path, architecture: int) -> str:
    """What nvcc says of a file; BuildError where it refuses it, or warns."""
    text = inline_headers(source.name, lambda name: _read(source.parent, name))
    arch = f"-arch=sm_{architecture}"
    kept = _cached((*FLAGS, str(toolkit()), arch, source.name), text, ".ptxas")
    if not kept.exists():
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            target, said = Path(folder) / "out.cubin", Path(folder) / "said"
            done = _run("nvcc", *FLAGS, arch, f"-I{KERNELS}", "-o", str(target), str(source), check=False)
            if done.returncode != 0:
                raise BuildError(done.stderr)
            said.write_text(done.stderr, encoding="utf-8")
            said.replace(kept)
    return kept.read_text(encoding="utf-8")


def _read(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_text(encoding="utf-8") if path.exists() else read_kernel_file(name)


def usages(source: Path, architecture: int) -> list[Usage]:
    """Every kernel of a file."""
    return parsed(source.name, architecture, report(source, architecture))


def parsed(file: str, architecture: int, said: str) -> list[Usage]:
    """Of ``-Xptxas -v``; a kernel of which it says nothing is an error."""
    parts = re.split(r"Compiling entry function '([^']+)'", said)[1:]
    found = []
    for symbol, text in zip(parts[::2], parts[1::2], strict=True):
        frame = re.search(
            rf"Function properties for {re.escape(symbol)}\n\s+(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads",
            text,
        )
        used = re.search(r"Used (\d+) registers(.*)", text)
        if frame is None or used is None:
            raise ValueError(f"{file}: ptxas says nothing of {symbol} that can be read: {text}")
        shared = re.search(r"(\d+) bytes smem", used[2])
        stack, stores, loads = map(int, frame.groups())
        found.append(
            Usage(
                file,
                architecture,
                symbol,
                int(used[1]),
                stack,
                stores + loads,
                int(shared[1]) if shared else 0,
            )
        )
    return found


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
    "assign_labels": Limit(80, 256, 1040),
    "assign_merge": Limit(64, 512, 8192),
    "assign_rows": Limit(200, 256, 12_120),
    "assign_sums": Limit(64, 256, 11_024),
    "bitmap_marks": Limit(40, 256, 0),
    "category_sums": Limit(64, 256, 512),
    "centre_rows": Limit(64, 256, 16_640),
    "distance_sums": Limit(128, 128, 34_816),
    "draw_rows": Limit(48, 256, 0),
    "first_active": Limit(40, 256, 0),
    "label_sums": Limit(80, 64, 49_152),
    "mass_bins": Limit(48, 128, 32_768),
    "mass_integers": Limit(40, 256, 512),
    "moments_partial": Limit(192, 128, 512),
    "pair_distances": Limit(96, 128, 17_408),
    "potentials_each": Limit(40, 256, 0),
    "range_merge": Limit(64, 32, 0),
    "revenue_sums": Limit(64, 256, 40_912),
    "scan_rows": Limit(80, 256, 18_560),
    "seed_candidates": Limit(96, 256, 1024),
    "square_silhouettes": Limit(168, 128, 33_280),
    "take_columns": Limit(64, 256, 0),
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
        where = f"{one.file}: {one.symbol} for sm_{one.architecture}"
        if one.stack or one.spills:
            said.append(f"{where}: {one.stack} bytes of stack and {one.spills} of spills")
        if one.shared:
            said.append(f"{where}: {one.shared} bytes of static shared memory")
        if limit is not None and one.registers > limit.registers:
            said.append(f"{where}: {one.registers} registers exceed {limit.registers}")
    for kernel, limit in LIMITS.items():
        if limit.shared > MAX_SHARED:
            said.append(f"{kernel}: {limit.shared} shared bytes exceed the {MAX_SHARED} of a block")
        if _aligned(32 * limit.registers, 256) * (limit.threads // 32) > REGISTERS:
            said.append(
                f"{kernel}: no block of {limit.threads} threads with {limit.registers} registers fits"
            )
    return said


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
    """Blocks that a multiprocessor holds at a time: the occupancy calculation of cuda_occupancy.h."""
    sm = MULTIPROCESSORS[architecture]
    warps = -(-threads // 32)
    by_registers = 4 * (REGISTERS // 4 // _aligned(32 * max(registers, 1), 256)) // warps
    taken = _aligned(shared + sm.reserved, sm.granularity)
    by_shared = sm.shared // taken if taken else sm.blocks
    return min(sm.warps // warps, sm.blocks, by_registers, by_shared)


def occupancy(architecture: int, threads: int, registers: int, shared: int) -> float:
    """Share of a multiprocessor's warps."""
    blocks = blocks_at_once(architecture, threads, registers, shared)
    return blocks * -(-threads // 32) / MULTIPROCESSORS[architecture].warps


def _aligned(value: int, step: int) -> int:
    return -(-value // step) * step


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


def section(used: Sequence[Usage]) -> str:
    """What stands between the markers of kernels/README.md."""
    return f"""\
Registers a thread and share of a multiprocessor's warps, by nvcc {toolkit()}. Each kernel with the defaults of its
file, the most over its template arguments; occupancy as computed for the threads and shared bytes of a launch at 16
features, 16 clusters, 100 periods. No kernel has stack, spills or static shared memory.

{table(used)}
"""


def written() -> str:
    """The section that kernels/README.md has."""
    text = README.read_text(encoding="utf-8")
    return text.split(f"{_BEGIN}\n")[1].split(_END)[0]


def write(text: str) -> None:
    """Put a section between the markers."""
    whole = README.read_text(encoding="utf-8")
    before, rest = whole.split(f"{_BEGIN}\n")
    README.write_text(f"{before}{_BEGIN}\n{text}{_END}{rest.split(_END)[1]}", encoding="utf-8")


def files() -> list[Path]:
    """The kernel files."""
    return sorted(KERNELS.glob("*.cu"))


def measured(architectures: Sequence[int]) -> list[Usage]:
    """Every kernel for every architecture."""
    return [one for source in files() for arch in architectures for one in usages(source, arch)]


def nvrtc() -> tuple[str, list[str]]:
    """What NVRTC did, and what it refused: every file as one text, for every architecture that it knows."""
    try:
        from cupy.cuda import nvrtc as library
    except ImportError:
        return "NVRTC: left out, cupy is not installed", []
    try:
        version = ".".join(map(str, library.getVersion()))
    except (ImportError, OSError, RuntimeError) as error:
        return f"NVRTC: left out, cupy does not find it: {error}", []
    archs = [arch for arch in ARCHITECTURES if arch in list(map(int, library.getSupportedArchs()))]
    refused = []
    for source in files():
        text = inline_headers(source.name, read_kernel_file)
        for arch in archs:
            program = library.createProgram(text, source.name, (), ())
            try:
                library.compileProgram(program, compile_options(text, {}, f"sm_{arch}"))
            except library.NVRTCError:
                refused.append(
                    f"{source.name}: NVRTC refuses it for sm_{arch}: {library.getProgramLog(program)}"
                )
            finally:
                library.destroyProgram(program)
    return f"NVRTC {version}: {len(files())} files for {', '.join(f'sm_{arch}' for arch in archs)}", refused


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator.gate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--json", action="store_true", help="print every instantiation, and what is wrong, as JSON"
    )
    parser.add_argument("--write", action="store_true", help="write the table of kernels/README.md anew")
    chosen = parser.parse_args(arguments)
    if toolkit() is None:
        print("the gate needs nvcc and g++ on PATH", file=sys.stderr)
        return 2
    used = measured(known())
    said, refused = nvrtc()
    wrong = [*faults(used), *refused]
    if chosen.json:
        kernels = [asdict(one) | {"kernel": one.kernel, "occupancy": _occupancy_of(one)} for one in used]
        print(
            json.dumps({"toolkit": toolkit(), "nvrtc": said, "faults": wrong, "kernels": kernels}, indent=1)
        )
    else:
        print("\n".join([section(used), said, *wrong]))
    if chosen.write and not wrong:
        write(section(used))
    return 1 if wrong else 0


def _occupancy_of(one: Usage) -> float | None:
    limit = LIMITS.get(one.kernel)
    return limit and occupancy(one.architecture, limit.threads, one.registers, limit.shared)


if __name__ == "__main__":
    sys.exit(main())
