"""The ``Device`` of gpuseg.engines.launch with a CPU behind it: kernels run as host builds, stricter than a GPU would.

It checks every argument against the kernel's C++ signature, hands out memory full of garbage and no more of it than the
device has, refuses to mix host and device arrays, refuses geometry beyond the device, and logs launches. With
``deferred`` streams nothing happens before somebody waits for it, and then in a seeded order, so that a forgotten wait
shows.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpuseg.engines.launch import DeviceProps
from gpuseg.errors import DeviceMemoryError
from tests.emulator.build import BUILDS, Library, asan_functions, asan_is_loaded, build, line_of

ORDERS = ("forward", "reverse", "random")
# One multiprocessor: a grid is small, and a thousand rows go round its stride loop.
PROPS = DeviceProps(
    name="emulated",
    architecture=80,
    multiprocessors=1,
    max_threads=1024,
    max_shared=48 << 10,
    optin_shared=163 << 10,
    total_memory=1 << 30,
)
_ALIGNMENT = 256


class EmulationError(RuntimeError):
    """A kernel did what a GPU would not forgive: deadlock, divergent shuffle, failed assertion, a checker's find."""


class ArgumentError(TypeError):
    """A launch whose arguments or geometry do not fit the kernel or the device."""


class EmulatedArray:
    """Device memory; numpy cannot read it. Guard bytes lie before and after it."""

    def __init__(self, shape: int | tuple[int, ...], dtype: Any) -> None:
        self.shape = _shape(shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._buffer = np.empty(self.nbytes + 3 * _ALIGNMENT, np.uint8)
        start = -self._buffer.ctypes.data % _ALIGNMENT + _ALIGNMENT
        self._bytes = self._buffer[start : start + self.nbytes]
        self.written: np.ndarray | None = None  # one a byte, kept by the check build
        if asan_is_loaded():
            self._guard(start)

    def _guard(self, start: int) -> None:
        """AddressSanitizer's redzones around the bytes that are ours."""
        poison, unpoison = asan_functions()
        whole, size = self._buffer.ctypes.data, self._buffer.nbytes
        end = start + self.nbytes
        poison(whole, start)
        poison(whole + end, size - end)
        weakref.finalize(self, unpoison, whole, size).atexit = False

    def mark_written(self, written: bool) -> None:
        """All of it, or nothing."""
        if self.written is not None:
            self.written.fill(written)

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


@dataclass(frozen=True)
class LineTraffic:
    """What one load or store of a source line did in one launch; see host/check.cpp."""

    line: str
    kind: str
    space: str
    size: int
    requests: int
    accesses: int
    sectors: int
    moved: int
    first: int
    wavefronts: int
    least: int


@dataclass(frozen=True)
class LaunchTraffic:
    """What one launch did."""

    launch: LaunchRecord
    lines: tuple[LineTraffic, ...]


class _CRegion(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_ulonglong),
        ("size", ctypes.c_ulonglong),
        ("written", ctypes.c_void_p),
        ("writable", ctypes.c_int),
    )


class _CLaunch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_ulonglong),
        ("seed", ctypes.c_ulonglong),
        ("order", ctypes.c_int),
        ("strict", ctypes.c_int),
        ("count", ctypes.c_int),
        ("region_count", ctypes.c_uint),
        ("regions", ctypes.POINTER(_CRegion)),
    )


class _CLineCount(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint) for name in ("pc", "kind", "space", "size")),
        *(
            (name, ctypes.c_ulonglong)
            for name in ("requests", "accesses", "sectors", "moved", "first", "wavefronts", "least")
        ),
    )


_KINDS = ("read", "write", "atomic")
_SPACES = ("global", "shared")


class EmulatedEvent:
    """A point in the order of a stream."""

    def __init__(self, streams: _Streams, reached: bool) -> None:
        self.reached = reached
        self._streams = streams

    def synchronize(self) -> None:
        self._streams.run_until(lambda: self.reached)


class EmulatedStream:
    """Work in order; counts who waited for it."""

    def __init__(self, streams: _Streams) -> None:
        self.synchronized = 0
        self.work: deque[Callable[[], None] | EmulatedEvent] = deque()
        self._streams = streams

    def synchronize(self) -> None:
        self.synchronized += 1
        self._streams.run_until(lambda: not self.work)

    def record(self) -> EmulatedEvent:
        event = EmulatedEvent(self._streams, reached=not self.work)
        if self.work:
            self._streams.queue(self, lambda: setattr(event, "reached", True))
        return event

    def wait(self, event: EmulatedEvent) -> None:
        if not isinstance(event, EmulatedEvent):
            raise ArgumentError(f"a stream waits for an event, not for {type(event).__name__}")
        if not event.reached:
            self._streams.queue(self, event)

    def do(self, work: Callable[[], None]) -> None:
        """Now, or when somebody waits."""
        if self._streams.deferred:
            self._streams.queue(self, work)
        else:
            work()


