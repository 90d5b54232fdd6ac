"""What ptxas says of a kernel: the resources that it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.compilers import Compiler


@dataclass(frozen=True)
class Usage:
    """Of one kernel: registers a thread, bytes of stack, of spills, of static shared memory."""

    compiler: str
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
        return name_of(self.symbol)


def name_of(symbol: str) -> str:
    """A kernel's name without template arguments."""
    mangled = re.match(r"_Z(\d+)", symbol)
    return symbol[mangled.end() :][: int(mangled[1])] if mangled else symbol


def usages(compiler: Compiler, source: Path, architecture: int) -> list[Usage]:
    """Every kernel of a file; BuildError where the compiler refuses it."""
    return parsed(compiler.name, source.name, architecture, compiler.made(source, architecture).said)


def parsed(compiler: str, file: str, architecture: int, said: str) -> list[Usage]:
    """Of ``ptxas -v``; a kernel of which it says nothing is an error."""
    parts = re.split(r"Compiling entry function '([^']+)'", said)[1:]
    found = []
    for symbol, text in zip(parts[::2], parts[1::2], strict=True):
        frame = re.search(
            rf"Function properties for {re.escape(symbol)}\n[^\n]*?(\d+) bytes stack frame, "
            r"(\d+) bytes spill stores, (\d+) bytes spill loads",
            text,
        )
        used = re.search(r"Used (\d+) registers(.*)", text)
        if frame is None or used is None:
            raise ValueError(f"{file}: ptxas says nothing of {symbol} that can be read: {text}")
        shared = re.search(r"(\d+) bytes smem", used[2])
        stack, stores, loads = map(int, frame.groups())
        static = int(shared[1]) if shared else 0
        found.append(Usage(compiler, file, architecture, symbol, int(used[1]), stack, stores + loads, static))
    return found
