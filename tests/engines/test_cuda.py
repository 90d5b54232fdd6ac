"""The CuPy side of the seam, as far as a machine without a GPU can show it: reasons, compilation, a CuPy of wood."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from gpuseg.engines import cuda, cuda_driver
from gpuseg.engines.cuda_compile import (
    OPTIONS,
    cache_folder,
    cached_kernels,
    compile_kernels,
    compile_options,
)
from gpuseg.engines.cuda_driver import Card, Driver
from gpuseg.engines.launch import kernel_source
from gpuseg.errors import ContractError, DeviceMemoryError, EngineUnavailableError
from tests.emulator.device import EmulatedDevice

KERNELS = Path(__file__).parents[2] / "kernels"
CARD = Card("Card A", 90, 80 << 30)
DRIVER = Driver(13_020, (CARD,), "")


class FakeDriver:
    """libcuda: two devices, none, or an error at the start."""

    def __init__(self, status=0, names=(b"Card A", b"Card B"), version=13_020):
        self.status, self.names, self.version = status, names, version

    def cuDriverGetVersion(self, version):  # noqa: N802 (the driver's own names)
        version._obj.value = self.version

    def cuInit(self, flags):  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.names)

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        device._obj.value = ordinal

    def cuDeviceGetName(self, buffer, size, device):  # noqa: N802
        buffer.value = self.names[device.value]

    def cuDeviceTotalMem_v2(self, memory, device):  # noqa: N802
        memory._obj.value = (device.value + 1) << 30

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = {75: 8, 76: 6}[attribute]


@pytest.mark.parametrize(
    ("driver", "found"),
    [
        (FakeDriver(), Driver(13_020, (Card("Card A", 86, 1 << 30), Card("Card B", 86, 2 << 30)), "")),
        (FakeDriver(status=999), "cuInit returned 999"),
        (FakeDriver(status=100), "unset CUDA_VISIBLE_DEVICES"),
        (FakeDriver(names=()), "unset CUDA_VISIBLE_DEVICES"),
        (None, r"no NVIDIA driver .*; install the driver of your GPU"),
    ],
    ids=["two devices", "broken", "no device", "none visible", "no driver"],
)
def test_what_the_driver_says(monkeypatch, driver, found):
    def load(name):
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    said = cuda_driver.look()
    if isinstance(found, Driver):
        assert said == found
        assert str(said) == "CUDA 13.2"
    else:
        assert not said.cards
        assert re.search(found, said.problem)


@pytest.fixture
def fake_cupy(monkeypatch):
    """A CuPy for CUDA 13 with NVRTC, as far as questions go."""
    module = ModuleType("cupy")
    module.cuda = ModuleType("cupy.cuda")
    module.cuda.runtime = SimpleNamespace(runtimeGetVersion=lambda: 13_020)
    module.cuda.nvrtc = SimpleNamespace(getVersion=lambda: (13, 2))
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupy.cuda", module.cuda)
    monkeypatch.setattr(cuda.util, "find_spec", lambda name: object())
    return module


def reason(monkeypatch, driver):
    monkeypatch.setattr(cuda_driver, "look", lambda: driver)
    cuda._unavailable.cache_clear()
    try:
        return cuda.unavailable()
    finally:
        cuda._unavailable.cache_clear()


def test_nothing_is_missing(monkeypatch, fake_cupy):
    assert reason(monkeypatch, DRIVER) is None


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        (Driver(0, (), "no driver; get one"), "no driver; get one"),
        (
            Driver(11_040, (CARD,), ""),
            "the NVIDIA driver is for CUDA 11.4; update it to one for CUDA 12 or newer",
        ),
        (
            Driver(12_040, (Card("Old", 61, 1),), ""),
            "Old is of compute capability 6.1; a device of compute capability 7.5 or newer with 1 GiB is needed",
        ),
        (
            Driver(12_040, (Card("Old", 61, 1 << 40), Card("Small", 90, 1 << 29)), ""),
            "Old is of compute capability 6.1, Small has 0.5 GiB of memory; a device of",
        ),
        (
            Driver(12_040, (CARD,), ""),
            'CUDA 12.4; pip uninstall cupy-cuda13x, then pip install "gpuseg[cuda12]", or update the driver',
        ),
    ],
)
def test_a_driver_that_does_not_do(monkeypatch, fake_cupy, driver, text):
    assert text in reason(monkeypatch, driver)


def test_any_device_will_do(monkeypatch, fake_cupy):
    """The first that can be used is taken, wherever it is among those that are shown."""
    driver = Driver(13_020, (Card("Old", 61, 1 << 40), Card("Small", 90, 1), CARD, CARD), "")
    assert reason(monkeypatch, driver) is None
    assert driver.usable == (2, 3)
    made = []
    monkeypatch.setattr(
        cuda, "CudaDevice", lambda cupy, ordinal: made.append(ordinal) or EmulatedDevice("plain")
    )
    cuda._engine.cache_clear()
    try:
        cuda.cuda_engine()
    finally:
        cuda._engine.cache_clear()
        cuda._unavailable.cache_clear()
    assert made == [2]


@pytest.mark.parametrize(("version", "extra"), [(12_080, "cuda12"), (13_000, "cuda13")])
def test_no_cupy(monkeypatch, fake_cupy, version, extra):
    monkeypatch.setattr(cuda.util, "find_spec", lambda name: None)
    said = reason(monkeypatch, Driver(version, (CARD,), ""))
    assert said == f'CuPy is not installed; pip install "gpuseg[{extra}]"'


def test_no_nvrtc(monkeypatch, fake_cupy):
    def missing():
        raise RuntimeError("libnvrtc.so.13 is not found")

    fake_cupy.cuda.nvrtc.getVersion = missing
    assert reason(monkeypatch, DRIVER).startswith(
        "NVRTC, which compiles the kernels, is not found; pip install"
    )


def test_a_broken_cupy(monkeypatch, fake_cupy):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "CuPy cannot be imported (import of cupy halted" in reason(monkeypatch, DRIVER)


def test_the_engine_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(cuda, "unavailable", lambda: "no driver; get one")
    with pytest.raises(EngineUnavailableError, match="no driver; get one"):
        cuda.cuda_engine()


def test_a_child_of_a_fork_asks_again(monkeypatch):
    asked = []
    monkeypatch.setattr(cuda, "_unavailable", asked.append)
    cuda.unavailable()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    cuda.unavailable()
    assert len(set(asked)) == 2


# --- compilation, with the NVRTC that CuPy brings


@pytest.fixture(scope="session")
def nvrtc():
    pytest.importorskip("cupy", reason="CuPy is not installed: the extra kernels brings it")
    if cuda.nvrtc_version() is None:
        pytest.skip("CuPy finds no NVRTC")
    from cupy.cuda import nvrtc

    return nvrtc


MOMENTS = ["moments_partial<NONE>", "moments_partial<REAL>", "mass_bins"]


def test_options():
    options = compile_options("source", {"K": 8, "D": 2}, "sm_80")
    assert options[: len(OPTIONS)] == OPTIONS
    assert {"-ftz=false", "-fmad=false", "-prec-div=true", "-prec-sqrt=true", "-arch=sm_80"} < set(options)
    assert options[-3:-1] == ("-DD=2", "-DK=8")
    assert compile_options("other", {"K": 8, "D": 2}, "sm_80")[-1] != options[-1]


def test_kernels_compile_to_machine_code(nvrtc):
    archs = nvrtc.getSupportedArchs()
    for architecture in archs if os.environ.get("GPUSEG_TESTS") == "full" else (archs[0], archs[-1]):
        found = compile_kernels(nvrtc, kernel_source("moments.cu"), MOMENTS, {"FEATURES": 2}, architecture)
        assert found.code[:4] == b"\x7fELF"
        assert list(found.symbols) == MOMENTS
        assert all(symbol.encode() in found.code for symbol in found.symbols.values())


def test_a_card_that_nvrtc_does_not_know_gets_ptx(nvrtc):
    found = compile_kernels(nvrtc, kernel_source("moments.cu"), MOMENTS, {}, 999)
    newest = max(nvrtc.getSupportedArchs())
    assert f".target sm_{newest}".encode() in found.code
    # Subnormal numbers stay what they are.
    assert b".ftz" not in found.code


def test_every_kernel_file_compiles_with_the_options_of_the_engine(nvrtc):
    for path in sorted(KERNELS.glob("*.cu")):
        assert compile_kernels(nvrtc, kernel_source(path.name), [], {}, 80).symbols == {}


def test_messages_of_nvrtc_point_home(nvrtc):
    broken = kernel_source("moments.cu").replace("WeightOf<REAL>", "WeightOf<REEL>")
    with pytest.raises(
        ContractError, match=r"(?s)NVRTC refuses a kernel for sm_80: .*moments\.cu\(\d+\): error: .*REEL"
    ):
        compile_kernels(nvrtc, broken, MOMENTS, {}, 80)


# --- the device over a CuPy of wood


class CUDADriverError(RuntimeError):
    """Of the name that CuPy's has."""


