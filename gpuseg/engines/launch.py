"""The seam between host code and kernels (room: engines; only engines may call it).

:class:`Device` is all that host code knows of a GPU: CuPy stands behind it in production, an emulator on the CPU in the
tests, so everything above it runs in both. Beside it live what every launch needs: grid arithmetic (pure functions),
kernel sources with their headers inlined, the error word. Verbs that are built on it have modules of their own
(:mod:`gpuseg.engines.device.moments`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpuseg.errors import ContractError

WARP = 32
MAX_GRID_Y = 65_535
BLOCKS_PER_MULTIPROCESSOR = 8
"""Blocks a row-wise grid gives each multiprocessor; more rows than that go round in a grid-stride loop."""

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_ERRORS = {
    1: "a value is not finite or does not fit its fixed-point scale",
    2: "a weight is negative, not finite or, where integral, not below 2**31",
    4: "a label is not one of 0 .. k - 1",
}


class DeviceArray(Protocol):
    """Memory of a device: contiguous, C order. It never mixes with numpy arrays except by ``to_device, to_host``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in elements."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...


class Kernel(Protocol):
    """A compiled kernel."""

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared: int = 0
    ) -> None:
        """Launch on the device's current stream; returns at once.

        Parameters
        ----------
        grid, block : tuple of up to three int
            Blocks, and threads a block.
        args : sequence of DeviceArray or numpy scalar
            One a parameter, of exactly its type: ``numpy.int64`` for ``long long``, never a Python number, which has a
            width of its own.
        shared : int, default 0
            Dynamic shared memory in bytes.
        """
        ...


class Module(Protocol):
    """Compiled source: kernels by name."""

    def __getitem__(self, name: str) -> Kernel:
        """The kernel of one of the ``names`` that the module was made with."""
        ...


class Event(Protocol):
    """A point in the order of a stream."""

    def synchronize(self) -> None:
        """Wait on the host until all work before this point has ended."""
        ...


class Stream(Protocol):
    """Work in order."""

    def synchronize(self) -> None:
        """Wait until everything launched on this stream has ended."""
        ...

    def record(self) -> Event:
        """The point after all work that this stream has been given so far."""
        ...

    def wait(self, event: Event) -> None:
        """Start nothing that is given to this stream from now on before ``event``; the host does not wait."""
        ...


@dataclass(frozen=True)
class DeviceProps:
    """What launches and memory plans need to know of a device.

    Parameters
    ----------
    name : str
        As the driver gives it.
    architecture : int
        Compute capability, 80 for 8.0.
    multiprocessors, max_threads : int
        Multiprocessors; threads a block may have.
    max_shared : int
        Dynamic shared memory in bytes that a block may have and leave room for others: what needs no opting in.
    optin_shared : int
        Dynamic shared memory in bytes that a block may have at all; a launch that needs it opts in by itself.
    total_memory : int
        Bytes of device memory.
    """

    name: str
    architecture: int
    multiprocessors: int
    max_threads: int
    max_shared: int
    optin_shared: int
    total_memory: int


