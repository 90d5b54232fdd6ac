"""Scalars in the numba kernels (engines, private): bit patterns, counts of bits, the fused multiply-add."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    F32,
    I32,
    I64,
    intrinsic_call,
)


@intrinsic
def count_bits(typingctx, bits):
    """How many bits of an int32 are set."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, "llvm.ctpop.i32", I32, args)

    return types.int32(types.int32), codegen


@intrinsic
def trailing_zeros(typingctx, bits):
    """Index of the lowest bit set in an int32 that is not 0."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(I32, [I32, ir.IntType(1)]), "llvm.cttz.i32"
        )
        return builder.call(function, [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int32(types.int32), codegen


@intrinsic
def bits_f64(typingctx, value):
    """The bit pattern of a float64 as int64."""
    return types.int64(types.float64), lambda context, builder, signature, args: builder.bitcast(args[0], I64)


@intrinsic
def bits_f32(typingctx, value):
    """The bit pattern of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(args[0], I32)


@intrinsic
def fma32(typingctx, a, b, c):
    """Scalar float32 fused multiply-add, rounded once."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, "llvm.fma.f32", F32, args)

    return types.float32(types.float32, types.float32, types.float32), codegen
