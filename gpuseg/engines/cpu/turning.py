"""From feature-major to row-major and back in registers (engines, private): three steps of two-vector shuffles."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    F32,
    I32,
    I64,
    LANES,
    element_pointer,
    vec_f32,
)

FEATURES = 8
"""Features that are turned at a time."""
QUARTER = LANES // 4
"""Lanes between which values move fastest."""


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _interleaved(size):
    """Lanes of two vectors in turns, ``size`` at a time: of their first halves, and of their second halves."""
    low = [
        source * LANES + block * size + lane
        for block in range(LANES // 2 // size)
        for source in (0, 1)
        for lane in range(size)
    ]
    return low, [lane + LANES // 2 for lane in low]


def _within_quarters(lanes):
    """The same choice of lanes of two vectors in each quarter; a lane of the second one counts from ``QUARTER`` on."""
    return [
        lane % QUARTER + lane // QUARTER * LANES + first
        for first in range(0, LANES, QUARTER)
        for lane in lanes
    ]


_PAIRS_OF_VALUES = _within_quarters((0, 4, 1, 5)), _within_quarters((2, 6, 3, 7))
_PAIRS_OF_PAIRS = _within_quarters((0, 1, 4, 5)), _within_quarters((2, 3, 6, 7))


@intrinsic
def turn_to_rows(typingctx, out, to, step, v0, v1, v2, v3, v4, v5, v6, v7):
    """Store eight features of sixteen rows, each row's features side by side, row r from ``to + r * step`` on."""
    sig = types.void(out, types.intp, types.intp, *[vec_f32] * FEATURES)
    neighbours = {
        1: [(0, 1), (2, 3), (4, 5), (6, 7)],
        2: [(0, 2), (1, 3), (4, 6), (5, 7)],
        4: [(0, 4), (1, 5), (2, 6), (3, 7)],
    }

    def codegen(context, builder, signature, args):
        vectors = args[3:]
        for size, pairs in neighbours.items():
            halves = _interleaved(size)
            vectors = [_shuffle(builder, vectors[a], vectors[b], lanes) for a, b in pairs for lanes in halves]
        lanes_type = ir.VectorType(F32, FEATURES)
        for row in range(LANES):
            first = row % 2 * FEATURES
            value = _shuffle(
                builder, vectors[row // 2], vectors[row // 2], list(range(first, first + FEATURES))
            )
            offset = builder.add(args[1], builder.mul(args[2], ir.Constant(I64, row)))
            pointer = element_pointer(context, builder, signature.args[0], args[0], offset, lanes_type)
            builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def turn_to_features(typingctx, array, at, step):
    """Eight vectors, one a feature, of sixteen rows of eight values each, row r from ``at + r * step`` on."""
    sig = types.UniTuple(vec_f32, FEATURES)(array, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        def offset(r):
            return builder.add(args[1], builder.mul(args[2], ir.Constant(I64, r)))

        vectors = _features(context, builder, signature.args[0], args[0], offset)
        return context.make_tuple(builder, signature.return_type, vectors)

    return sig, codegen


@intrinsic
def gather_to_features(typingctx, array, at, step, rows, first):
    """Eight vectors, one a feature, of sixteen rows of eight values each: ``rows[first + r] * step + at`` on.

    ``rows`` is a one-dimensional contiguous array of integers, none of them negative.
    """
    sig = types.UniTuple(vec_f32, FEATURES)(array, types.intp, types.intp, rows, types.intp)

    def codegen(context, builder, signature, args):
        numbers = context.make_array(signature.args[3])(context, builder, args[3]).data

        def offset(r):
            number = builder.load(builder.gep(numbers, [builder.add(args[4], ir.Constant(I64, r))]))
            if number.type != I64:
                number = builder.zext(number, I64)
            return builder.add(args[1], builder.mul(args[2], number))

        vectors = _features(context, builder, signature.args[0], args[0], offset)
        return context.make_tuple(builder, signature.return_type, vectors)

    return sig, codegen


def _features(context, builder, array_type, array, offset):
    """Sixteen rows of eight values, row r from ``offset(r)`` on, as eight vectors, one a feature.

    Four values of rows j, 4 + j, 8 + j and 12 + j are loaded side by side, so that two steps within quarters of a
    vector, which processors do fastest, leave the rows in order.
    """
    lanes_type = ir.VectorType(F32, QUARTER)
    offsets = [offset(r) for r in range(LANES)]

    def quarter(r, feature):
        at = builder.add(offsets[r], ir.Constant(I64, feature))
        value = builder.load(element_pointer(context, builder, array_type, array, at, lanes_type))
        value.align = 4
        return value

    def joined(a, b):
        return _shuffle(builder, a, b, list(range(2 * a.type.count)))

    vectors = []
    for feature in range(0, FEATURES, QUARTER):
        parts = []
        for j in range(QUARTER):
            each = [quarter(j + QUARTER * lane, feature) for lane in range(LANES // QUARTER)]
            parts.append(joined(joined(each[0], each[1]), joined(each[2], each[3])))
        for lanes in _PAIRS_OF_VALUES:
            a, b = (_shuffle(builder, parts[q], parts[q + 1], lanes) for q in (0, 2))
            vectors += [_shuffle(builder, a, b, pairs) for pairs in _PAIRS_OF_PAIRS]
    return vectors