ORDINAL = 1


class Stack:
    """What is current, as CuPy keeps it."""

    now: ClassVar[list] = []

    def __enter__(self):
        self.now.append(self)

    def __exit__(self, *error):
        assert self.now.pop() is self


class WoodenHandle(Stack):
    """A device as a context: it remembers what was current before, so it serves once, in one thread."""

    def __init__(self, ordinal):
        self.ordinal, self.used = ordinal, False

    def __enter__(self):
        assert not self.used
        self.used = True
        super().__enter__()


def current_ordinal():
    """Of the device that is current; 0 where nobody chose."""
    return next((entry.ordinal for entry in reversed(Stack.now) if isinstance(entry, WoodenHandle)), 0)


class WoodenStream(Stack):
    def __init__(self, non_blocking):
        assert non_blocking
        assert current_ordinal() == ORDINAL
        self.did = []

    def synchronize(self):
        self.did.append("synchronize")

    def wait_event(self, event):
        assert current_ordinal() == ORDINAL
        self.did.append(event)


class WoodenEvent:
    def __init__(self, disable_timing):
        assert disable_timing
        assert current_ordinal() == ORDINAL

    def record(self, stream):
        assert current_ordinal() == ORDINAL

    def synchronize(self):
        pass


class WoodenArray:
    """Device memory."""

    def __init__(self, shape, dtype):
        self.host = np.zeros(shape, dtype)
        self.data = SimpleNamespace(copy_from_host_async=self.copy)

    def set(self, array):
        self.host[...] = array

    def get(self):
        return self.host.copy()

    def copy(self, address, n_bytes, stream):
        assert isinstance(stream, WoodenStream)
        ctypes.memmove(self.host.ctypes.data, address, n_bytes)


