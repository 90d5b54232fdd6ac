"""What the scripts of this folder share: facts of the machine, tables, and an environment that slows nobody down."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings that slow OpenBLAS down or change its results; a comparison runs without them."""

_FACTS = (
    "cpu",
    "cpus_present",
    "cpus_allowed",
    "simd",
    "memory_bytes",
    "memory_limit_bytes",
    "python",
    "libraries",
)


def machine() -> dict[str, Any]:
    """Facts that a figure is worth nothing without."""
    from gpuseg.jobs.doctor import examine

    found = examine().to_dict()
    return {"host": platform.platform(), **{name: found[name] for name in _FACTS}}


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, to be read on a terminal and pasted as they are."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    ]
    rule = "|".join("-" * (width + 1) + ":" for width in widths)
    return [f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])]


def without_overrides() -> None:
    """Start the program again without the settings that would slow BLAS down."""
    present = [name for name in BLAS_OVERRIDES if name in os.environ]
    if present:
        print(f"starting again without {', '.join(present)}", file=sys.stderr, flush=True)
        clean = {name: value for name, value in os.environ.items() if name not in present}
        os.execve(sys.executable, [sys.executable, *sys.argv], clean)  # noqa: S606 (the same program again)
