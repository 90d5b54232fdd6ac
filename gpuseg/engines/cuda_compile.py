"""Kernels to machine code with NVRTC (room: engines; for ``cuda``, and for tests that have no device).

CuPy's own ``RawModule`` cannot be used: it appends ``-ftz=true`` to whatever options it is given, and the last one wins
(seen in CuPy 14.2). Subnormal distances would be flushed to zero, and the answer would not be that of the CPU engine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.errors import ContractError

logger = logging.getLogger("gpuseg.engines")

OPTIONS = ("-std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")
"""The arithmetic of ONE_ANSWER, section 1."""


@dataclass(frozen=True)
class Compiled:
    """Code for one architecture.

    Parameters
    ----------
    code : bytes
        A cubin, or PTX where NVRTC does not know the architecture yet.
    symbols : dict of str to str
        Symbol of each kernel that was asked for.
    """

    code: bytes
    symbols: dict[str, str]


def compile_options(source: str, defines: Mapping[str, int | str], target: str) -> tuple[str, ...]:
    """All options of one compilation; those that change the code are in any cache's key.

    Parameters
    ----------
    source : str
        Source with its headers inlined; its hash is among the options.
    defines : mapping
        Preprocessor definitions.
    target : str
        "sm_80" for machine code, "compute_80" for PTX.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    given = tuple(f"-D{name}={value}" for name, value in sorted(defines.items()))
    return (*OPTIONS, f"-arch={target}", *given, f"-DGPUSEG_SOURCE=0x{digest}ull")


def compile_kernels(
    nvrtc: Any, source: str, names: Sequence[str], defines: Mapping[str, int | str], architecture: int
) -> Compiled:
    """Compile ``names`` of ``source``.

    Parameters
    ----------
    nvrtc : module
        ``cupy.cuda.nvrtc``.
    source : str
        CUDA C++ without includes.
    names : sequence of str
        C++ expressions of the kernels.
    defines : mapping
        Preprocessor definitions.
    architecture : int
        Compute capability of the device, 80 for 8.0.

    Returns
    -------
    Compiled
        Code and symbols.

    Raises
    ------
    ContractError
        NVRTC refuses the source; the message is its own.
    """
    known = [int(arch) for arch in nvrtc.getSupportedArchs()]
    exact = architecture in known
    target = (
        f"sm_{architecture}"
        if exact
        else f"compute_{max((a for a in known if a < architecture), default=known[0])}"
    )
    program = nvrtc.createProgram(source, "gpuseg.cu", (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, compile_options(source, defines, target))
        except nvrtc.NVRTCError as error:
            msg = f"NVRTC refuses a kernel for {target}: {error}\n{nvrtc.getProgramLog(program)}"
            raise ContractError(msg) from None
        symbols = {name: _text(nvrtc.getLoweredName(program, name)) for name in names}
        code = nvrtc.getCUBIN(program) if exact else nvrtc.getPTX(program)
    finally:
        nvrtc.destroyProgram(program)
    return Compiled(code if isinstance(code, bytes) else code.encode(), symbols)


def cached_kernels(
    nvrtc: Any, source: str, names: Sequence[str], defines: Mapping[str, int | str], architecture: int
) -> Compiled:
    """What :func:`compile_kernels` gives, from the disk where a process before compiled the same.

    Parameters
    ----------
    nvrtc, source, names, defines, architecture : as :func:`compile_kernels` takes them
        All of them, the version of NVRTC and the options are in the name of the file.

    Returns
    -------
    Compiled
        Code and symbols.
    """
    options = compile_options(source, defines, str(architecture))
    key = repr(
        (tuple(nvrtc.getVersion()), options, tuple(names), hashlib.sha256(source.encode()).hexdigest())
    )
    path = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.kernels"
    found = _read(path)
    if found is None:
        found = compile_kernels(nvrtc, source, names, defines, architecture)
        _write(path, found)
    return found


def cache_folder() -> Path:
    """Folder of compiled kernels: GPUSEG_KERNEL_CACHE, else the user's cache."""
    chosen = os.environ.get("GPUSEG_KERNEL_CACHE")
    if chosen:
        return Path(chosen)
    # Without a home folder nothing is kept, which a log line says.
    home = Path(os.environ.get("HOME") or "/")
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "gpuseg" / "kernels"


def _read(path: Path) -> Compiled | None:
    """What is in a file: a digest of the rest, symbols as JSON, code; None where any of it is missing or broken."""
    try:
        digest, symbols, code = path.read_bytes().split(b"\n", 2)
        if digest.decode() != _digest(symbols, code):
            return None
        return Compiled(code, json.loads(symbols))
    except (OSError, ValueError):
        return None


def _write(path: Path, compiled: Compiled) -> None:
    symbols = json.dumps(compiled.symbols).encode()
    # Machines that share a home folder may share numbers of processes and threads as well.
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"\n".join([_digest(symbols, compiled.code).encode(), symbols, compiled.code]))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        logger.info(
            "compiled kernels cannot be kept in %s, so each process compiles them anew: %s",
            path.parent,
            error,
        )


def _digest(symbols: bytes, code: bytes) -> str:
    return hashlib.sha256(symbols + b"\n" + code).hexdigest()


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
