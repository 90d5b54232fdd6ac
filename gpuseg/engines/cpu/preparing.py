"""numba kernels that read the input (CPU engine): range and finiteness, moments, the copy to feature-major.

``source`` is always indexed ``[row, feature]`` and may have any strides; ``out[feature, row]`` is the float32 block.
Rows go in tiles that fit the first-level cache, so a row-major table costs one pass over memory. Exactness: see
ONE_ANSWER sections 3 and 4.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import bits_f32, bits_f64
from gpuseg.engines.cpu.jit import kernel

TILE = 256
MAGIC = np.float64(3 << 51)
"""1.5 * 2**52: adding it rounds |v| < 2**51 to an integer, half to even, in the low bits of the sum."""
MAGIC_BITS = np.int64(np.float64(3 << 51).view(np.int64))
LOW20 = np.int64((1 << 20) - 1)
LOW16 = np.int64((1 << 16) - 1)
BLOCK_MASS = np.int64(1 << 22)

WEIGHT_NONE = 0
WEIGHT_INTEGER = 1
WEIGHT_REAL = 2


@kernel
def add_shifted(hi, lo, index, value, shift):
    """limbs[index] += value * 2**shift, for 0 <= shift < 64."""
    add = np.uint64(value) << np.uint64(shift)
    carry_in = value >> np.int64(63) if shift == 0 else value >> np.int64(64 - shift)
    old = lo[index]
    new = old + add
    lo[index] = new
    hi[index] += carry_in + (np.int64(1) if new < old else np.int64(0))


@kernel
def scan_rows(source, start, stop, positive, use_positive, minimum, maximum, bad, out, copy):
    """Range of each feature over rows [start, stop) with positive weight, count of non-finite values, and the copy.

    ``minimum``, ``maximum`` (float64[d]) and ``bad`` (int64[d]) are updated in place. ``out`` (float32[d, n]) is
    written when ``copy``; a source of float64 never copies here.
    """
    d = source.shape[1]
    for low in range(start, stop, TILE):
        high = min(low + TILE, stop)
        for f in range(d):
            least = minimum[f]
            most = maximum[f]
            poison = np.float64(0.0)
            for i in range(low, high):
                value = source[i, f]
                if copy:
                    out[f, i] = value
                wide = np.float64(value)
                # x - x is 0 for a finite x and NaN otherwise.
                poison += wide - wide
                if use_positive and not positive[i]:
                    continue
                least = min(least, wide)
                most = max(most, wide)
            minimum[f] = least
            maximum[f] = most
            if poison != 0.0:
                for i in range(low, high):
                    if not np.isfinite(source[i, f]):
                        bad[f] += 1


@kernel
def centre_rows(source, start, stop, centre, out):
    """out[f, i] = float32(source[i, f] - centre[f]) over rows [start, stop): the copy of ONE_ANSWER section 3."""
    d = source.shape[1]
    for low in range(start, stop, TILE):
        high = min(low + TILE, stop)
        for f in range(d):
            shift = centre[f]
            for i in range(low, high):
                out[f, i] = np.float32(np.float64(source[i, f]) - shift)


@kernel
def _close(total, square_hh, square_hl, square_ll, f, total_hi, total_lo, square_hi, square_lo, shift):
    """Carry one block's int64 sums into the limbs; ``shift`` is 16 for the high half of a large weight."""
    add_shifted(total_hi, total_lo, f, total, shift)
    add_shifted(square_hi, square_lo, f, square_hh, 40 + shift)
    add_shifted(square_hi, square_lo, f, square_hl, 21 + shift)
    add_shifted(square_hi, square_lo, f, square_ll, shift)


@kernel
def moments_plain(source, start, stop, scale, total_hi, total_lo, square_hi, square_lo):
    """Exact sums of x_q and x_q**2 over rows [start, stop), every weight 1.

    x_q = h * 2**20 + l by magnitude, so x_q**2 = h*h * 2**40 + h*l * 2**21 + l*l with each product at most 2**40: up
    to 2**22 rows stay in int64.
    """
    d = source.shape[1]
    for block in range(start, stop, BLOCK_MASS):
        end = min(block + BLOCK_MASS, stop)
        total = np.zeros(d, np.int64)
        parts = np.zeros((3, d), np.int64)
        for low in range(block, end, TILE):
            high = min(low + TILE, end)
            for f in range(d):
                s = scale[f]
                t = np.int64(0)
                hh = np.int64(0)
                hl = np.int64(0)
                ll = np.int64(0)
                for i in range(low, high):
                    q = bits_f64(np.float64(source[i, f]) * s + MAGIC) - MAGIC_BITS
                    t += q
                    q = abs(q)
                    h = q >> np.int64(20)
                    l = q & LOW20  # noqa: E741
                    hh += h * h
                    hl += h * l
                    ll += l * l
                total[f] += t
                parts[0, f] += hh
                parts[1, f] += hl
                parts[2, f] += ll
        for f in range(d):
            _close(
                total[f],
                parts[0, f],
                parts[1, f],
                parts[2, f],
                f,
                total_hi,
                total_lo,
                square_hi,
                square_lo,
                0,
            )


