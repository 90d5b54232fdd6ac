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


def _separated(size):
    """Inverse of ``_interleaved``: of two vectors in a row the even blocks of ``size`` lanes, and the odd ones."""
    even = [block * 2 * size + lane for block in range(LANES // size) for lane in range(size)]
    return even, [lane + size for lane in even]


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
    """Sixteen rows of eight values, row r from ``offset(r)`` on, as eight vectors, one a feature."""
    lanes_type = ir.VectorType(F32, FEATURES)

    def row(r):
        pointer = element_pointer(context, builder, array_type, array, offset(r), lanes_type)
        value = builder.load(pointer)
        value.align = 4
        return value

    vectors = [_shuffle(builder, row(2 * q), row(2 * q + 1), list(range(LANES))) for q in range(LANES // 2)]
    for size in (4, 2, 1):
        even, odd = (
            [_shuffle(builder, a, b, lanes) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            for lanes in _separated(size)
        )
        # Blocks of the same features in the order of their rows, features ascending.
        groups = 4 // size
        each = len(even) // groups
        vectors = [
            part[group * each + i] for group in range(groups) for part in (even, odd) for i in range(each)
        ]
    if len(vectors) != FEATURES:
        raise AssertionError
    return vectors
