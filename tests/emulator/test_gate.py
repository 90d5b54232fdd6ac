"""The compile gate: kernels within their limits, and the table of kernels/README.md as the gate would write it."""

from __future__ import annotations

import itertools
import json
import os
import re

import pytest

from tests.emulator import build, gate
from tests.emulator.gate import Limit, Usage

ARCHITECTURES = gate.ARCHITECTURES if os.environ.get("GPUSEG_TESTS") == "full" else (80, 100)

needs_nvcc = pytest.mark.skipif(gate.toolkit() is None, reason="nvcc and g++ are not both on PATH")


@pytest.fixture(scope="module")
def used():
    return gate.measured([arch for arch in ARCHITECTURES if arch in gate.known()])


@needs_nvcc
def test_every_kernel_is_within_its_limits(used):
    assert gate.faults(used) == []


@needs_nvcc
def test_the_table_is_what_the_gate_would_write(used):
    version = re.search(r"by nvcc (\S+)\.\s", gate.written())[1]
    if version != gate.toolkit():
        pytest.skip(f"kernels/README.md tells of nvcc {version}, this is {gate.toolkit()}")
    found, wanted = gate.cells(gate.written()), gate.cells(gate.table(used))
    assert wanted.items() <= found.items()
    assert {row for row, _ in found} == {row for row, _ in wanted}
    if set(ARCHITECTURES) == set(gate.ARCHITECTURES):
        assert gate.written() == gate.section(used)


def test_the_readme_shows_every_architecture_and_kernel():
    shown = gate.cells(gate.written())
    assert {row for row, _ in shown} == {f"`{kernel}`" for kernel in gate.LIMITS}
    for kernel, limit in gate.LIMITS.items():
        for arch in gate.ARCHITECTURES:
            assert int(shown[f"`{kernel}`", f"sm_{arch}"].split(" · ")[0]) <= limit.registers


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


def test_reports_of_ptxas_are_read():
    first, second = gate.parsed("moments.cu", 80, REPORT)
    assert first == Usage("moments.cu", 80, "_Z15moments_partialILi2EEvPKf", 92, 8, 16, 64)
    assert (first.kernel, second.kernel) == ("moments_partial", "wide_merge")
    assert second == Usage("moments.cu", 80, "wide_merge", 22, 0, 0, 0)
    with pytest.raises(ValueError, match="nothing of wide_merge"):
        gate.parsed("moments.cu", 80, REPORT.replace("Used 22 registers", ""))


def test_what_passes_a_limit_is_said(monkeypatch):
    monkeypatch.setattr(
        gate, "LIMITS", {"a": Limit(32, 256, 0), "b": Limit(32, 256, 49_153), "c": Limit(255, 512, 0)}
    )
    fine = [Usage("x.cu", 80, name, 32, 0, 0, 0) for name in "abc"]
    general = [
        "b: 49153 shared bytes exceed the 49152 of a block",
        "c: no block of 512 threads with 255 registers fits",
    ]
    assert gate.faults(fine) == general
    assert gate.faults([*fine, Usage("x.cu", 75, "a", 33, 8, 4, 16), Usage("x.cu", 75, "d", 1, 0, 0, 0)]) == [
        "d: no limit in gate.LIMITS",
        "x.cu: a for sm_75: 8 bytes of stack and 4 of spills",
        "x.cu: a for sm_75: 16 bytes of static shared memory",
        "x.cu: a for sm_75: 33 registers exceed 32",
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
    assert gate.blocks_at_once(architecture, threads, registers, shared) == blocks


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


@needs_nvcc
def test_occupancy_is_that_of_the_toolkits_header(tmp_path):
    said = build._run("nvcc", "--dryrun", "-x", "cu", "-E", "/dev/null", check=False).stderr
    folders = [f"-I{folder}" for folder in re.findall(r'-I([^"\s]+)', said)]
    program = tmp_path / "occupancy"
    made = build._run("g++", "-w", *folders, "-x", "c++", "-", "-o", str(program), text=PROGRAM, check=False)
    if "cuda_occupancy.h: No such file" in made.stderr:
        pytest.skip("this toolkit has no cuda_occupancy.h")
    assert made.returncode == 0, made.stderr
    launches = list(
        itertools.product(
            gate.MULTIPROCESSORS,
            (32, 96, 128, 256, 1024),
            range(8, 256, 13),
            (0, 512, 12_120, 32_768, 49_152),
        )
    )
    lines = []
    for arch, threads, registers, shared in launches:
        sm = gate.MULTIPROCESSORS[arch]
        lines.append(f"{arch} {sm.warps} {sm.shared} {sm.reserved} {threads} {registers} {shared}")
    found = build._run(str(program), text="\n".join(lines)).stdout.split()
    assert list(map(int, found)) == [gate.blocks_at_once(*each) for each in launches]


def test_without_cupy_the_gate_says_that_nvrtc_is_left_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert gate.nvrtc() == ("NVRTC: left out, cupy is not installed", [])


def test_the_gate_as_a_program(monkeypatch, capsys):
    used = gate.parsed("moments.cu", 80, REPORT)
    monkeypatch.setattr(gate, "toolkit", lambda: "13.0.88")
    monkeypatch.setattr(gate, "known", lambda: (80,))
    monkeypatch.setattr(gate, "measured", lambda archs: used)
    monkeypatch.setattr(gate, "nvrtc", lambda: ("NVRTC: left out", []))
    assert gate.main(["--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["toolkit"] == "13.0.88"
    assert said["kernels"][1]["registers"] == 22
    assert said["kernels"][1]["occupancy"] == 1.0
    assert any("8 bytes of stack" in fault for fault in said["faults"])
    monkeypatch.setattr(gate, "toolkit", lambda: None)
    assert gate.main([]) == 2
