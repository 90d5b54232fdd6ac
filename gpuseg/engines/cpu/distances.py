"""numba kernels for distances (CPU engine): seeding steps, distance tables, sums of silhouettes.

All of them evaluate the float32 chain of ONE_ANSWER section 5, sixteen rows a register.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import bits_f64, fma32
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.preparing import MAGIC, MAGIC_BITS, WEIGHT_INTEGER, WEIGHT_NONE
from gpuseg.engines.cpu.simd import absolute, add, fma, less, load, select, splat, splat_at, store, sub
from gpuseg.engines.cpu.vectors import LANES
from gpuseg.engines.cpu.wide import (
    add_f64,
    add_i64,
    bits_of,
    fixed_sqrt,
    mul_f64,
    splat_f64,
    splat_i64,
    sum_i64,
    widen,
)

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
TWO = np.float32(2.0)


@kernel
def chain(x, stride, i, point, d):
    """d2 of row i to a point: the definition, one row."""
    acc = ZERO
    for f in range(d):
        t = x[f * stride + i] - point[f]
        acc = fma32(t, t, acc)
    return acc


@kernel
def distance_rows(x, stride, start, stop, points, n_points, d, squared, out, out_stride):
    """out[p, i] = d2 (or its float32 square root) of rows [start, stop) to each point."""
    for p in range(n_points):
        point = points[p * d : p * d + d]
        base = p * out_stride
        whole = start + (stop - start) // LANES * LANES
        for i in range(start, whole, LANES):
            acc = splat(ZERO)
            for f in range(d):
                t = sub(load(x, f * stride + i), splat_at(point, f))
                acc = fma(t, t, acc)
            store(out, base + i, acc)
        for i in range(whole, stop):
            out[base + i] = chain(x, stride, i, point, d)
        if not squared:
            for i in range(start, stop):
                out[base + i] = np.sqrt(out[base + i])


@kernel
def euclidean_rows(x, stride, start, stop, points, n_points, d, out, out_stride):
    """out[p, i] = float32 square root of d2 of rows [start, stop) to each point."""
    distance_rows(x, stride, start, stop, points, n_points, d, False, out, out_stride)


@kernel
def sqeuclidean_rows(x, stride, start, stop, points, n_points, d, out, out_stride):
    """out[p, i] = d2 of rows [start, stop) to each point."""
    distance_rows(x, stride, start, stop, points, n_points, d, True, out, out_stride)


@kernel
def manhattan_rows(x, stride, start, stop, points, n_points, d, out, out_stride):
    """out[p, i] = sum over ascending features of abs(x - point) in float32, of rows [start, stop) to each point."""
    for p in range(n_points):
        point = points[p * d : p * d + d]
        base = p * out_stride
        whole = start + (stop - start) // LANES * LANES
        for i in range(start, whole, LANES):
            acc = splat(ZERO)
            for f in range(d):
                acc = add(acc, absolute(sub(load(x, f * stride + i), splat_at(point, f))))
            store(out, base + i, acc)
        for i in range(whole, stop):
            total = ZERO
            for f in range(d):
                total += abs(x[f * stride + i] - point[f])
            out[base + i] = total


@kernel
def unit_vector(values, first, step, d, out, to, to_step):
    """out[to + f * to_step] = the vector at values[first + f * step], divided by its length; zeros where that is 0."""
    square = np.float64(0.0)
    for f in range(d):
        value = np.float64(values[first + f * step])
        square += value * value
    length = np.sqrt(square)
    for f in range(d):
        part = ZERO
        if length > 0.0:
            part = np.float32(np.float64(values[first + f * step]) / length)
        out[to + f * to_step] = part


@kernel
def cosine_rows(x, stride, start, stop, points, n_points, d, out, out_stride):
    """out[p, i] = 1 - the float32 chain of products of unit vectors, held to [0, 2], of rows [start, stop)."""
    units = np.empty(n_points * d, np.float32)
    for p in range(n_points):
        unit_vector(points, p * d, 1, d, units, p * d, 1)
    group = np.zeros(d * LANES, np.float32)
    dots = np.empty(LANES, np.float32)
    for i in range(start, stop, LANES):
        m = min(LANES, stop - i)
        for j in range(m):
            unit_vector(x, i + j, stride, d, group, j, LANES)
        for p in range(n_points):
            acc = splat(ZERO)
            for f in range(d):
                acc = fma(load(group, f * LANES), splat_at(units, p * d + f), acc)
            store(dots, 0, acc)
            for j in range(m):
                out[p * out_stride + i + j] = min(max(ONE - dots[j], ZERO), TWO)


PAIR_ROWS = {
    "euclidean": euclidean_rows,
    "sqeuclidean": sqeuclidean_rows,
    "manhattan": manhattan_rows,
    "cosine": cosine_rows,
}
"""The kernel of each metric of :data:`gpuseg.engines.base.METRICS`."""


@kernel
def potential(value, weights, real, mode, i, scale):
    """Integer potential of one row: w * rint(d2 * s), or rint(float32(w * d2) * s) with real weights."""
    if mode == WEIGHT_NONE:
        return bits_f64(np.float64(value) * scale + MAGIC) - MAGIC_BITS
    if mode == WEIGHT_INTEGER:
        return weights[i] * (bits_f64(np.float64(value) * scale + MAGIC) - MAGIC_BITS)
    weighted = np.float32(np.float64(real[i]) * np.float64(value))
    return bits_f64(np.float64(weighted) * scale + MAGIC) - MAGIC_BITS


@kernel
def potential_rows(closest, start, stop, weights, real, mode, scale, out):
    """Integer potential of rows [start, stop)."""
    for i in range(start, stop):
        out[i] = potential(closest[i], weights, real, mode, i, scale)


@kernel
def seed_rows(
    x, stride, start, stop, closest, points, n_points, d, weights, real, mode, scale, out, out_stride, sums
):  # fmt: skip
    """out[p, i] = min(closest[i], d2 to candidate p) over rows [start, stop); sums[p] += their potentials."""
    magic = splat_f64(MAGIC)
    factor = splat_f64(scale)
    whole = start + (stop - start) // LANES * LANES
    for p in range(n_points):
        point = points[p * d : p * d + d]
        base = p * out_stride
        lanes = splat_i64(np.int64(0))
        for i in range(start, whole, LANES):
            acc = splat(ZERO)
            for f in range(d):
                t = sub(load(x, f * stride + i), splat_at(point, f))
                acc = fma(t, t, acc)
            known = load(closest, i)
            nearer = select(less(acc, known), acc, known)
            store(out, base + i, nearer)
            if mode == WEIGHT_NONE:
                lanes = add_i64(lanes, bits_of(add_f64(mul_f64(widen(nearer), factor), magic)))
        total = np.int64(0)
        if mode == WEIGHT_NONE:
            # Each lane carries the magic number's bits as often as it was added to; modulo 2**64 they come off.
            total = sum_i64(lanes) - (whole - start) * MAGIC_BITS
        else:
            for i in range(start, whole):
                total += potential(out[base + i], weights, real, mode, i, scale)
        for i in range(whole, stop):
            out[base + i] = min(closest[i], chain(x, stride, i, point, d))
            total += potential(out[base + i], weights, real, mode, i, scale)
        sums[p] += total


@kernel
def silhouette_rows(x, stride, start, stop, y, y_stride, starts, k, d, scale, out):
    """out[i, c] += sum over columns of cluster c in y of rint(sqrt(d2) * scale), for rows [start, stop) of x.

    Columns of one cluster are contiguous. Four rows share each load of y, and their four chains hide each other's
    latency. |dist * scale| < 2**51, so adding 1.5 * 2**52 rounds it; a sum of n such terms stays in int64 because the
    scale leaves log2(n) bits.
    """
    points = np.empty(4 * d, np.float32)
    magic = splat_f64(MAGIC)
    factor = splat_f64(scale)
    for i in range(start, stop, 4):
        rows = min(4, stop - i)
        for r in range(4):
            for f in range(d):
                # Past the end the last row is repeated; its sums are dropped below.
                points[r * d + f] = x[f * stride + min(i + r, stop - 1)]
        for c in range(k):
            first = starts[c]
            last = starts[c + 1]
            whole = first + (last - first) // LANES * LANES
            sums0 = splat_i64(np.int64(0))
            sums1 = sums0
            sums2 = sums0
            sums3 = sums0
            for j in range(first, whole, LANES):
                a0 = splat(ZERO)
                a1 = a0
                a2 = a0
                a3 = a0
                for f in range(d):
                    v = load(y, f * y_stride + j)
                    t = sub(splat_at(points, f), v)
                    a0 = fma(t, t, a0)
                    t = sub(splat_at(points, d + f), v)
                    a1 = fma(t, t, a1)
                    t = sub(splat_at(points, 2 * d + f), v)
                    a2 = fma(t, t, a2)
                    t = sub(splat_at(points, 3 * d + f), v)
                    a3 = fma(t, t, a3)
                sums0 = add_i64(sums0, fixed_sqrt(a0, factor, magic))
                sums1 = add_i64(sums1, fixed_sqrt(a1, factor, magic))
                sums2 = add_i64(sums2, fixed_sqrt(a2, factor, magic))
                sums3 = add_i64(sums3, fixed_sqrt(a3, factor, magic))
            # Each lane carries the magic number's bits as often as it was added to; modulo 2**64 they come off.
            excess = (whole - first) * MAGIC_BITS
            for r in range(rows):
                total = sum_i64(sums0)
                if r == 1:
                    total = sum_i64(sums1)
                elif r == 2:
                    total = sum_i64(sums2)
                elif r == 3:
                    total = sum_i64(sums3)
                total -= excess
                point = points[r * d : r * d + d]
                for j in range(whole, last):
                    dist = np.sqrt(chain(y, y_stride, j, point, d))
                    total += bits_f64(np.float64(dist) * scale + MAGIC) - MAGIC_BITS
                out[i + r, c] += total
