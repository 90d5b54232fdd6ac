"""The ``Device`` of gpuseg.engines.launch with a CPU behind it: kernels run as host builds, stricter than a GPU would.

It checks every argument against the kernel's C++ signature, hands out memory full of garbage, refuses to mix host and
device arrays, refuses geometry beyond the device, and logs launches.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpuseg.engines.launch import DeviceProps
from tests.emulator.build import build

ORDERS = ("forward", "reverse", "random")
# One multiprocessor: a grid is small, and a thousand rows go round its stride loop.
PROPS = DeviceProps(
    name="emulated",
    architecture=80,
    multiprocessors=1,
    max_threads=1024,
    max_shared=48 << 10,
    total_memory=1 << 30,
)
_ALIGNMENT = 256


class EmulationError(RuntimeError):
    """A kernel did what a GPU would not forgive: deadlock, divergent shuffle, failed assertion."""


class ArgumentError(TypeError):
    """A launch whose arguments or geometry do not fit the kernel or the device."""


class EmulatedArray:
    """Device memory; numpy cannot read it."""

    def __init__(self, shape: int | tuple[int, ...], dtype: Any) -> None:
        self.shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._buffer = np.empty(self.nbytes + _ALIGNMENT, np.uint8)
        start = -self._buffer.ctypes.data % _ALIGNMENT
        self._bytes = self._buffer[start : start + self.nbytes]

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentError("a device array was used as a host array; copy it with to_host first")

    def __repr__(self) -> str:
        return f"EmulatedArray(shape={self.shape}, dtype={self.dtype})"

    @property
    def address(self) -> int:
        return self._bytes.ctypes.data

    @property
    def contents(self) -> np.ndarray:
        """A host view, for the device and for tests that look under it."""
        return self._bytes.view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class LaunchRecord:
    """One launch, as the log keeps it."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int


class _CLaunch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_ulonglong),
        ("seed", ctypes.c_ulonglong),
        ("order", ctypes.c_int),
    )


class EmulatedEvent:
    """A point in a stream of which everything has already happened."""

    def synchronize(self) -> None:
        pass


class EmulatedStream:
    """Everything has already happened; counts who asked."""

    def __init__(self) -> None:
        self.synchronized = 0

    def synchronize(self) -> None:
        self.synchronized += 1

    def record(self) -> EmulatedEvent:
        return EmulatedEvent()

    def wait(self, event: EmulatedEvent) -> None:
        if not isinstance(event, EmulatedEvent):
            raise ArgumentError(f"a stream waits for an event, not for {type(event).__name__}")


