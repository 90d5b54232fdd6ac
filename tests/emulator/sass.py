"""Machine code as nvdisasm or cuobjdump print it: instructions of each kernel, and its loops."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.build import _run
from tests.emulator.compilers import toolkit_program

DISASSEMBLERS = {"nvdisasm": ("-c",), "cuobjdump": ("-sass",)}
"""In order of preference; both print the same instructions, one with labels, the other with addresses."""

_KERNEL = re.compile(r"^\.text\.(\S+):|^\s*Function : (\S+)")
_LABEL = re.compile(r"^(\.\w+):")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+\{?\s*(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
_TARGET = re.compile(r"`\((\.\w+)\)\s*$|\b0x([0-9a-f]+)\s*$")


@dataclass(frozen=True)
class Instruction:
    """One instruction; ``target`` is the address that it may jump to, ``falls`` whether the next may follow it."""

    address: int
    opcode: str
    target: int | None = None
    falls: bool = True

    @property
    def name(self) -> str:
        """Its opcode without modifiers."""
        return self.opcode.split(".")[0]


def disassembler() -> Path | None:
    """The first of ``DISASSEMBLERS`` that is here."""
    return next(filter(None, map(toolkit_program, DISASSEMBLERS)), None)


def disassembled(cubin: bytes) -> dict[str, list[Instruction]]:
    """Instructions of every kernel of a cubin, by symbol."""
    tool = disassembler()
    if tool is None:
        raise FileNotFoundError("neither nvdisasm nor cuobjdump is here; the extra `kernels` brings them")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin + b"\0")  # NVRTC's cubins come a byte short of what these programs read
        file.flush()
        text = _run(str(tool), *DISASSEMBLERS[tool.name], file.name).stdout
    return instructions(text)


def instructions(text: str) -> dict[str, list[Instruction]]:
    """Of what a disassembler printed."""
    found: dict[str, list[Instruction]] = {}
    for symbol, lines in _kernels(text):
        labels, rows, waiting = {}, [], []
        for line in lines:
            if label := _LABEL.match(line):
                waiting.append(label[1])
            elif row := _INSTRUCTION.match(line):
                labels.update(dict.fromkeys(waiting, int(row[1], 16)))
                waiting.clear()
                rows.append(row)
        found[symbol] = [_instruction(row, labels) for row in rows]
    return found


def _kernels(text: str) -> Iterable[tuple[str, list[str]]]:
    symbol, lines = None, []
    for line in text.splitlines():
        if head := _KERNEL.match(line):
            if symbol is not None:
                yield symbol, lines
            symbol, lines = head[1] or head[2], []
        lines.append(line)
    if symbol is not None:
        yield symbol, lines


def _instruction(row: re.Match[str], labels: dict[str, int]) -> Instruction:
    address, predicate, opcode, operands = int(row[1], 16), row[2], row[3], row[4].strip()
    name = opcode.split(".")[0]
    if name in {"EXIT", "RET", "BRX", "JMX", "KILL"}:
        return Instruction(address, opcode, None, predicate is not None)
    aim = _TARGET.search(operands) if name in {"BRA", "JMP", "CALL"} else None
    target = aim and (labels.get(aim[1]) if aim[1] else int(aim[2], 16))
    # A branch with a second operand depends on it; a call of a label is a branch that reaches farther.
    sure = name in {"BRA", "JMP"} and predicate is None and "," not in operands and ".DIV" not in opcode
    return Instruction(address, opcode, target, not sure)


def loops(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """Innermost loops: natural loops of the flow graph that hold no other."""
    blocks = _blocks(code)
    starts = {block[0].address: number for number, block in enumerate(blocks)}
    following = [_following(block, number, len(blocks), starts) for number, block in enumerate(blocks)]
    preceding: list[list[int]] = [[] for _ in blocks]
    for number, nexts in enumerate(following):
        for after in nexts:
            preceding[after].append(number)
    dominators = _dominators(following, preceding)
    bodies: dict[int, set[int]] = {}
    for tail, nexts in enumerate(following):
        for head in nexts:
            if head in dominators.get(tail, ()):
                bodies.setdefault(head, {head}).update(_body(head, tail, preceding))
    inner = [body for head, body in bodies.items() if not any(h in body and h != head for h in bodies)]
    return [[one for number in sorted(body) for one in blocks[number]] for body in inner]


def _blocks(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """Instructions that are entered at the first and left at the last only."""
    targets = {one.target for one in code}
    blocks: list[list[Instruction]] = []
    ended = True
    for one in code:
        if ended or one.address in targets:
            blocks.append([])
        blocks[-1].append(one)
        ended = one.target is not None or not one.falls
    return blocks


def _following(block: Sequence[Instruction], number: int, count: int, starts: dict[int, int]) -> list[int]:
    last = block[-1]
    found = {starts[last.target]} if last.target in starts else set()
    if last.falls and number + 1 < count:
        found.add(number + 1)
    return sorted(found)


def _dominators(following: Sequence[list[int]], preceding: Sequence[list[int]]) -> dict[int, set[int]]:
    """For each block that can be reached, the blocks that every way to it goes through."""
    order, todo, seen = [], [0], set()
    while todo:
        number = todo.pop()
        if number not in seen:
            seen.add(number)
            order.append(number)
            todo += following[number]
    found = {number: set(seen) for number in seen}
    found[0] = {0}
    changed = True
    while changed:
        changed = False
        for number in order[1:]:
            through = set.intersection(*(found[p] for p in preceding[number] if p in seen)) | {number}
            changed |= through != found[number]
            found[number] = through
    return found


def _body(head: int, tail: int, preceding: Sequence[list[int]]) -> set[int]:
    """Blocks from which ``tail`` is reached without passing ``head``."""
    body, todo = {head}, [tail]
    while todo:
        number = todo.pop()
        if number not in body:
            body.add(number)
            todo += preceding[number]
    return body