class _Streams:
    """Runs deferred work: the next piece of any stream that no event holds back, by seed."""

    def __init__(self, seed: int, deferred: bool) -> None:
        self.deferred = deferred
        self._with_work: list[EmulatedStream] = []
        self._draw = np.random.default_rng([seed, 1])
        self._lock = threading.RLock()

    def queue(self, stream: EmulatedStream, work: Callable[[], None] | EmulatedEvent) -> None:
        with self._lock:
            if not stream.work:
                self._with_work.append(stream)
            stream.work.append(work)

    def run_until(self, reached: Callable[[], bool]) -> None:
        with self._lock:
            while not reached():
                self._step()

    def drain(self) -> None:
        self.run_until(lambda: not self._with_work)

    def _step(self) -> None:
        ready = [stream for stream in self._with_work if not _is_held(stream.work[0])]
        stream = ready[self._draw.integers(len(ready))]
        work = stream.work.popleft()
        if not stream.work:
            self._with_work.remove(stream)
        if not isinstance(work, EmulatedEvent):
            work()


def _is_held(work: Callable[[], None] | EmulatedEvent) -> bool:
    return isinstance(work, EmulatedEvent) and not work.reached


class EmulatedDevice:
    """A GPU of fibers.

    Parameters
    ----------
    how : str, optional
        Which build of tests.emulator.build runs the kernels; by default what GPUSEG_EMULATED says (``--device`` sets
        it, so that worker processes know), else "plain".
    order : {"forward", "reverse", "random"}
        In which order threads and blocks run.
    seed : int
        Of the random order, of the garbage in fresh memory, of the order of deferred work.
    props : DeviceProps
        Limits that launches and allocations are held to.
    strict : bool, optional
        Whether a thread that returns before a barrier is an error; by default in the check build.
    count : bool, default False
        Whether the check build counts traffic, into ``traffic``: one entry a launch.
    deferred : bool, default False
        Whether launches, uploads and fills run only when somebody waits: streams in a seeded order, but for their
        events. Otherwise each runs at once.
    """

    def __init__(
        self,
        how: str | None = None,
        order: str = "forward",
        seed: int = 0,
        props: DeviceProps = PROPS,
        *,
        deferred: bool = False,
        strict: bool | None = None,
        count: bool = False,
    ) -> None:
        self.how = how or os.environ.get("GPUSEG_EMULATED", "plain")
        if self.how not in BUILDS or (count and self.how != "check"):
            raise ArgumentError(f"how={self.how!r}, count={count}: one of {list(BUILDS)}; check alone counts")
        self.strict = self.how == "check" if strict is None else strict
        self.count = count
        self.traffic: list[LaunchTraffic] = []
        self.order = order
        self.seed = seed
        self.props = props
        self._streams = _Streams(seed, deferred)
        self.stream = EmulatedStream(self._streams)
        self.launches: list[LaunchRecord] = []
        self.releases = 0
        self.memory = MemoryUse()
        self.xp = SimpleNamespace(empty=self.empty, zeros=self.zeros, asnumpy=self.to_host)
        self._garbage = np.random.default_rng(seed)

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> EmulatedModule:
        return EmulatedModule(self, source, names, defines or {})

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> EmulatedArray:
        array = self._allocate(shape, dtype)
        array._bytes[...] = self._garbage.integers(0, 256, array.nbytes, np.uint8)
        return array

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> EmulatedArray:
        array = self.empty(shape, dtype) if self._streams.deferred else self._allocate(shape, dtype)
        self.stream.do(lambda: array._bytes.fill(0))
        array.mark_written(True)
        return array

    def to_device(self, array: np.ndarray) -> EmulatedArray:
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            raise ArgumentError(f"to_device takes a C-contiguous numpy array, not {type(array).__name__}")
        # CUDA has taken pageable memory when it returns: the caller may write to it at once.
        source = array.copy() if self._streams.deferred else array
        target = (self.empty if self._streams.deferred else self._allocate)(array.shape, array.dtype)
        self.stream.do(lambda: np.copyto(target.contents, source))
        target.mark_written(True)
        return target

    def to_host(self, array: EmulatedArray) -> np.ndarray:
        if not isinstance(array, EmulatedArray):
            raise ArgumentError(f"to_host takes a device array, not {type(array).__name__}")
        self.stream.synchronize()
        return array.contents.copy()

    def new_stream(self) -> EmulatedStream:
        return EmulatedStream(self._streams)

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
        stream.do(lambda: np.copyto(target.contents, source))
        target.mark_written(True)

    def release(self) -> None:
        self.releases += 1

    def _allocate(self, shape: int | tuple[int, ...], dtype: Any) -> EmulatedArray:
        wanted = math.prod(_shape(shape)) * np.dtype(dtype).itemsize
        if self.memory.used + wanted > self.props.total_memory:
            self._streams.drain()  # what waits to run holds memory too
        self.memory.take(wanted, self.props.total_memory)
        array = EmulatedArray(shape, dtype)
        if self.how == "check":
            array.written = np.zeros(max(array.nbytes, 1), np.uint8)
        weakref.finalize(array, self.memory.give, wanted).atexit = False
        return array


