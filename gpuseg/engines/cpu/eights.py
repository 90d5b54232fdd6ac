"""Eight float32 lanes (engines, private): eight centres of a group, for kernels that look at one customer at a time.

As :mod:`~gpuseg.engines.cpu.simd`, lane by lane IEEE arithmetic.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    F32,
    HALF,
    LLVM,
    element_pointer,
    half_f32,
    intrinsic_call,
    splat_of,
)


@intrinsic
def zero_eight(typingctx):
    """0 in every lane."""
    return half_f32(), lambda context, builder, signature, args: ir.Constant(LLVM["half_f32"], [0.0] * HALF)


@intrinsic
def load_eight(typingctx, array, offset):
    """Eight consecutive float32 of a one-dimensional contiguous array, from ``offset``."""
    sig = half_f32(array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["half_f32"])
        value = builder.load(pointer)
        value.align = 4
        return value

    return sig, codegen


@intrinsic
def store_eight(typingctx, array, offset, value):
    """Store eight float32 lanes."""
    sig = types.void(array, types.intp, half_f32)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["half_f32"])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def add_square(typingctx, acc, array, at, centres):
    """One step of the chain to eight centres: t = centres - array[at]; fma(t, t, acc). ``at`` is not negative."""
    sig = half_f32(half_f32, array, types.intp, half_f32)

    def codegen(context, builder, signature, args):
        value = builder.load(element_pointer(context, builder, signature.args[1], args[1], args[2], F32))
        t = builder.fsub(args[3], splat_of(builder, value, LLVM["half_f32"]))
        return intrinsic_call(builder, f"llvm.fma.v{HALF}f32", LLVM["half_f32"], [t, t, args[0]])

    return sig, codegen