class EmulatedDevice:
    """A GPU of fibers.

    Parameters
    ----------
    how : str, default "plain"
        Which build of tests.emulator.build runs the kernels.
    order : {"forward", "reverse", "random"}
        In which order threads and blocks run.
    seed : int
        Of the random order and of the garbage in fresh memory.
    props : DeviceProps
        Limits that launches are held to.
    """

    def __init__(
        self, how: str = "plain", order: str = "forward", seed: int = 0, props: DeviceProps = PROPS
    ) -> None:
        self.how = how
        self.order = order
        self.seed = seed
        self.props = props
        self.stream = EmulatedStream()
        self.launches: list[LaunchRecord] = []
        self.releases = 0
        self.xp = SimpleNamespace(empty=self.empty, zeros=self.zeros, asnumpy=self.to_host)
        self._garbage = np.random.default_rng(seed)

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> EmulatedModule:
        return EmulatedModule(self, source, names, defines or {})

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> EmulatedArray:
        array = EmulatedArray(shape, dtype)
        array._bytes[...] = self._garbage.integers(0, 256, array.nbytes, np.uint8)
        return array

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> EmulatedArray:
        array = EmulatedArray(shape, dtype)
        array._bytes[...] = 0
        return array

    def to_device(self, array: np.ndarray) -> EmulatedArray:
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            raise ArgumentError(f"to_device takes a C-contiguous numpy array, not {type(array).__name__}")
        copy = EmulatedArray(array.shape, array.dtype)
        copy.contents[...] = array
        return copy

    def to_host(self, array: EmulatedArray) -> np.ndarray:
        if not isinstance(array, EmulatedArray):
            raise ArgumentError(f"to_host takes a device array, not {type(array).__name__}")
        self.stream.synchronize()
        return array.contents.copy()

    def new_stream(self) -> EmulatedStream:
        return EmulatedStream()

    def pinned(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[...] = self._garbage.integers(0, 256, array.nbytes, np.uint8)
        return array

    def upload(self, source: np.ndarray, target: EmulatedArray, stream: EmulatedStream) -> None:
        if not isinstance(source, np.ndarray) or not source.flags.c_contiguous:
            raise ArgumentError(f"upload takes a C-contiguous numpy array, not {type(source).__name__}")
        if (source.shape, source.dtype) != (target.shape, target.dtype):
            raise ArgumentError(
                f"upload of {source.dtype} {source.shape} to {target.dtype} {target.shape}: they must be alike"
            )
        target.contents[...] = source

    def release(self) -> None:
        self.releases += 1


class EmulatedModule:
    """Kernels of one host build."""

    def __init__(
        self, device: EmulatedDevice, source: str, names: Sequence[str], defines: Mapping[str, int | str]
    ) -> None:
        self._device = device
        self._library = build(source, names, defines, device.how)
        self._kernels = {
            name: EmulatedKernel(device, self._library, index, name) for index, name in enumerate(names)
        }

    def __getitem__(self, name: str) -> EmulatedKernel:
        if name not in self._kernels:
            raise KeyError(
                f"{name!r} is not among the names that the module was made with: {list(self._kernels)}"
            )
        return self._kernels[name]


class EmulatedKernel:
    """One kernel; a launch runs it to its end."""

    # A host build keeps its state in static variables, and ctypes releases the interpreter's lock.
    _lock = threading.Lock()

    def __init__(self, device: EmulatedDevice, library: ctypes.CDLL, index: int, name: str) -> None:
        self._device = device
        self._library = library
        self._index = index
        self._name = name
        self.signature = tuple(library.gpuseg_signature(index).decode().split())

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared: int = 0
    ) -> None:
        device = self._device
        record = LaunchRecord(self._name, _three(grid), _three(block), int(shared))
        self._require_geometry(record)
        if len(args) != len(self.signature):
            raise ArgumentError(f"{self._name} takes {len(self.signature)} arguments, got {len(args)}")
        values = [
            self._c_value(i, code, value)
            for i, (code, value) in enumerate(zip(self.signature, args, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        launch = _CLaunch(record.grid, record.block, record.shared, device.seed, ORDERS.index(device.order))
        device.launches.append(record)
        with self._lock:
            message = self._library.gpuseg_launch(self._index, ctypes.byref(launch), pointers)
        if message is not None:
            raise EmulationError(f"{self._name}: {message.decode()}")

    def _require_geometry(self, record: LaunchRecord) -> None:
        props = self._device.props
        limits = (2**31 - 1, 65_535, 65_535)
        if not all(1 <= size <= limit for size, limit in zip(record.grid, limits, strict=True)):
            raise ArgumentError(f"{self._name}: grid {record.grid} is not within 1 .. {limits}")
        if min(record.block) < 1 or math.prod(record.block) > props.max_threads:
            raise ArgumentError(f"{self._name}: block {record.block} exceeds {props.max_threads} threads")
        if not 0 <= record.shared <= props.max_shared:
            raise ArgumentError(f"{self._name}: {record.shared} shared bytes exceed {props.max_shared}")

    def _c_value(self, position: int, code: str, value: Any) -> np.ndarray:
        """The argument's bytes: an address for a pointer, the number itself for a value."""
        what = f"argument {position} of {self._name}"
        if code.startswith("*"):
            wanted = code.removeprefix("*").removeprefix("c")
            if not isinstance(value, EmulatedArray):
                raise ArgumentError(
                    f"{what} is a pointer to {wanted}: pass a device array, not {type(value).__name__}"
                )
            if _code(value.dtype) != wanted:
                raise ArgumentError(f"{what} is a pointer to {wanted}, not to {_code(value.dtype)}")
            return np.array([value.address], np.uint64)
        if not isinstance(value, np.generic) or _code(value.dtype) != code:
            given = _code(value.dtype) if isinstance(value, np.generic) else type(value).__name__
            raise ArgumentError(f"{what} is {code} by value, not {given}: pass the numpy scalar of that type")
        return np.array([value])


def _code(dtype: np.dtype) -> str:
    return f"{dtype.kind}{dtype.itemsize}"


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*map(int, sizes), 1, 1, 1)[:3]
    return x, y, z