class WoodenNvrtc:
    NVRTCError = RuntimeError
    version = (13, 2)

    def __init__(self):
        self.programs = []

    def getVersion(self):  # noqa: N802
        return self.version

    def getSupportedArchs(self):  # noqa: N802
        return [75, 90]

    def createProgram(self, source, name, headers, names):  # noqa: N802
        self.programs.append(SimpleNamespace(source=source, names=[], options=None, gone=False))
        return self.programs[-1]

    def addNameExpression(self, program, name):  # noqa: N802
        program.names.append(name)

    def compileProgram(self, program, options):  # noqa: N802
        program.options = options

    def getLoweredName(self, program, name):  # noqa: N802
        return f"_Z{name}"

    def getCUBIN(self, program):  # noqa: N802
        return b"cubin"

    def destroyProgram(self, program):  # noqa: N802
        program.gone = True


class WoodenModule:
    def __init__(self, cupy):
        self.cupy = cupy

    def load(self, code):
        assert code == b"cubin"

    def get_function(self, symbol):
        def launch(grid, block, args, shared_mem):
            assert isinstance(Stack.now[-1], WoodenStream)
            if self.cupy.error is not None:
                raise self.cupy.error
            self.cupy.launches.append((symbol, grid, block, args, shared_mem))

        launch.ptr = f"pointer to {symbol}"
        return launch


