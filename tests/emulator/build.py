"""Builds a kernel source for the host: g++, cached by a hash of everything that goes in.

``BUILDS`` has one entry a way of building: ``plain`` is fast, ``asan`` has the sanitizers of gcc, ``check`` has every
load and store of a kernel answered by host/check.cpp.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOST = Path(__file__).parent / "host"


@dataclass(frozen=True)
class Build:
    """A way of building: flags of the kernel, flags and sources of the runtime."""

    kernel: tuple[str, ...]
    runtime: tuple[str, ...]
    sources: tuple[str, ...] = ("runtime.cpp",)


# What no kernel may rely on. Not shift-base: a negative number may be shifted to the left.
UNDEFINED = (
    "signed-integer-overflow",
    "shift-exponent",
    "integer-divide-by-zero",
    "bounds",
    "alignment",
    "null",
    "pointer-overflow",
    "float-cast-overflow",
    "bool",
    "enum",
    "unreachable",
    "return",
)
# DWARF 4: addr2line of binutils 2.40 takes the wrong file for what is inlined under DWARF 5.
LINES = "-gdwarf-4"
# -fno-tree-sra: a float4 is loaded whole, as a GPU does. -fno-tree-loop-distribute-patterns: a loop that fills memory
# stays a loop, memset would go unseen; -fno-tree-vectorize: one store stays one store.
SEEN = ("-fno-tree-sra", "-fno-tree-loop-distribute-patterns", "-fno-tree-vectorize")
BUILDS = {
    "plain": Build(kernel=("-O1",), runtime=("-O2",)),
    "asan": Build(
        kernel=(
            *("-O1", LINES, "-DGPUSEG_ASAN", f"-fsanitize=address,{','.join(UNDEFINED)}"),
            *("-fsanitize-recover=address", "-fno-wrapv"),
        ),
        runtime=("-O2", "-DGPUSEG_ASAN"),
        sources=("runtime.cpp", "asan.cpp"),
    ),
    "check": Build(
        kernel=("-O1", LINES, "-DGPUSEG_CHECK", "-fsanitize=thread,bounds,object-size", *SEEN),
        runtime=("-O2", "-DGPUSEG_CHECK"),
        sources=("runtime.cpp", "check.cpp"),
    ),
}

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


@dataclass(frozen=True)
class Library:
    """A loaded build, where it lies, and the parameters of its kernels.

    Once loaded, its functions are called for one launch at a time and for nothing else meanwhile, on any thread: they
    are instrumented as kernels are, and the check build takes whatever they load for a load of the fiber that runs.
    """

    functions: ctypes.CDLL
    path: Path
    signatures: tuple[tuple[str, ...], ...]


_loading = threading.Lock()


@cache
def unavailable() -> str | None:
    """Why kernels cannot run here, or None."""
    if platform.machine() != "x86_64":
        return f"the emulator switches fibers on x86-64 only, this is {platform.machine()}"
    missing = [tool for tool in ("g++", "nm", "addr2line") if shutil.which(tool) is None]
    if missing:
        return f"the emulator needs {', '.join(missing)} on PATH"
    if not _has_fma():
        return "the emulator's builds need a processor with fma"
    return None


def build(source: str, names: Sequence[str], defines: Mapping[str, int | str], how: str = "plain") -> Library:
    """Load the host build of ``source``; ``names`` are C++ expressions for its kernels, in table order."""
    # Threads that ask together wait for one: loading writes to what a launch of the same library reads.
    with _loading:
        return _loaded(source, tuple(names), tuple(sorted((k, str(v)) for k, v in defines.items())), how)


@cache
def _loaded(source: str, names: tuple[str, ...], defines: tuple[tuple[str, str], ...], how: str) -> Library:
    if how == "asan" and not asan_is_loaded():
        raise BuildError("the asan build runs in a process that was started with asan_environment() only")
    library = _library(source, names, defines, how)
    loaded = ctypes.CDLL(str(library))
    loaded.gpuseg_signature.restype = ctypes.c_char_p
    loaded.gpuseg_launch.restype = ctypes.c_char_p
    loaded.gpuseg_poison.argtypes = (ctypes.c_long, ctypes.c_ulonglong)
    for offset, size in _static_shared(library):
        loaded.gpuseg_poison(offset, size)
    signatures = (loaded.gpuseg_signature(kernel).decode().split() for kernel in range(len(names)))
    return Library(loaded, library, tuple(map(tuple, signatures)))


def asan_environment() -> dict[str, str] | None:
    """What a process needs in its environment to load the asan build, or None where gcc has no libasan."""
    path = _run("g++", "-print-file-name=libasan.so").stdout.strip()
    if not Path(path).is_absolute():
        return None
    # Python and its libraries leak by design. A report becomes the error of a launch, every time that it occurs.
    options = "detect_leaks=0:halt_on_error=0:suppress_equal_pcs=0:log_path=/dev/null"
    return {"LD_PRELOAD": path, "ASAN_OPTIONS": options}


def asan_is_loaded() -> bool:
    """Whether this process was started with libasan."""
    return hasattr(ctypes.CDLL(None), "__asan_poison_memory_region")


def asan_functions() -> tuple[Callable[[int, int], None], Callable[[int, int], None]]:
    """Make bytes from an address on poisonous, and harmless again."""
    loaded = ctypes.CDLL(None)
    both = getattr(loaded, "__asan_poison_memory_region"), getattr(loaded, "__asan_unpoison_memory_region")
    for function in both:
        function.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        function.restype = None
    return both


@cache
def line_of(library: Path, pc: int) -> str:
    """``file:line`` of the kernel source at an offset in a build, the dialect's own lines left out."""
    listed = _run("addr2line", "-i", "-e", str(library), hex(pc)).stdout
    frames = [line.split(" (")[0].rsplit("/", 1)[-1] for line in listed.split("\n") if line]
    own = [frame for frame in frames if not (HOST / frame.split(":")[0]).exists()]
    return (own or frames)[0]


