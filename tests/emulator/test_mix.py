"""Loops in machine code, and the instruction mix of every kernel's hot loop within its limits."""

from __future__ import annotations

import re

import pytest

from tests.emulator import gate, mix, sass, sections, traffic
from tests.emulator.mix import Floor, Mix
from tests.emulator.sass import Instruction, instructions, loops

NVDISASM = """
.text._Z4pairILi1EEvPKf:
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0010*/                   LDG.E.CONSTANT R8, [R2.64] ;
.L_x_0:
        /*0020*/                   LDS.128 R4, [R2] ;
        /*0030*/                   FADD R9, R8, -R4 ;
        /*0040*/                   FFMA R0, R9, R9, R0 ;
        /*0050*/              @P0 BRA `(.L_x_0) ;
        /*0060*/              @!P1 BRA `(.L_x_2) ;
        /*0070*/              @P2 BRA `(.L_x_1) ;
        /*0080*/                   EXIT ;
.L_x_2:
        /*0090*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm20_sqrt) ;
        /*00a0*/                   BRA `(.L_x_1) ;
.L_x_3:
        /*00b0*/                   BRA `(.L_x_3);
.text.spin:
        /*0000*/                   LDS R0, [R1] ;
.L_x_4:
        /*0010*/                   ATOMS.CAST.SPIN.64 R2, [R1], R2, R4 ;
        /*0020*/               @P0 BRA P1, `(.L_x_4) ;
        /*0030*/                   EXIT ;
"""


def as_cuobjdump(text: str) -> str:
    """The same as the other program prints it: addresses for labels, another head."""
    labels = re.findall(r"^(\.L_x_\d):\n\s+/\*(\w+)\*/", text, re.MULTILINE)
    for label, address in labels:
        text = text.replace(f"`({label})", f"0x{int(address, 16):x}").replace(f"{label}:\n", "")
    return re.sub(r"^\.text\.(\S+):", r"\t\tFunction : \1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("text", [NVDISASM, as_cuobjdump(NVDISASM)], ids=sass.DISASSEMBLERS)
def test_innermost_loops_are_found(text):
    found = instructions(text)
    assert list(found) == ["_Z4pairILi1EEvPKf", "spin"]
    code = found["_Z4pairILi1EEvPKf"]
    assert code[1] == Instruction(0x10, "LDG.E.CONSTANT")
    assert code[5] == Instruction(0x50, "BRA", target=0x20)
    assert code[10] == Instruction(0xA0, "BRA", target=0x10, falls=False)
    # The outer loop holds the inner one, and what lies behind EXIT; nothing comes to the trap at the end.
    (inner,) = loops(code)
    assert [one.address for one in inner] == [0x20, 0x30, 0x40, 0x50]


def test_blocks_out_of_line_make_no_loop():
    """A way around that lies behind EXIT comes back by a backward branch; it is no loop."""
    ways = """.text.f:
        /*0000*/  @P0 BRA 0x40 ;
        /*0010*/  FADD R0, R0, R1 ;
        /*0020*/  STG.E [R2.64], R0 ;
        /*0030*/  EXIT ;
        /*0040*/  MUFU.SQRT R0, R0 ;
        /*0050*/  BRA 0x10 ;
"""
    assert loops(instructions(ways)["f"]) == []
    assert mix.mix_of("f.cu", 80, "f", instructions(ways)["f"]).instructions == 0


def test_the_mix_of_a_hot_loop():
    found = instructions(NVDISASM)
    one = mix.mix_of("a.cu", 80, "_Z4pairILi1EEvPKf", found["_Z4pairILi1EEvPKf"])
    assert (one.kernel, one.instructions, one.ffma, one.float32) == ("pair", 4, 0.25, 0.5)
    assert (one.loads, one.conversions, one.swaps) == ({"LDS.128": 1}, 0, ())
    assert mix.mix_of("a.cu", 80, "spin", found["spin"]).swaps == ("ATOMS.CAST.SPIN.64",)


@pytest.mark.parametrize(
    ("opcode", "load"),
    [("LDG.E.CONSTANT", "LDG.32"), ("LDG.E.U8", "LDG.8"), ("LDS.U.128", "LDS.128"), ("LDG.E.64", "LDG.64")],
)
def test_widths_of_loads(opcode, load):
    assert mix.load_of(Instruction(0, opcode)) == load


def test_what_is_wrong_with_a_mix_is_said(monkeypatch):
    monkeypatch.setattr(mix, "FLOORS", {"a": Floor(0.4, 0.8), "b": Floor(0.1, 0.1)})
    monkeypatch.setattr(mix, "WITHOUT_PRODUCTS", ("_Z1aILi2E",))
    fine = Mix("x.cu", 80, "a", 10, 0.4, 0.8, 0.0, 0, {}, ())
    without = Mix("x.cu", 80, "_Z1aILi2EE", 10, 0.0, 0.8, 0.0, 0, {}, ())
    low = Mix("x.cu", 80, "a", 10, 0.39, 0.79, 0.0, 0, {}, ("ATOMS.CAS",))
    assert mix.faults([fine, without, low]) == [
        "b: a floor, and no such kernel",
        "x.cu: a for sm_80: compares and swaps, ATOMS.CAS",
        "x.cu: a for sm_80: 0.39 of the hot loop is FFMA, at least 0.4 is wanted",
        "x.cu: a for sm_80: 0.79 of the hot loop is float32, at least 0.8 is wanted",
    ]


@pytest.fixture(scope="module")
def found():
    reason = mix.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return traffic.instruction_mixes()


def test_hot_loops_are_what_they_should_be(found):
    assert mix.faults(found) == []
    assert {one.kernel for one in found} == set(gate.LIMITS)


def test_the_table_of_mixes_is_what_the_tool_would_write(found):
    written = sections.read(traffic.README, "instructions")
    if not written.startswith(f"By {mix.compiler()},"):
        pytest.skip(f"asv_benchmarks/README.md tells of {written.split(',')[0]}, this is {mix.compiler()}")
    assert written == mix.section(found), "write it anew: python -m tests.emulator.traffic --write"


def test_without_compiler_or_disassembler_the_reason_is_said(monkeypatch):
    monkeypatch.setattr(mix, "disassembler", lambda: None)
    monkeypatch.setattr(mix.compilers, "found", lambda only=None: ([object()], []))
    assert "neither nvdisasm nor cuobjdump is here" in mix.unavailable()
    monkeypatch.setattr(mix.compilers, "found", lambda only=None: ([], ["nvcc: left out"]))
    assert mix.unavailable().startswith("instruction mix: nvcc: left out; `pip install")
