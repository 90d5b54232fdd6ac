"""The compile gate: kernels within their limits, and the table of kernels/README.md as the gate would write it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from gpuseg.engines.cuda_compile import compile_options
from tests.emulator import build, compilers, gate, occupancy, sections, usage
from tests.emulator.compilers import Compiler
from tests.emulator.gate import Limit
from tests.emulator.usage import Usage

ARCHITECTURES = compilers.ARCHITECTURES if os.environ.get("GPUSEG_TESTS") == "full" else (80, 100)


@pytest.fixture(scope="module", params=["nvcc", "NVRTC"])
def compiler(request):
    here, left_out = compilers.found(request.param)
    if not here:
        pytest.skip(left_out[0])
    return here[0]


@pytest.fixture(scope="module")
def used(compiler):
    found, refused = gate.measured(compiler, ARCHITECTURES)
    assert refused == []
    return found


def test_every_kernel_is_within_its_limits(used):
    assert gate.faults(used) == []


def test_the_table_is_what_the_gate_would_write(compiler, used):
    written = sections.read(gate.README, f"gate {compiler.name}")
    of = re.search(rf"by {compiler.name} (\S+)\.\s", written)
    if of is not None and of[1] != compiler.version:
        pytest.skip(f"kernels/README.md tells of {of[0]}, this is {compiler}")
    found, wanted = gate.cells(written), gate.cells(gate.table(used))
    stale = "write kernels/README.md anew: python -m tests.emulator.gate --write"
    assert wanted.items() <= found.items(), stale
    assert {row for row, _ in found} == {row for row, _ in wanted}, stale
    if set(ARCHITECTURES) == set(compilers.ARCHITECTURES):
        assert written == gate.section(compiler, used), stale


def test_the_readme_shows_every_architecture_and_kernel():
    shown = gate.cells(sections.read(gate.README, "gate nvcc"))
    assert {row for row, _ in shown} == {f"`{kernel}`" for kernel in gate.LIMITS}
    for kernel, limit in gate.LIMITS.items():
        for arch in compilers.ARCHITECTURES:
            assert int(shown[f"`{kernel}`", f"sm_{arch}"].split(" · ")[0]) <= limit.registers


def test_cuobjdump_reads_the_same_resources(compiler, used):
    program = compilers.toolkit_program("cuobjdump")
    if program is None:
        pytest.skip("cuobjdump is not here; the extra `kernels` brings it")
    source = gate.KERNELS / "moments.cu"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiler.made(source, 80).cubin + b"\0")
        file.flush()
        said = build._run(str(program), "-res-usage", file.name).stdout
    found = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", said)
    wanted = [one for one in used if (one.file, one.architecture) == (source.name, 80)]
    assert {(name, *map(int, numbers)) for name, *numbers in found} == {
        (one.symbol, one.registers, one.stack, one.shared) for one in wanted
    }


REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z15moments_partialILi2EEvPKf' for 'sm_80'
ptxas info    : Function properties for _Z15moments_partialILi2EEvPKf
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 92 registers, used 1 barriers, 8 bytes cumulative stack size, 64 bytes smem, 432 bytes cmem[0]
ptxas info    : Compiling entry function 'wide_merge' for 'sm_80'
ptxas info    : Function properties for wide_merge
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, used 1 barriers, 392 bytes cmem[0]
"""


@pytest.mark.parametrize("before", ["    ", "ptxas         .     "])  # nvcc; NVRTC 13.5
def test_reports_of_ptxas_are_read(before):
    report = re.sub(r"^    (?=\d+ bytes stack)", before, REPORT, flags=re.MULTILINE)
    first, second = usage.parsed("NVRTC", "moments.cu", 80, report)
    assert first == Usage("NVRTC", "moments.cu", 80, "_Z15moments_partialILi2EEvPKf", 92, 8, 16, 64)
    assert (first.kernel, second.kernel) == ("moments_partial", "wide_merge")
    assert second == Usage("NVRTC", "moments.cu", 80, "wide_merge", 22, 0, 0, 0)
    with pytest.raises(ValueError, match="nothing of wide_merge"):
        usage.parsed("NVRTC", "moments.cu", 80, report.replace("Used 22 registers", ""))