class MemoryUse:
    """Bytes of one device that are in use, the most that ever were, and what was given back."""

    def __init__(self) -> None:
        self.used = self.peak = self.freed = 0
        self._lock = threading.Lock()

    def take(self, wanted: int, limit: int) -> None:
        with self._lock:
            if self.used + wanted > limit:
                raise DeviceMemoryError(
                    f"{wanted} bytes wanted, {self.used} of {limit} in use on the emulated device"
                )
            self.used += wanted
            self.peak = max(self.peak, self.used)

    def give(self, size: int) -> None:
        with self._lock:
            self.used -= size
            self.freed += size


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

    def __init__(self, device: EmulatedDevice, library: Library, index: int, name: str) -> None:
        self._device = device
        self._library = library
        self._index = index
        self._name = name
        self.signature = library.signatures[index]

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
        device.launches.append(record)
        # The arrays stay alive until the launch has run.
        device.stream.do(lambda: self._run(record, values, args))

    def _run(self, record: LaunchRecord, values: Sequence[np.ndarray], args: Sequence[Any]) -> None:
        device = self._device
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        regions = self._regions(args)
        launch = _CLaunch(
            record.grid,
            record.block,
            record.shared,
            device.seed,
            ORDERS.index(device.order),
            device.strict,
            device.count,
            len(regions),
            regions,
        )
        with self._lock:
            message = self._library.functions.gpuseg_launch(self._index, ctypes.byref(launch), pointers)
            counted = self._counted() if device.count else ()
        if message is not None:
            raise EmulationError(f"{self._name}: {self._readable(message.decode())}")
        if device.count:
            device.traffic.append(LaunchTraffic(record, counted))

    def _regions(self, args: Sequence[Any]) -> ctypes.Array[_CRegion]:
        """The arrays of a launch; one that is passed twice is writable if one parameter may write."""
        arrays: dict[int, tuple[EmulatedArray, bool]] = {}
        for code, value in zip(self.signature, args, strict=True):
            if code.startswith("*"):
                before = arrays.get(value.address, (value, False))[1]
                arrays[value.address] = value, before or not code.startswith("*c")
        return (_CRegion * len(arrays))(
            *(
                _CRegion(
                    address,
                    array.nbytes,
                    None if array.written is None else array.written.ctypes.data,
                    writable,
                )
                for address, (array, writable) in arrays.items()
            )
        )

    def _counted(self) -> tuple[LineTraffic, ...]:
        room = self._library.functions.gpuseg_lines(None, 0)
        lines = (_CLineCount * room)()
        self._library.functions.gpuseg_lines(lines, room)
        return tuple(
            LineTraffic(
                line_of(self._library.path, line.pc),
                _KINDS[line.kind],
                _SPACES[line.space],
                *(getattr(line, name) for name, _ in _CLineCount._fields_[3:]),
            )
            for line in lines
        )

    def _readable(self, message: str) -> str:
        """Addresses as lines of the source; of a report of AddressSanitizer what happened and where."""
        report = re.search(
            r"AddressSanitizer: ([\w-]+).*?^((?:READ|WRITE) of size \d+).*?^ +#0.*?([^/\s]+:\d+)",
            message,
            re.DOTALL | re.MULTILINE,
        )
        if report:
            return f"{report[3]}: {report[1]}: {report[2]}"
        return re.sub(r"<pc (\w+)>", lambda found: line_of(self._library.path, int(found[1], 16)), message)

    def _require_geometry(self, record: LaunchRecord) -> None:
        props = self._device.props
        limits = (2**31 - 1, 65_535, 65_535)
        if not all(1 <= size <= limit for size, limit in zip(record.grid, limits, strict=True)):
            raise ArgumentError(f"{self._name}: grid {record.grid} is not within 1 .. {limits}")
        if min(record.block) < 1 or math.prod(record.block) > props.max_threads:
            raise ArgumentError(f"{self._name}: block {record.block} exceeds {props.max_threads} threads")
        if not 0 <= record.shared <= props.optin_shared:
            raise ArgumentError(f"{self._name}: {record.shared} shared bytes exceed {props.optin_shared}")

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


def _shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*map(int, sizes), 1, 1, 1)[:3]
    return x, y, z
