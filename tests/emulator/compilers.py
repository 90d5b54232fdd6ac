"""The compilers of kernels that this machine has: nvcc on PATH, and NVRTC by cupy, as the engine calls it.

Both say what ptxas made of a kernel (``-v``), and give the cubin. What they said is kept by hash beside the emulator's
builds.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpuseg.engines.cuda_compile import OPTIONS, compile_options
from gpuseg.engines.launch import inline_headers, read_kernel_file
from tests.emulator.build import BuildError, _cached, _run

KERNELS = Path(__file__).parents[2] / "kernels"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
INSTALL = "`pip install -e '.[kernels]'` brings NVRTC; or put nvcc and g++ on PATH"
FLAGS = (*OPTIONS, "-cubin", "-Werror", "all-warnings", "-Xptxas", "-v")


@dataclass(frozen=True)
class Made:
    """What ptxas said of a file, and its machine code."""

    said: str
    cubin: bytes


@dataclass(frozen=True)
class Compiler:
    """nvcc or NVRTC: its version, those of ``ARCHITECTURES`` that it knows, and how it compiles a file for one."""

    name: str
    version: str
    architectures: tuple[int, ...]
    compile: Callable[[Path, int], Made]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def made(self, source: Path, architecture: int) -> Made:
        """Of a file with its defaults; BuildError where it is refused, or warned of."""
        key = (str(self), *FLAGS, f"sm_{architecture}", source.name)
        said = _cached(key, one_text(source), ".ptxas")
        cubin = said.with_suffix(".cubin")
        if not said.exists() or not cubin.exists():
            made = self.compile(source, architecture)
            said.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _put(cubin, made.cubin)
            _put(said, made.said.encode())
        return Made(said.read_text(encoding="utf-8"), cubin.read_bytes())


def found(only: str | None = None) -> tuple[list[Compiler], list[str]]:
    """The compilers, or the one of a name, and why others are left out."""
    both = [find() for name, find in (("nvcc", nvcc), ("NVRTC", nvrtc)) if only in {None, name}]
    return [one for one in both if isinstance(one, Compiler)], [one for one in both if isinstance(one, str)]


def installed(what: str) -> list[Path]:
    """Files or folders of the toolkit that pip installs: ``bin/nvdisasm``, ``include``."""
    package = importlib.util.find_spec("nvidia")
    roots = list(package.submodule_search_locations or ()) if package else []
    return [path for root in roots for path in sorted(Path(root).glob(f"*/{what}"))]


@cache
def toolkit_program(name: str) -> Path | None:
    """A program of the toolkit, on PATH or where pip puts it; None where there is none."""
    on_path = shutil.which(name)
    return Path(on_path) if on_path else next(iter(installed(f"bin/{name}")), None)


def one_text(source: Path) -> str:
    """A file with its headers inlined, which lie beside it or among the kernels."""

    def read(name: str) -> str:
        path = source.parent / name
        return path.read_text(encoding="utf-8") if path.exists() else read_kernel_file(name)

    return inline_headers(source.name, read)


@cache
def nvcc() -> Compiler | str:
    """The nvcc on PATH, or why it is left out."""
    missing = [tool for tool in ("nvcc", "g++") if shutil.which(tool) is None]
    if missing:
        return f"nvcc: left out, {' and '.join(missing)} not on PATH"
    said = re.search(r"V(\d+\.\d+\.\d+)", _run("nvcc", "--version", check=False).stdout)
    if said is None:
        return "nvcc: left out, it does not say its version"
    codes = _run("nvcc", "--list-gpu-code").stdout.split()
    known = tuple(arch for arch in ARCHITECTURES if f"sm_{arch}" in codes)
    return Compiler("nvcc", said[1], known, _by_nvcc)


def _by_nvcc(source: Path, architecture: int) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.cubin"
        arch = f"-arch=sm_{architecture}"
        done = _run("nvcc", *FLAGS, arch, f"-I{KERNELS}", "-o", str(target), str(source), check=False)
        if done.returncode != 0:
            raise BuildError(f"{source.name}: nvcc refuses it for sm_{architecture}: {done.stderr}")
        return Made(done.stderr, target.read_bytes())


@cache
def nvrtc() -> Compiler | str:
    """NVRTC as cupy finds it, or why it is left out."""
    try:
        from cupy.cuda import nvrtc as library
    except ImportError:
        return "NVRTC: left out, cupy is not installed"
    try:
        version = ".".join(map(str, library.getVersion()))
        supported = set(map(int, library.getSupportedArchs()))
    except (ImportError, OSError, RuntimeError) as error:
        return f"NVRTC: left out, cupy does not find it: {error}"
    known = tuple(arch for arch in ARCHITECTURES if arch in supported)
    return Compiler(
        "NVRTC", version, known, lambda source, architecture: _by_nvrtc(library, source, architecture)
    )


def _by_nvrtc(library: Any, source: Path, architecture: int) -> Made:
    """With the engine's options, on the one text that the engine gives it."""
    text = one_text(source)
    options = (*compile_options(text, {}, f"sm_{architecture}"), "--ptxas-options=-v")
    program = library.createProgram(text, source.name, (), ())
    try:
        try:
            library.compileProgram(program, options)
            said, refused = library.getProgramLog(program), False
        except library.NVRTCError:
            said, refused = library.getProgramLog(program), True
        if refused or "warning" in said:
            raise BuildError(f"{source.name}: NVRTC refuses it for sm_{architecture}: {said}")
        return Made(said, bytes(library.getCUBIN(program)))
    finally:
        library.destroyProgram(program)


def _put(path: Path, content: bytes) -> None:
    """Two processes may write the same; the last rename wins, with the same contents."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