def test_what_passes_a_limit_is_said(monkeypatch):
    monkeypatch.setattr(
        gate, "LIMITS", {"a": Limit(32, 256, 0), "b": Limit(32, 256, 49_153), "c": Limit(255, 512, 0)}
    )
    fine = [Usage("nvcc", "x.cu", 80, name, 32, 0, 0, 0) for name in "abc"]
    general = [
        "b: 49153 shared bytes exceed the 49152 of a block",
        "c: no block of 512 threads with 255 registers fits",
    ]
    assert gate.faults(fine) == general
    worse = [Usage("nvcc", "x.cu", 75, "a", 33, 8, 4, 16), Usage("nvcc", "x.cu", 75, "d", 1, 0, 0, 0)]
    assert gate.faults([*fine, *worse]) == [
        "d: no limit in gate.LIMITS",
        "x.cu: a for sm_75 by nvcc: 8 bytes of stack and 4 of spills",
        "x.cu: a for sm_75 by nvcc: 16 bytes of static shared memory",
        "x.cu: a for sm_75 by nvcc: 33 registers exceed 32",
        *general,
    ]
    assert "c: a limit, and no such kernel" in gate.faults(fine[:2])


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "blocks"),
    [
        # Known by heart: nothing in the way; registers; shared memory; blocks.
        (80, 256, 32, 0, 8),
        (80, 256, 128, 0, 2),
        (80, 256, 33, 0, 6),
        (80, 1024, 65, 0, 0),
        (80, 128, 32, 48 << 10, 3),
        (80, 32, 32, 0, 32),
        (75, 256, 32, 0, 4),
        (75, 64, 32, 32 << 10, 2),
        (86, 256, 32, 0, 6),
        (90, 128, 32, 48 << 10, 4),
        (120, 32, 32, 0, 24),
    ],
)
def test_occupancy_at_known_values(architecture, threads, registers, shared, blocks):
    assert occupancy.blocks_at_once(architecture, threads, registers, shared) == blocks


PROGRAM = """
#include <climits>
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
    int arch, warps, threads, registers;
    unsigned long all, reserved, shared;
    while (std::scanf("%d %d %lu %lu %d %d %lu", &arch, &warps, &all, &reserved, &threads, &registers, &shared) == 7) {
        cudaOccDeviceProp device = {};
        device.computeMajor = arch / 10, device.computeMinor = arch % 10;
        device.maxThreadsPerBlock = 1024, device.maxThreadsPerMultiprocessor = 32 * warps;
        device.regsPerBlock = device.regsPerMultiprocessor = 65536;
        device.warpSize = 32, device.numSms = 1;
        device.sharedMemPerBlock = 48 << 10, device.sharedMemPerMultiprocessor = all;
        device.sharedMemPerBlockOptin = all - reserved, device.reservedSharedMemPerBlock = reserved;
        cudaOccFuncAttributes function = {};
        function.maxThreadsPerBlock = INT_MAX, function.numRegs = registers, function.numBlockBarriers = 1;
        function.maxDynamicSharedSizeBytes = 48 << 10;
        cudaOccDeviceState state = {};
        state.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT;
        cudaOccResult result;
        int failed = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, shared);
        std::printf("%d\\n", failed ? -failed : result.activeBlocksPerMultiprocessor);
    }
}
"""


def headers_of_the_toolkits():
    """Folders of nvcc's headers, and of those that pip installs."""
    if shutil.which("nvcc"):
        said = build._run("nvcc", "--dryrun", "-x", "cu", "-E", "/dev/null", check=False).stderr
        yield from re.findall(r'-I([^"\s]+)', said)
    yield from compilers.installed("include")


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_occupancy_is_that_of_the_toolkits_header(tmp_path):
    folders = [str(folder) for folder in headers_of_the_toolkits()]
    if not any((Path(folder) / "cuda_occupancy.h").exists() for folder in folders):
        pytest.skip("no toolkit here has cuda_occupancy.h; the extra `kernels` brings it")
    program = tmp_path / "occupancy"
    flags = ("-w", *(f"-I{folder}" for folder in folders), "-x", "c++", "-", "-o", str(program))
    made = build._run("g++", *flags, text=PROGRAM, check=False)
    assert made.returncode == 0, made.stderr
    launches = list(
        itertools.product(
            occupancy.MULTIPROCESSORS,
            (32, 96, 128, 256, 1024),
            range(8, 256, 13),
            (0, 512, 12_120, 32_768, 49_152),
        )
    )
    lines = []
    for arch, threads, registers, shared in launches:
        sm = occupancy.MULTIPROCESSORS[arch]
        lines.append(f"{arch} {sm.warps} {sm.shared} {sm.reserved} {threads} {registers} {shared}")
    found = build._run(str(program), text="\n".join(lines)).stdout.split()
    assert list(map(int, found)) == [occupancy.blocks_at_once(*each) for each in launches]


class FakeNvrtc:
    """As much of cupy.cuda.nvrtc as the gate calls."""

    NVRTCError = RuntimeError

    def __init__(self, said, refuses):
        self.said, self.refuses, self.options = said, refuses, None

    def createProgram(self, text, name, headers, names):  # noqa: N802
        return [text, name]

    def compileProgram(self, program, options):  # noqa: N802
        self.options = options
        if self.refuses:
            raise self.NVRTCError

    def getProgramLog(self, program):  # noqa: N802
        return self.said

    def getCUBIN(self, program):  # noqa: N802
        return b"\x7fELF"

    def destroyProgram(self, program):  # noqa: N802
        program.clear()


