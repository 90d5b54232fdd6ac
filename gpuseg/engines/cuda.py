"""CUDA through CuPy (room: engines): the only file that imports cupy, always inside a function.

:class:`CudaDevice` is the :class:`gpuseg.engines.launch.Device` of production; :func:`unavailable` says in one sentence
why there is none, with the remedy.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpuseg.engines import cuda_driver
from gpuseg.engines.cuda_compile import cached_kernels
from gpuseg.engines.launch import DeviceProps, Event, Stream
from gpuseg.errors import ContractError, DeviceMemoryError, EngineUnavailableError

if TYPE_CHECKING:
    from gpuseg.engines.device.engine import DeviceEngine

OLDEST_DRIVER = 12_000

_lock = threading.Lock()
"""One thread at a time compiles, and makes the engine."""


def unavailable() -> str | None:
    """Why kernels cannot run in this process, with the remedy; None where they can."""
    return _unavailable(os.getpid())  # a child of a fork cannot use its parent's CUDA


def cuda_engine() -> DeviceEngine:
    """The engine of this process, on the first device that it is shown and can use.

    Raises
    ------
    EngineUnavailableError
        Where there is none; the message has the reason and the remedy.
    """
    reason = unavailable()
    if reason is not None:
        raise EngineUnavailableError(reason)
    with _lock:
        return _engine(os.getpid())


def nvrtc_version() -> str | None:
    """Version of the NVRTC that CuPy finds, or None."""
    try:
        from cupy.cuda import nvrtc

        major, minor = nvrtc.getVersion()
    except Exception:  # noqa: BLE001 (an import of a library of C++ can fail in any way)
        return None
    return f"{major}.{minor}"


@functools.cache
def _engine(process: int) -> DeviceEngine:
    del process
    import cupy

    from gpuseg.engines.device.engine import DeviceEngine

    return DeviceEngine(CudaDevice(cupy, cuda_driver.look().usable[0]))


@functools.cache
def _unavailable(process: int) -> str | None:
    del process
    driver = cuda_driver.look()
    if driver.problem:
        return driver.problem
    if driver.version < OLDEST_DRIVER:
        return f"the NVIDIA driver is for {driver}; update it to one for CUDA 12 or newer"
    return driver.unusable or _no_cupy(driver)


def _no_cupy(driver: cuda_driver.Driver) -> str | None:
    extra = "cuda13" if driver.version >= 13_000 else "cuda12"
    install = f'pip install "gpuseg[{extra}]"'
    if util.find_spec("cupy") is None:
        return f"CuPy is not installed; {install}"
    try:
        import cupy

        built = int(cupy.cuda.runtime.runtimeGetVersion())
    except Exception as error:  # noqa: BLE001 (an import of a library of C++ can fail in any way)
        return f"CuPy cannot be imported ({_first_line(error)}); {install}"
    if built // 1000 > driver.version // 1000:
        cure = f"pip uninstall cupy-cuda{built // 1000}x, then {install}, or update the driver"
        return f"CuPy is for CUDA {built // 1000} and the NVIDIA driver for {driver}; {cure}"
    if nvrtc_version() is None:
        return f"NVRTC, which compiles the kernels, is not found; {install}"
    return None


class CudaStream:
    """A CuPy stream behind the seam.

    Parameters
    ----------
    cupy : module
        CuPy.
    ordinal : int
        Number of its device. Whoever calls may have another one as the current one, and CUDA makes streams and events
        on that.
    """

    def __init__(self, cupy: Any, ordinal: int) -> None:
        self._cupy = cupy
        self._ordinal = ordinal
        with cupy.cuda.Device(ordinal):
            self.raw = cupy.cuda.Stream(non_blocking=True)

    def synchronize(self) -> None:
        """See :class:`gpuseg.engines.launch.Stream`."""
        with translated():
            self.raw.synchronize()

    def record(self) -> Event:
        """See :class:`gpuseg.engines.launch.Stream`."""
        with translated(), self._cupy.cuda.Device(self._ordinal):
            event = CudaEvent(self._cupy.cuda.Event(disable_timing=True))
            event.raw.record(self.raw)
            return event

    def wait(self, event: Event) -> None:
        """See :class:`gpuseg.engines.launch.Stream`."""
        assert isinstance(event, CudaEvent)
        with translated(), self._cupy.cuda.Device(self._ordinal):
            self.raw.wait_event(event.raw)


class CudaEvent:
    """A CuPy event behind the seam.

    Parameters
    ----------
    raw : cupy.cuda.Event
        The event.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def synchronize(self) -> None:
        """See :class:`gpuseg.engines.launch.Event`."""
        with translated():
            self.raw.synchronize()


