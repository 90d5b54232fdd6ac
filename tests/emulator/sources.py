"""Sources of test-only kernels: their own folder first, then kernels/."""

from __future__ import annotations

from pathlib import Path

from gpuseg.engines.launch import inline_headers, read_kernel_file

FOLDER = Path(__file__).parent / "kernels"


def read(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else read_kernel_file(name)


def source_of(name: str) -> str:
    return inline_headers(name, read)