class Device(Protocol):
    """One GPU, or what stands for it."""

    @property
    def props(self) -> DeviceProps:
        """Its limits."""
        ...

    @property
    def stream(self) -> Stream:
        """The stream that launches and copies of this thread go to."""
        ...

    @property
    def xp(self) -> Any:
        """Array module of its memory (cupy), for what needs no kernel of ours."""
        ...

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> Module:
        """Compile ``source`` (:func:`kernel_source`), once a process for equal arguments.

        Parameters
        ----------
        source : str
            CUDA C++ without includes.
        names : sequence of str
            Kernels to look up: C++ expressions, ``"moments_partial<REAL>"`` for a template.
        defines : mapping, optional
            Preprocessor definitions.
        """
        ...

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """Memory with arbitrary contents, aligned to 256 bytes; DeviceMemoryError where there is not enough.

        It goes back when the last reference goes.
        """
        ...

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """Memory of zeros, aligned to 256 bytes."""
        ...

    def to_device(self, array: npt.NDArray[Any]) -> DeviceArray:
        """Copy a C-contiguous host array to the device."""
        ...

    def to_host(self, array: DeviceArray) -> npt.NDArray[Any]:
        """Copy to the host; waits for the stream."""
        ...

    def new_stream(self) -> Stream:
        """A stream beside :attr:`stream`; nothing orders the two but events."""
        ...

    def pinned(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Page-locked host memory with arbitrary contents: what :meth:`upload` reads while the host goes on."""
        ...

    def upload(self, source: npt.NDArray[Any], target: DeviceArray, stream: Stream) -> None:
        """Start a copy on ``stream`` and return at once.

        Parameters
        ----------
        source : ndarray
            From :meth:`pinned`, not to be written before the copy has ended.
        target : DeviceArray
            Of the same shape and type.
        stream : Stream
            Of this device.
        """
        ...

    def release(self) -> None:
        """Give memory that is cached but not in use back to the driver."""
        ...


@dataclass(frozen=True)
class Geometry:
    """Blocks and threads of one launch."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]

    @property
    def threads(self) -> int:
        """Threads in one block."""
        return self.block[0] * self.block[1] * self.block[2]


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below a / b."""
    return -(-a // b)


def plan_rows(n_rows: int, props: DeviceProps, *, threads: int = 256, tiles: int = 1) -> Geometry:
    """Grid-stride launch over rows (x) and over tiles of something else (y).

    Parameters
    ----------
    n_rows : int
        Rows, 0 included: one block then still runs and writes its zeros.
    props : DeviceProps
        The device.
    threads : int, default 256
        Threads a block: whole warps.
    tiles : int, default 1
        Desired ``grid[1]``; kernels stride over what passes 65,535.

    Returns
    -------
    Geometry
        No more blocks than rows need, and none that would only wait for a multiprocessor.

    Raises
    ------
    ContractError
        If the device has no blocks of so many threads.
    """
    if threads < WARP or threads % WARP:
        raise ValueError(f"threads={threads} must be a multiple of {WARP}")
    if threads > props.max_threads:
        raise ContractError(
            f"blocks of {threads} threads do not fit {props.name}, whose blocks have up to {props.max_threads}; "
            "use engine='cpu'"
        )
    along = min(ceil_div(n_rows, threads), BLOCKS_PER_MULTIPROCESSOR * props.multiprocessors)
    return Geometry((max(along, 1), min(max(tiles, 1), MAX_GRID_Y), 1), (threads, 1, 1))


def plan_groups(n_groups: int, *, threads: int = 128) -> Geometry:
    """One block a group."""
    return Geometry((n_groups, 1, 1), (threads, 1, 1))


@cache
def kernel_source(name: str) -> str:
    """A kernel file with its headers inlined, each once, and ``#line`` marks that keep messages pointing home.

    Inlining also makes CuPy's disk cache notice an edited header, which its key otherwise ignores.

    Parameters
    ----------
    name : str
        File name in ``kernels/``, ``"moments.cu"``.

    Returns
    -------
    str
        Source for :meth:`Device.module`.

    Raises
    ------
    FileNotFoundError
        If there is no such file in the installed package or the repository.
    """
    return inline_headers(name, read_kernel_file)


def read_kernel_file(name: str) -> str:
    """Text of a file of ``kernels/``: from the wheel or editable install, else from the repository around this file."""
    try:
        found = resources.files("gpuseg.kernels").joinpath(name)
        if found.is_file():
            return found.read_text(encoding="utf-8")
    except ModuleNotFoundError:
        pass
    path = Path(__file__).resolve().parents[2] / "kernels" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"kernel file {name!r} is in neither gpuseg.kernels nor {path.parent}; reinstall gpuseg"
        )
    return path.read_text(encoding="utf-8")


def inline_headers(name: str, read: Callable[[str], str]) -> str:
    """Replace ``#include "..."`` by the file's text, the first time, and by nothing later.

    Parameters
    ----------
    name : str
        File to start from.
    read : callable
        Text of a file by name.
    """
    seen: set[str] = set()

    def expand(file: str) -> list[str]:
        seen.add(file)
        lines = [f'#line 1 "{file}"']
        for number, line in enumerate(read(file).splitlines(), start=1):
            include = _INCLUDE.match(line)
            if include and include[1] not in seen:
                lines += [*expand(include[1]), f'#line {number + 1} "{file}"']
            elif include or line.strip() == "#pragma once":
                lines.append("")
            else:
                lines.append(line)
        return lines

    return "\n".join(expand(name)) + "\n"


def require_no_error(device: Device, error: DeviceArray) -> None:
    """Decode the error word that kernels set.

    Parameters
    ----------
    device : Device
        Where the word lies.
    error : DeviceArray
        uint32, shape (1,).

    Raises
    ------
    ContractError
        If a bit is set.
    """
    word = int(device.to_host(error)[0])
    if word:
        causes = [text for bit, text in _ERRORS.items() if word & bit] or [f"unknown error word {word:#x}"]
        raise ContractError(
            f"a kernel refused its input: {'; '.join(causes)}; scan the data with the same weights first"
        )