class CudaDevice:
    """One GPU, through CuPy. Every thread has a stream of its own; compiled kernels are shared.

    Parameters
    ----------
    cupy : module
        CuPy.
    ordinal : int, default 0
        Number of the device among those that this process is shown.
    """

    def __init__(self, cupy: Any, ordinal: int = 0) -> None:
        self._cupy = cupy
        self._ordinal = ordinal
        self._own = threading.local()
        self._modules: dict[tuple[Any, ...], CudaModule] = {}
        self._lock = threading.Lock()
        found = cupy.cuda.runtime.getDeviceProperties(ordinal)
        self.props = DeviceProps(
            name=_text(found["name"]),
            architecture=10 * int(found["major"]) + int(found["minor"]),
            multiprocessors=int(found["multiProcessorCount"]),
            max_threads=int(found["maxThreadsPerBlock"]),
            max_shared=int(found["sharedMemPerBlock"]),
            optin_shared=int(found["sharedMemPerBlockOptin"]),
            total_memory=int(found["totalGlobalMem"]),
        )

    @property
    def stream(self) -> Stream:
        """The stream of this thread."""
        return self._stream()

    @property
    def xp(self) -> Any:
        """CuPy."""
        return self._cupy

    @contextmanager
    def current(self) -> Iterator[None]:
        """Device and stream of this thread as CuPy's current ones; errors of CUDA as those of gpuseg."""
        # A handle a use: not every Device of CuPy can be entered by several threads at a time.
        with translated(), self._cupy.cuda.Device(self._ordinal), self._stream().raw:
            yield

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> CudaModule:
        """See :meth:`gpuseg.engines.launch.Device.module`."""
        given = dict(defines or {})
        key = (source, tuple(names), tuple(sorted(given.items())))
        with self._lock:
            if key not in self._modules:
                nvrtc = self._cupy.cuda.nvrtc
                compiled = cached_kernels(nvrtc, source, names, given, self.props.architecture)
                with self.current():
                    loaded = self._cupy.cuda.function.Module()
                    loaded.load(compiled.code)
                    kernels = {name: loaded.get_function(compiled.symbols[name]) for name in names}
                self._modules[key] = CudaModule(self, kernels)
            return self._modules[key]

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """See :meth:`gpuseg.engines.launch.Device.empty`."""
        with self.current():
            return self._allocate(self._cupy.empty, shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """See :meth:`gpuseg.engines.launch.Device.zeros`."""
        with self.current():
            return self._allocate(self._cupy.zeros, shape, dtype)

    def to_device(self, array: npt.NDArray[Any]) -> Any:
        """See :meth:`gpuseg.engines.launch.Device.to_device`."""
        with self.current():
            target = self._allocate(self._cupy.empty, array.shape, array.dtype)
            target.set(array)
            return target

    def to_host(self, array: Any) -> npt.NDArray[Any]:
        """See :meth:`gpuseg.engines.launch.Device.to_host`."""
        with self.current():
            found: npt.NDArray[Any] = array.get()
            return found

    def new_stream(self) -> Stream:
        """See :meth:`gpuseg.engines.launch.Device.new_stream`."""
        with translated():
            return CudaStream(self._cupy, self._ordinal)

    def pinned(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """See :meth:`gpuseg.engines.launch.Device.pinned`."""
        empty = np.empty(shape, dtype)  # virtual memory only: nothing is written to it
        if not empty.nbytes:
            return empty
        with self.current():
            memory = self._cupy.cuda.alloc_pinned_memory(empty.nbytes)
        return np.frombuffer(memory, empty.dtype, empty.size).reshape(empty.shape)

    def upload(self, source: npt.NDArray[Any], target: Any, stream: Stream) -> None:
        """See :meth:`gpuseg.engines.launch.Device.upload`."""
        assert isinstance(stream, CudaStream)
        if source.nbytes:
            with self.current():
                target.data.copy_from_host_async(source.ctypes.data, source.nbytes, stream.raw)

    def release(self) -> None:
        """See :meth:`gpuseg.engines.launch.Device.release`."""
        with self.current():
            self._cupy.get_default_memory_pool().free_all_blocks()
            self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def opt_in(self, function: Any) -> None:
        """Let a kernel have all the shared memory that a block may have.

        Parameters
        ----------
        function : callable
            CuPy's function.
        """
        driver = self._cupy.cuda.driver
        what = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.funcSetAttribute(function.ptr, what, self.props.optin_shared)

    def _allocate(self, make: Callable[..., Any], shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """CuPy's pool keeps free memory by stream and size; with a limit it refuses before it gives any back."""
        try:
            return make(shape, dtype)
        except MemoryError:
            self._cupy.get_default_memory_pool().free_all_blocks()
            return make(shape, dtype)

    def _stream(self) -> CudaStream:
        if not hasattr(self._own, "stream"):
            self._own.stream = CudaStream(self._cupy, self._ordinal)
        stream: CudaStream = self._own.stream
        return stream


class CudaModule:
    """Loaded kernels.

    Parameters
    ----------
    device : CudaDevice
        Where they are.
    functions : dict of str to callable
        CuPy's function of each name.
    """

    def __init__(self, device: CudaDevice, functions: dict[str, Any]) -> None:
        self._kernels = {name: CudaKernel(device, name, raw) for name, raw in functions.items()}

    def __getitem__(self, name: str) -> CudaKernel:
        """See :class:`gpuseg.engines.launch.Module`."""
        return self._kernels[name]


class CudaKernel:
    """One loaded kernel.

    Parameters
    ----------
    device : CudaDevice
        Where it is.
    name : str
        As it was asked for.
    function : callable
        CuPy's function.
    """

    def __init__(self, device: CudaDevice, name: str, function: Callable[..., None]) -> None:
        self._device = device
        self._name = name
        self._function = function

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared: int = 0
    ) -> None:
        """See :class:`gpuseg.engines.launch.Kernel`."""
        device = self._device
        try:
            with device.current():
                if shared > device.props.max_shared:
                    device.opt_in(self._function)
                self._function(grid, block, tuple(args), shared_mem=shared)
        except ContractError as error:
            limits = (
                f"{device.props.max_threads} threads and {device.props.optin_shared} shared bytes a block"
            )
            asked = f"{self._name}: grid {grid}, block {block}, {shared} shared bytes; {device.props.name} has {limits}"
            raise ContractError(f"{error} ({asked})") from None


@contextmanager
def translated() -> Iterator[None]:
    """Errors of CUDA and CuPy as errors of gpuseg: no memory left, or anything else."""
    try:
        yield
    except MemoryError as error:  # cupy's OutOfMemoryError is one
        raise DeviceMemoryError(f"no memory left on the device: {_first_line(error)}") from None
    except RuntimeError as error:
        if type(error).__name__ not in {"CUDADriverError", "CUDARuntimeError"}:
            raise
        said = _first_line(error)
        if "OUT_OF_MEMORY" in said or "cudaErrorMemoryAllocation" in said:
            raise DeviceMemoryError(f"no memory left on the device: {said}") from None
        raise ContractError(f"CUDA refuses: {said}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