@kernel
def moments_integer(source, start, stop, weights, scale, total_hi, total_lo, square_hi, square_lo):
    """Exact sums of w * x_q and w * x_q**2 over rows [start, stop), integer weights below 2**31.

    A weight above 2**16 is split into 16-bit halves, so that a block of total weight 2**22 stays in int64.
    """
    d = source.shape[1]
    for f in range(d):
        s = scale[f]
        t = np.zeros(2, np.int64)
        hh = np.zeros(2, np.int64)
        hl = np.zeros(2, np.int64)
        ll = np.zeros(2, np.int64)
        mass = np.zeros(2, np.int64)
        for i in range(start, stop):
            weight = weights[i]
            if weight == 0:
                continue
            q = bits_f64(np.float64(source[i, f]) * s + MAGIC) - MAGIC_BITS
            h = abs(q) >> np.int64(20)
            l = abs(q) & LOW20  # noqa: E741
            for half in range(2):
                part = weight & LOW16 if half == 0 else weight >> np.int64(16)
                if part == 0:
                    continue
                if mass[half] + part > BLOCK_MASS:
                    shift = 16 * half
                    _close(
                        t[half],
                        hh[half],
                        hl[half],
                        ll[half],
                        f,
                        total_hi,
                        total_lo,
                        square_hi,
                        square_lo,
                        shift,
                    )
                    t[half] = 0
                    hh[half] = 0
                    hl[half] = 0
                    ll[half] = 0
                    mass[half] = 0
                mass[half] += part
                t[half] += part * q
                hh[half] += part * h * h
                hl[half] += part * h * l
                ll[half] += part * l * l
        for half in range(2):
            shift = 16 * half
            _close(t[half], hh[half], hl[half], ll[half], f, total_hi, total_lo, square_hi, square_lo, shift)


@kernel
def moments_real(source, start, stop, weights, scale, scale2, total_hi, total_lo, square_hi, square_lo):
    """Sums of rint(w x s) and rint(w x**2 s2) over rows [start, stop), float32 weights.

    A row of weight 0 adds zero whatever its values: their squares may be infinite, and 0 * infinity is NaN.
    """
    d = source.shape[1]
    for block in range(start, stop, BLOCK_MASS):
        end = min(block + BLOCK_MASS, stop)
        for f in range(d):
            s = scale[f]
            s2 = scale2[f]
            t = np.int64(0)
            u = np.int64(0)
            for i in range(block, end):
                w = np.float64(weights[i])
                x = np.float64(source[i, f]) if w != 0.0 else np.float64(0.0)
                t += bits_f64((w * x) * s + MAGIC) - MAGIC_BITS
                u += bits_f64((w * (x * x)) * s2 + MAGIC) - MAGIC_BITS
            add_shifted(total_hi, total_lo, f, t, 0)
            add_shifted(square_hi, square_lo, f, u, 0)


@kernel
def add_to_bins(bins, first, value, times):
    """bins[first + (e >> 3)] += mantissa << (e & 7), ``times`` over; the caller keeps the total weight below 2**31."""
    bits = np.int64(bits_f32(value)) & np.int64(0x7FFFFFFF)
    biased = bits >> np.int64(23)
    mantissa = bits & np.int64(0x7FFFFF)
    if biased > 0:
        mantissa |= np.int64(0x800000)
    else:
        biased = np.int64(1)
    bins[first + (biased >> np.int64(3))] += times * (mantissa << (biased & np.int64(7)))


@kernel
def close_bins(bins, hi, lo, offset):
    """Carry 32 int64 bins into their limbs and empty them."""
    for b in range(32):
        if bins[b] != 0:
            add_shifted(hi, lo, offset + b, bins[b], 0)
            bins[b] = 0


@kernel
def bin_sum(values, start, stop, hi, lo):
    """Exact exponent-bin sum of non-negative float32 values over rows [start, stop)."""
    bins = np.zeros(32, np.int64)
    mass = np.int64(0)
    for i in range(start, stop):
        if mass + 1 >= np.int64(1 << 31):
            close_bins(bins, hi, lo, 0)
            mass = np.int64(0)
        mass += 1
        add_to_bins(bins, 0, values[i], np.int64(1))
    close_bins(bins, hi, lo, 0)
