"""Builds a kernel source for the host: g++, cached by a hash of everything that goes in.

``BUILDS`` has one entry a way of building; a further checker is a further entry (and, where it needs one, its own
runtime).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOST = Path(__file__).parent / "host"


@dataclass(frozen=True)
class Build:
    """A way of building: flags of the kernel, flags of the runtime."""

    kernel: tuple[str, ...]
    runtime: tuple[str, ...]


BUILDS = {"plain": Build(kernel=("-O1",), runtime=("-O2",))}

# -ffp-contract=off: a product and a sum stay apart. -fwrapv: signed overflow wraps as it does on a GPU; without it g++
# may widen a product to what was meant. -fno-gnu-unique, -fvisibility=hidden and -Bsymbolic keep the static variables
# of templates (shared arrays) apart between two builds that are loaded together.
COMMON = (
    "-std=c++17",
    "-fPIC",
    "-ffp-contract=off",
    "-mfma",
    "-fwrapv",
    "-fno-gnu-unique",
    "-fvisibility=hidden",
    "-fcf-protection=none",
    "-fno-exceptions",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    f"-I{HOST}",
)


class BuildError(RuntimeError):
    """g++ refused a kernel; the message is its own."""


@cache
def unavailable() -> str | None:
    """Why kernels cannot run here, or None."""
    if platform.machine() != "x86_64":
        return f"the emulator switches fibers on x86-64 only, this is {platform.machine()}"
    if shutil.which("g++") is None or shutil.which("nm") is None:
        return "the emulator needs g++ and nm on PATH"
    if not _has_fma():
        return "the emulator's builds need a processor with fma"
    return None


def build(
    source: str, names: Sequence[str], defines: Mapping[str, int | str], how: str = "plain"
) -> ctypes.CDLL:
    """Load the host build of ``source``; ``names`` are C++ expressions for its kernels, in table order."""
    return _loaded(source, tuple(names), tuple(sorted((k, str(v)) for k, v in defines.items())), how)


@cache
def _loaded(
    source: str, names: tuple[str, ...], defines: tuple[tuple[str, str], ...], how: str
) -> ctypes.CDLL:
    library = _library(source, names, defines, how)
    loaded = ctypes.CDLL(str(library))
    loaded.gpuseg_signature.restype = ctypes.c_char_p
    loaded.gpuseg_launch.restype = ctypes.c_char_p
    loaded.gpuseg_poison.argtypes = (ctypes.c_long, ctypes.c_ulonglong)
    for offset, size in _static_shared(library):
        loaded.gpuseg_poison(offset, size)
    return loaded


def _library(source: str, names: tuple[str, ...], defines: tuple[tuple[str, str], ...], how: str) -> Path:
    table = ", ".join(f"gpuseg_host::kernel_of(&{name})" for name in names)
    text = f'{source}\n#line 1 "launchers"\n#include "launcher.h"\nGPUSEG_KERNELS({table})\n'
    flags = (*COMMON, *BUILDS[how].kernel, *(f"-D{name}={value}" for name, value in defines))
    target = _cached(flags, text, ".so")
    if not target.exists():
        link = ("-shared", "-Wl,-Bsymbolic", str(_runtime(how)))
        _compile((*flags, "-include", "dialect.h", "-x", "c++", "-", "-x", "none", *link), text, target)
    return target


@cache
def _runtime(how: str) -> Path:
    text = (HOST / "runtime.cpp").read_text(encoding="utf-8")
    flags = (*COMMON, *BUILDS[how].runtime)
    target = _cached(flags, text, ".o")
    if not target.exists():
        _compile((*flags, "-c", "-x", "c++", "-"), text, target)
    return target


def _static_shared(library: Path) -> list[tuple[int, int]]:
    """Offset from gpuseg_launch and size of every __shared__ array: the static variables inside functions."""
    listed = subprocess.run(
        ["nm", "-S", "--defined-only", str(library)], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    base = next(int(row[0], 16) for row in rows if row[-1] == "gpuseg_launch")
    return [
        (int(row[0], 16) - base, int(row[1], 16))
        for row in rows
        if len(row) == 4 and row[2] in "bBdD" and row[3].startswith("_ZZ") and not row[3].startswith("_ZZNSt")
    ]


def _compile(flags: Sequence[str], text: str, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=target.suffix, delete=False) as file:
        partial = Path(file.name)
    done = subprocess.run(
        ["g++", *flags, "-o", str(partial)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        partial.unlink()
        raise BuildError(done.stderr)
    # Two processes may build the same thing; the last rename wins, with the same contents.
    partial.replace(target)


def _cached(flags: Sequence[str], text: str, suffix: str) -> Path:
    digest = hashlib.sha256()
    headers = [path.read_text(encoding="utf-8") for path in sorted(HOST.iterdir())]
    for part in (_compiler_version(), *flags, text, *headers):
        digest.update(part.encode() + b"\0")
    return _cache_folder() / f"{digest.hexdigest()[:32]}{suffix}"


def _cache_folder() -> Path:
    chosen = os.environ.get("GPUSEG_EMULATOR_CACHE")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"gpuseg-emulator-{os.getuid()}"


@cache
def _compiler_version() -> str:
    return subprocess.run(["g++", "-v"], check=True, capture_output=True, text=True).stderr


def _has_fma() -> bool:
    try:
        return " fma " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