def _library(source: str, names: tuple[str, ...], defines: tuple[tuple[str, str], ...], how: str) -> Path:
    table = ", ".join(f"gpuseg_host::kernel_of(&{name})" for name in names)
    text = f'{source}\n#line 1 "launchers"\n#include "launcher.h"\nGPUSEG_KERNELS({table})\n'
    flags = (*COMMON, *BUILDS[how].kernel, *(f"-D{name}={value}" for name, value in defines))
    target = _cached(flags, text, ".so")
    if not target.exists():
        made = _compiled((*flags, "-include", "dialect.h", "-c", "-x", "c++", "-"), text, target, ".o")
        # Linked without the sanitizers' flags, which would add their libraries.
        linked = _compiled(
            ("-shared", "-Wl,-Bsymbolic", str(made), *map(str, _runtime(how))), "", target, ".so"
        )
        made.unlink()
        # Two processes may build the same thing; the last rename wins, with the same contents.
        linked.replace(target)
    return target


@cache
def _runtime(how: str) -> list[Path]:
    flags = (*COMMON, *BUILDS[how].runtime)
    objects = []
    for name in BUILDS[how].sources:
        text = (HOST / name).read_text(encoding="utf-8")
        target = _cached((*flags, name), text, ".o")
        if not target.exists():
            _compiled((*flags, "-c", "-x", "c++", "-"), text, target, ".o").replace(target)
        objects.append(target)
    return objects


def _static_shared(library: Path) -> list[tuple[int, int]]:
    """Offset from gpuseg_launch and size of every __shared__ array: the static variables inside functions."""
    listed = _run("nm", "-S", "--defined-only", str(library)).stdout
    rows = [line.split() for line in listed.splitlines()]
    base = next(int(row[0], 16) for row in rows if row[-1] == "gpuseg_launch")
    return [
        (int(row[0], 16) - base, int(row[1], 16))
        for row in rows
        if len(row) == 4 and row[2] in "bBdD" and row[3].startswith("_ZZ") and not row[3].startswith("_ZZNSt")
    ]


def _compiled(flags: Sequence[str], text: str, beside: Path, suffix: str) -> Path:
    """A new file with what g++ makes of ``text``."""
    beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=beside.parent, suffix=suffix, delete=False) as file:
        made = Path(file.name)
    done = _run("g++", *flags, "-o", str(made), text=text, check=False)
    if done.returncode != 0:
        made.unlink()
        raise BuildError(done.stderr)
    return made


def _run(*command: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    # A preloaded libasan is for this process, not for the compiler.
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    environment["LC_ALL"] = "C"
    return subprocess.run(command, input=text, capture_output=True, text=True, check=check, env=environment)


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
    return _run("g++", "-v").stderr if shutil.which("g++") else ""


def _has_fma() -> bool:
    try:
        return " fma " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