class WoodenCupy:
    def __init__(self):
        self.error, self.launches, self.attributes, self.freed, self.full = None, [], [], 0, 0
        pool = SimpleNamespace(free_all_blocks=self.free)
        self.get_default_memory_pool = self.get_default_pinned_memory_pool = lambda: pool
        self.cuda = SimpleNamespace(
            Device=WoodenHandle,
            Stream=WoodenStream,
            Event=WoodenEvent,
            alloc_pinned_memory=bytearray,
            nvrtc=WoodenNvrtc(),
            function=SimpleNamespace(Module=lambda: WoodenModule(self)),
            driver=SimpleNamespace(
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
                funcSetAttribute=lambda *given: self.attributes.append(given),
            ),
            runtime=SimpleNamespace(
                getDeviceProperties=lambda ordinal: {
                    "name": b"Wood", "major": 9, "minor": 0, "multiProcessorCount": 2,
                    "maxThreadsPerBlock": 1024, "sharedMemPerBlock": 49152, "totalGlobalMem": 1 << 30,
                    "sharedMemPerBlockOptin": 232448,
                }
            ),
        )  # fmt: skip

    def free(self):
        self.freed += 1

    def empty(self, shape, dtype):
        assert current_ordinal() == ORDINAL
        assert isinstance(Stack.now[-1], WoodenStream)
        if self.full:
            self.full -= 1
            raise MemoryError("limit")
        if self.error is not None:
            raise self.error
        return WoodenArray(shape, dtype)

    zeros = empty


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A folder of compiled kernels that is the test's own."""
    monkeypatch.setenv("GPUSEG_KERNEL_CACHE", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.fixture
def wood():
    cupy = WoodenCupy()
    yield cupy, cuda.CudaDevice(cupy, ORDINAL)
    assert Stack.now == []


def test_properties(wood):
    props = wood[1].props
    assert (props.name, props.architecture, props.multiprocessors) == ("Wood", 90, 2)
    assert (props.max_threads, props.max_shared, props.optin_shared) == (1024, 49152, 232448)
    assert props.total_memory == 1 << 30


def test_a_module_is_compiled_once(wood):
    cupy, device = wood
    modules = [device.module("source", ["f<1>"], {"D": 2}) for _ in range(3)]
    assert modules[0] is modules[1] is modules[2]
    [program] = cupy.cuda.nvrtc.programs
    assert program.names == ["f<1>"]
    assert program.options == compile_options("source", {"D": 2}, "sm_90")
    assert program.gone
    device.module("source", ["f<1>"], {"D": 3})
    assert len(cupy.cuda.nvrtc.programs) == 2


def test_the_next_process_compiles_nothing(cache):
    nvrtc = WoodenNvrtc()
    first = cached_kernels(nvrtc, "source", ["f<1>", "g"], {"D": 2}, 90)
    assert cached_kernels(nvrtc, "source", ["f<1>", "g"], {"D": 2}, 90) == first
    assert len(nvrtc.programs) == len(list(cache.iterdir())) == 1
    assert first.symbols == {"f<1>": "_Zf<1>", "g": "_Zg"}


@pytest.mark.parametrize("change", ["source", "names", "defines", "architecture", "nvrtc", "spoilt", "cut"])
def test_anything_else_is_compiled(cache, change):
    given = {"source": "source", "names": ["f"], "defines": {"D": 2}, "architecture": 90}
    nvrtc = WoodenNvrtc()
    cached_kernels(nvrtc, **given)
    [kept] = cache.iterdir()
    if change == "nvrtc":
        nvrtc.version = (13, 3)
    elif change == "spoilt":
        kept.write_bytes(kept.read_bytes().replace(b"cubin", b"cubiN"))
    elif change == "cut":
        kept.write_bytes(b"x")
    else:
        given[change] = {"source": "other", "names": ["g"], "defines": {"D": 3}, "architecture": 75}[change]
    assert cached_kernels(nvrtc, **given).code == b"cubin"
    assert len(nvrtc.programs) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUSEG_KERNEL_CACHE", str(tmp_path / "file" / "kernels"))
    with caplog.at_level("INFO", "gpuseg.engines"):
        assert cached_kernels(WoodenNvrtc(), "source", ["f"], {}, 90).code == b"cubin"
    assert "so each process compiles them anew" in caplog.text


def test_a_cache_without_room_keeps_no_halves(monkeypatch, cache):
    def cut_short(path, data):
        with path.open("wb") as file:
            file.write(data[:5])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    assert cached_kernels(WoodenNvrtc(), "source", ["f"], {}, 90).code == b"cubin"
    assert list(cache.iterdir()) == []


def test_where_compiled_kernels_are_kept(monkeypatch, tmp_path, cache):
    assert cache_folder() == cache
    monkeypatch.delenv("GPUSEG_KERNEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gpuseg" / "kernels"


def test_launches_pass_on_what_they_are_given(wood):
    cupy, device = wood
    array = device.empty(3, np.float32)
    device.module("source", ["f"])["f"]((2,), (32, 1, 1), [array, np.int64(3)], shared=8)
    assert cupy.launches == [("_Zf", (2,), (32, 1, 1), (array, np.int64(3)), 8)]
    assert cupy.attributes == []


def test_a_launch_opts_in_to_the_shared_memory_that_it_needs(wood):
    cupy, device = wood
    kernel = device.module("source", ["f"])["f"]
    for shared in (49_152, 49_153):
        kernel((1,), (32,), (), shared=shared)
    assert cupy.attributes == [("pointer to _Zf", 8, 232448)]
    assert [launch[-1] for launch in cupy.launches] == [49_152, 49_153]


def test_arrays_go_up_and_down(wood):
    device = wood[1]
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(device.to_host(device.to_device(values)), values)
    host, target = device.pinned((2, 3), np.float32), device.zeros((2, 3), np.float32)
    host[...] = values
    copies = device.new_stream()
    device.upload(host, target, copies)
    event = copies.record()
    device.stream.wait(event)
    event.synchronize()
    copies.synchronize()
    assert np.array_equal(device.to_host(target), values)
    assert device.stream is device.stream is not copies
    empty = device.pinned((3, 0), np.int64)
    assert empty.shape == (3, 0)
    device.upload(empty, device.empty((3, 0), np.int64), copies)


def test_release_empties_both_pools(wood):
    cupy, device = wood
    device.release()
    assert cupy.freed == 2


@pytest.mark.parametrize("make", ["empty", "zeros", "to_device"])
def test_what_the_pool_only_keeps_is_given_back_before_memory_is_short(wood, make):
    cupy, device = wood
    arguments = (np.zeros(3, np.float32),) if make == "to_device" else (3, np.float32)
    cupy.full = 1
    assert getattr(device, make)(*arguments).host.shape == (3,)
    assert cupy.freed == 1
    cupy.full = 2
    with pytest.raises(DeviceMemoryError, match="limit"):
        getattr(device, make)(*arguments)
    assert cupy.full == 0


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            MemoryError("Out of memory allocating 12 bytes"),
            DeviceMemoryError,
            "Out of memory allocating 12 bytes",
        ),
        (CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), DeviceMemoryError, "out of memory"),
        (
            CUDADriverError("CUDA_ERROR_ILLEGAL_ADDRESS: bad"),
            ContractError,
            "CUDA refuses: CUDA_ERROR_ILLEGAL",
        ),
        (KeyError("x"), KeyError, "x"),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_errors_are_translated(wood, error, kind, text):
    cupy, device = wood
    cupy.error = error
    with pytest.raises(kind, match=text):
        device.empty(3, np.float32)


def test_a_launch_beyond_the_device_says_what_it_asked_for(wood):
    cupy, device = wood
    kernel = device.module("source", ["f"])["f"]
    cupy.error = CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
    with pytest.raises(
        ContractError, match=r"block \(2048,\), 9 shared bytes; Wood has 1024 threads and 232448"
    ):
        kernel((1,), (2048,), (), shared=9)


def test_threads_have_streams_of_their_own(wood):
    device = wood[1]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: device.stream).result() is not device.stream