def test_nvrtc_compiles_with_the_options_of_the_engine():
    library = FakeNvrtc(REPORT, refuses=False)
    made = compilers._by_nvrtc(library, gate.KERNELS / "moments.cu", 90)
    assert (made.said, made.cubin) == (REPORT, b"\x7fELF")
    text = compilers.one_text(gate.KERNELS / "moments.cu")
    assert "#include" not in text
    assert library.options == (*compile_options(text, {}, "sm_90"), "--ptxas-options=-v")
    assert "-ftz=false" in library.options


@pytest.mark.parametrize("refuses", [True, False])
def test_what_nvrtc_refuses_or_warns_of_is_a_fault(refuses):
    library = FakeNvrtc('moments.cu(3): warning #177-D: variable "x" was declared', refuses)
    with pytest.raises(build.BuildError, match=r"moments.cu: NVRTC refuses it for sm_90: .* warning #177-D"):
        compilers._by_nvrtc(library, gate.KERNELS / "moments.cu", 90)


@pytest.fixture
def bare(monkeypatch):
    """A machine without any compiler; what it has is not remembered."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    for name in ("nvcc", "nvrtc"):
        monkeypatch.setattr(compilers, name, getattr(compilers, name).__wrapped__)


def test_without_any_compiler_the_gate_says_what_to_install(bare, capsys):
    assert gate.main([]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "nvcc: left out, nvcc and g++ not on PATH",
        "NVRTC: left out, cupy is not installed",
        f"the gate needs a compiler: {compilers.INSTALL}",
    ]


def test_the_gate_as_a_program(bare, monkeypatch, capsys, tmp_path):
    """With one compiler of two: it says so, and writes no table while something is wrong."""
    fake = Compiler("NVRTC", "13.5", (80, 90), lambda source, arch: compilers.Made(REPORT, b""))
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- gate NVRTC: begin -->\nold\n<!-- gate NVRTC: end -->\nb\n", encoding="utf-8")
    monkeypatch.setenv("GPUSEG_EMULATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gate, "README", readme)
    monkeypatch.setattr(gate, "files", lambda: [gate.KERNELS / "moments.cu"])
    monkeypatch.setattr(
        gate, "LIMITS", {"moments_partial": Limit(96, 128, 512), "wide_merge": Limit(40, 128, 0)}
    )
    monkeypatch.setattr(compilers, "nvrtc", lambda: fake)
    assert gate.main(["--json", "--write"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["toolkits"] == {"NVRTC": "13.5"}
    assert said["left_out"] == ["nvcc: left out, nvcc and g++ not on PATH"]
    assert [(one["compiler"], one["architecture"], one["registers"]) for one in said["kernels"]] == [
        ("NVRTC", arch, registers) for arch in (80, 90) for registers in (92, 22)
    ]
    assert said["kernels"][1]["occupancy"] == 1.0
    assert any("8 bytes of stack" in fault for fault in said["faults"])
    assert "\nold\n" in readme.read_text(encoding="utf-8")

    fine = REPORT.replace(
        "8 bytes stack frame, 4 bytes spill stores, 12", "0 bytes stack frame, 0 bytes spill stores, 0"
    )
    fake = Compiler(
        "NVRTC", "13.6", (80,), lambda source, arch: compilers.Made(fine.replace(", 64 bytes smem", ""), b"")
    )
    assert gate.main(["--write"]) == 0
    assert "nvcc: left out" in capsys.readouterr().out
    written = readme.read_text(encoding="utf-8")
    assert written.startswith("a\n<!-- gate NVRTC: begin -->\nRegisters a thread")
    assert "| `wide_merge` | 128 | 0 | 22 · 100 % | 40 |\n<!-- gate NVRTC: end -->\nb\n" in written


def test_a_file_that_a_compiler_refuses_is_a_fault(monkeypatch, tmp_path):
    def refuse(source, arch):
        raise build.BuildError(f"{source.name} for {arch}")

    monkeypatch.setenv("GPUSEG_EMULATOR_CACHE", str(tmp_path))
    used, refused = gate.measured(Compiler("nvcc", "1", (80,), refuse), (80, 90))
    assert used == []
    assert refused == [f"{source.name} for 80" for source in gate.files()]


def test_a_section_needs_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- a: begin -->\n<!-- a: end -->\n", encoding="utf-8")
    sections.write(readme, "a", "text\n")
    assert sections.read(readme, "a") == "text\n"
    with pytest.raises(ValueError, match="needs one section <!-- b: begin -->"):
        sections.read(readme, "b")
