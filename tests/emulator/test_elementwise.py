"""detmath and Philox as CUDA source give the bits of numpy, and the recorded ones."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.core import detmath
from gpuseg.core.philox import Stage, draw64, uniform53
from gpuseg.engines.launch import plan_rows
from tests.emulator.device import ORDERS
from tests.emulator.sources import source_of
from tests.golden import make as golden
from tests.oracle.detmath import SPECIAL, samples

FUNCTIONS = {"log": detmath.log, "log1p": detmath.log1p, "exp2": detmath.exp2}
KERNELS = ["log_each", "log1p_each", "exp2_each", "draw_each", "uniform_each"]


def run(device, name, before, values, out_type):
    module = device.module(source_of("elementwise.cu"), KERNELS)
    geometry = plan_rows(values.size, device.props, threads=64)
    out = device.empty(values.shape, out_type)
    arguments = (*before, device.to_device(values), np.int64(values.size), out)
    module[f"{name}_each"](geometry.grid, geometry.block, arguments)
    return device.to_host(out)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_detmath_gives_the_bits_of_numpy(make_device, name):
    special = np.array([x for x, _ in SPECIAL[name]])
    # Many: an fma in the tail of a series changes one result in some ten thousand.
    xs = np.concatenate([*samples(name, 30_000).values(), special])
    computed = run(make_device(), name, (), xs, np.float64)
    assert np.array_equal(computed.view(np.int64), FUNCTIONS[name](xs).view(np.int64))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_detmath_gives_the_recorded_bits(make_device, name):
    pairs = [[float.fromhex(word) for word in line.split()] for line in golden.recorded("detmath")[name]]
    xs, ys = np.ascontiguousarray(np.array(pairs).T)
    computed = run(make_device(), name, (), xs, np.float64)
    assert np.array_equal(computed.view(np.int64), ys.view(np.int64))


@pytest.mark.parametrize("order", ORDERS)
def test_draws_are_those_of_numpy(make_device, order):
    rows = np.array([*range(300), 2**32 - 1, 2**32, 2**63, 2**64 - 1], np.uint64)
    for seed, index in ((0, 0), (2**64 - 1, 2**32 - 1), (0x0123_4567_89AB_CDEF, 7)):
        for stage in Stage:
            key = (np.uint64(seed), np.uint32(stage), np.uint32(index))
            drawn = run(make_device(order), "draw", key, rows, np.uint64)
            assert np.array_equal(drawn, draw64(seed, stage, rows, index))


def test_uniforms_are_those_of_numpy(make_device):
    bits = draw64(3, Stage.SAMPLE, np.arange(1000, dtype=np.uint64))
    assert np.array_equal(run(make_device(), "uniform", (), bits, np.float64), uniform53(bits))
