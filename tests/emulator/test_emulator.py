"""The emulator gives what CUDA gives, and stops what a GPU would let pass."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from gpuseg.engines.launch import Geometry
from tests.emulator.build import BuildError, build
from tests.emulator.device import ORDERS, ArgumentError, EmulationError, LaunchRecord
from tests.emulator.sources import source_of

NAMES = [
    "where", "shuffles", "masks", "static_sums<64>", "count", "missing_barrier", "unwritten_shared", "two_barriers",
    "barrier_and_shuffle", "absent_lane", "outside_mask", "two_shuffles", "false_assertion",
]  # fmt: skip


def kernel(device, name):
    return device.module(source_of("dialect.cu"), NAMES)[name]


@pytest.mark.parametrize("order", ORDERS)
def test_every_thread_knows_where_it_is(make_emulated, order):
    device = make_emulated(order)
    geometry = Geometry((3, 2, 2), (5, 4, 2))
    out = device.empty(12 * 40, np.int64)
    kernel(device, "where")(geometry.grid, geometry.block, (out,))
    packed = device.to_host(out).reshape(12, geometry.threads)
    assert np.array_equal(packed >> 32, np.repeat(np.arange(12)[:, None], 40, axis=1))
    assert np.array_equal(packed & 0xFFFFFFFF, np.repeat(np.arange(40)[None, :], 12, axis=0))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("by", [0, 1, 5])
def test_shuffles_and_votes(make_emulated, order, width, by):
    device = make_emulated(order)
    values = np.random.default_rng(by).integers(0, 100, 32).astype(np.int32)
    out = device.empty((6, 32), np.int32)
    kernel(device, "shuffles")((1,), (32,), (device.to_device(values), out, np.int32(by), np.int32(width)))
    lane = np.arange(32)
    start = lane // width * width
    up = np.where(lane - start < by, lane, lane - by)
    down = np.where(lane - start + by < width, lane + by, lane)
    other = lane ^ by
    sources = [start + by % width, up, down, np.where(other < start + width, other, lane)]
    wanted = [values[source] for source in sources]
    ballot = sum(1 << int(i) for i in lane if values[i] % 2 == 0)
    wanted += [np.full(32, np.uint32(ballot)).view(np.int32), np.full(32, int((values == 0).any()) + 2)]
    assert np.array_equal(device.to_host(out), np.array(wanted))


@pytest.mark.parametrize("order", ORDERS)
def test_lanes_meet_by_mask(make_emulated, order):
    device = make_emulated(order, strict=False)  # some lanes return before the barrier
    out = device.zeros(64, np.int32)
    kernel(device, "masks")((1,), (32,), (out,))
    found = device.to_host(out)
    assert found[:16].tolist() == [sum(range(16))] * 16
    assert found[16:32].tolist() == [sum(range(16, 32))] * 16
    assert found[32:40].tolist() == [8] * 8


@pytest.mark.parametrize("order", ORDERS)
def test_static_shared_arrays_of_templates(make_emulated, order):
    device = make_emulated(order)
    values = np.arange(128, dtype=np.int32)
    out = device.empty(128, np.int32)
    kernel(device, "static_sums<64>")((2,), (64,), (device.to_device(values), out))
    assert np.array_equal(device.to_host(out), np.repeat(values.reshape(2, 64).sum(axis=1), 64))


def test_atomics(emulated_device):
    device = emulated_device
    narrow = device.to_device(np.array([0, 0, 99], np.uint32))
    wide, real = device.zeros(1, np.uint64), device.zeros(1, np.float32)
    kernel(device, "count")((2,), (40,), (narrow, wide, real))
    assert device.to_host(narrow).tolist() == [80, 39, 0]
    assert device.to_host(wide).tolist() == [80 << 33]
    assert device.to_host(real).tolist() == [40.0]


def test_a_missing_barrier_shows_in_some_order(make_emulated):
    values = np.arange(64, dtype=np.int32)
    right = set()
    for order in ORDERS:
        device = make_emulated(order, how="plain")
        out = device.empty(64, np.int32)
        kernel(device, "missing_barrier")((1,), (64,), (device.to_device(values), out), shared=256)
        right.add(np.array_equal(device.to_host(out), values[::-1]))
    assert False in right


def test_shared_memory_starts_as_nonsense(make_emulated):
    emulated_device = make_emulated(how="plain")
    out = emulated_device.zeros(2, np.float32)
    kernel(emulated_device, "unwritten_shared")((1,), (1,), (out,), shared=16)
    assert np.isnan(emulated_device.to_host(out)).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two_barriers", r"dialect\.cu:\d+: the block meets at two barriers"),
        ("barrier_and_shuffle", r"dialect\.cu:\d+: deadlock"),
        ("absent_lane", r"dialect\.cu:\d+: __shfl_sync reads lane 3, which took no part"),
        ("outside_mask", r"dialect\.cu:\d+: lane \d+ calls __shfl_sync with the mask 00000001"),
        ("two_shuffles", r"dialect\.cu:\d+: lane \d+ calls __shfl_sync while other lanes"),
        ("false_assertion", r"dialect\.cu:\d+: assert\(threadIdx\.x < 40\)"),
    ],
)
def test_faults_are_named_with_their_line(make_emulated, order, name, message):
    device = make_emulated(order)
    launched = kernel(device, name)
    threads = 64 if name == "false_assertion" else 32
    arguments = (device.empty(threads, np.int32),) if launched.signature else ()
    with pytest.raises(EmulationError, match=message):
        launched((1,), (threads,), arguments)
    # The device is still usable.
    test_every_thread_knows_where_it_is(make_emulated, order)


def test_arguments_must_have_the_kernels_types(emulated_device):
    device = emulated_device
    shuffles = kernel(device, "shuffles")
    assert shuffles.signature == ("*ci4", "*i4", "i4", "i4")
    values, out, one = device.zeros(32, np.int32), device.zeros((6, 32), np.int32), np.int32(1)
    for arguments, message in [
        ((values, out, 1, one), "argument 2 of shuffles is i4 by value, not int"),
        ((values, out, np.int64(1), one), "argument 2 of shuffles is i4 by value, not i8"),
        ((device.zeros(32, np.int64), out, one, one), "argument 0 of shuffles is a pointer to i4, not to i8"),
        ((np.zeros(32, np.int32), out, one, one), "argument 0 .* pass a device array, not ndarray"),
        ((values, out, one), "takes 4 arguments, got 3"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            shuffles((1,), (32,), arguments)
    assert device.launches == []


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((0,), (32,), 0, "grid"),
        ((1, 65_536), (32,), 0, "grid"),
        ((1,), (1025,), 0, "exceeds 1024 threads"),
        ((1,), (32, 33), 0, "exceeds 1024 threads"),
        ((1,), (32,), 1 << 20, "shared bytes exceed"),
    ],
)
def test_geometry_must_fit_the_device(emulated_device, grid, block, shared, message):
    with pytest.raises(ArgumentError, match=message):
        kernel(emulated_device, "two_barriers")(grid, block, (), shared=shared)


def test_memory_is_aligned_strange_and_apart_from_numpy(emulated_device):
    device = emulated_device
    array = device.empty((3, 5), np.float32)
    assert array.address % 256 == 0
    assert array.nbytes == 60
    assert not np.array_equal(array.contents, device.empty((3, 5), np.float32).contents)
    assert not device.zeros(4, np.int64).contents.any()
    with pytest.raises(ArgumentError, match="to_host first"):
        np.add(array, 1.0)
    with pytest.raises(ArgumentError, match="C-contiguous"):
        device.to_device(np.zeros((4, 4))[:, ::2])
    host = np.arange(6.0).reshape(2, 3)
    copy = device.to_device(host)
    host[...] = -1.0
    assert np.array_equal(device.to_host(copy), np.arange(6.0).reshape(2, 3))
    with pytest.raises(ArgumentError, match="takes a device array"):
        device.to_host(host)


def test_launches_are_logged(emulated_device):
    out = emulated_device.empty(64, np.int64)
    kernel(emulated_device, "where")((2, 1), (32,), (out,), shared=8)
    assert emulated_device.launches == [LaunchRecord("where", (2, 1, 1), (32, 1, 1), 8)]


def test_messages_of_the_compiler_point_home(emulated_device):
    broken = source_of("elementwise.cu").replace("det_log1p(x[i])", "det_log1p(y[i])")
    with pytest.raises(BuildError, match=r"elementwise\.cu:\d+:\d+: error: 'y' was not declared"):
        emulated_device.module(broken, ["log1p_each"])
    with pytest.raises(KeyError, match="not among the names"):
        emulated_device.module(source_of("elementwise.cu"), ["log_each"])["log1p_each"]


def test_uploads_take_what_is_alike(emulated_device):
    device = emulated_device
    source, target = device.pinned((2, 3), np.float32), device.empty((2, 3), np.float32)
    source[...] = np.arange(6).reshape(2, 3)
    copies = device.new_stream()
    device.upload(source, target, copies)
    device.stream.wait(copies.record())
    assert np.array_equal(device.to_host(target), source)
    for wrong in (source[:1], source.astype(np.float64), source[:, ::2], [0.0]):
        with pytest.raises(ArgumentError, match="upload"):
            device.upload(wrong, target, copies)
    with pytest.raises(ArgumentError, match="waits for an event"):
        device.stream.wait(copies)


def test_a_thread_makes_modules_while_another_launches(make_emulated):
    device = make_emulated(how="check")  # whose answers to loads and stores belong to the launch
    blocks, threads = 512, 256
    out = device.empty(blocks * threads, np.int64)
    where = kernel(device, "where")
    made = 0
    with ThreadPoolExecutor(1) as pool:
        launch = pool.submit(where, (blocks,), (threads,), (out,))
        while not launch.done():
            assert kernel(device, "where").signature == where.signature == ("*i8",)
            made += 1
    launch.result()
    assert made > 1
    wanted = (np.arange(blocks)[:, None] << 32) + np.arange(threads)
    assert np.array_equal(device.to_host(out).reshape(blocks, threads), wanted)


def test_threads_that_ask_together_get_one_library(make_emulated):
    how, threads = make_emulated().how, 4
    together = Barrier(threads)

    def library(_):
        together.wait()
        return build(source_of("dialect.cu"), ["where"], {"ASKED_BY": threads}, how)

    with ThreadPoolExecutor(threads) as pool:
        first, *others = pool.map(library, range(threads))
    assert all(other is first for other in others)
