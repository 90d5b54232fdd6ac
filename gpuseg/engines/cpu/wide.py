"""Sixteen float64 or int64 lanes (engines, private): exact sums of whole numbers in the numba kernels."""

from __future__ import annotations

from numba import types
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    I64,
    LANES,
    LLVM,
    element_pointer,
    intrinsic_call,
    splat_of,
    vec_f32,
    vec_f64,
    vec_i64,
    vec_mask,
)


@intrinsic
def splat_f64(typingctx, value):
    """A float64 in every lane."""
    sig = vec_f64(types.float64)

    def codegen(context, builder, signature, args):
        return splat_of(builder, args[0], LLVM["vec_f64"])

    return sig, codegen


@intrinsic
def splat_i64(typingctx, value):
    """An int64 in every lane."""
    sig = vec_i64(types.int64)

    def codegen(context, builder, signature, args):
        return splat_of(builder, args[0], LLVM["vec_i64"])

    return sig, codegen


@intrinsic
def fixed_sqrt(typingctx, squared, factor, magic):
    """Bits of ``float64(sqrt(squared)) * factor + magic``: float32 root, then fixed point in the low bits."""

    def codegen(context, builder, signature, args):
        value, scale, shift = args
        root = intrinsic_call(builder, f"llvm.sqrt.v{LANES}f32", LLVM["vec_f32"], [value])
        wide = builder.fpext(root, LLVM["vec_f64"])
        return builder.bitcast(builder.fadd(builder.fmul(wide, scale), shift), LLVM["vec_i64"])

    return vec_i64(vec_f32, vec_f64, vec_f64), codegen


@intrinsic
def add_i64(typingctx, a, b):
    """Lanewise a + b modulo 2**64."""
    return vec_i64(vec_i64, vec_i64), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def sum_i64(typingctx, value):
    """Sum of the lanes modulo 2**64."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.vector.reduce.add.v{LANES}i64", I64, args)

    return types.int64(vec_i64), codegen


@intrinsic
def widen(typingctx, value):
    """Lanewise float32 to float64, exact."""

    def codegen(context, builder, signature, args):
        return builder.fpext(args[0], LLVM["vec_f64"])

    return vec_f64(vec_f32), codegen


@intrinsic
def add_f64(typingctx, a, b):
    """Lanewise a + b in float64."""
    return vec_f64(vec_f64, vec_f64), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def sub_f64(typingctx, a, b):
    """Lanewise a - b in float64."""
    return vec_f64(vec_f64, vec_f64), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def mul_f64(typingctx, a, b):
    """Lanewise a * b in float64."""
    return vec_f64(vec_f64, vec_f64), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def fma_f64(typingctx, a, b, c):
    """Lanewise fused a * b + c in float64: for whole numbers, of which nothing is rounded either way."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.fma.v{LANES}f64", LLVM["vec_f64"], args)

    return vec_f64(vec_f64, vec_f64, vec_f64), codegen


@intrinsic
def div_f64(typingctx, a, b):
    """Lanewise a / b in float64."""
    return vec_f64(vec_f64, vec_f64), lambda context, builder, signature, args: builder.fdiv(*args)


@intrinsic
def less_f64(typingctx, a, b):
    """Lanewise a < b (ordered: NaN is never less)."""
    return vec_mask(vec_f64, vec_f64), lambda context, builder, signature, args: builder.fcmp_ordered(
        "<", *args
    )


@intrinsic
def select_f64(typingctx, mask, a, b):
    """Lanewise ``a if mask else b`` on float64 lanes."""
    return vec_f64(vec_mask, vec_f64, vec_f64), lambda context, builder, signature, args: builder.select(
        *args
    )


@intrinsic
def bits_of(typingctx, value):
    """Lanewise bit patterns of float64 as int64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], LLVM["vec_i64"])

    return vec_i64(vec_f64), codegen


@intrinsic
def load_f64(typingctx, array, offset):
    """Sixteen consecutive float64 of a one-dimensional contiguous array, from ``offset``."""
    sig = vec_f64(array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["vec_f64"])
        value = builder.load(pointer)
        value.align = 8
        return value

    return sig, codegen


@intrinsic
def store_f64(typingctx, array, offset, value):
    """Store sixteen float64 lanes."""
    sig = types.void(array, types.intp, vec_f64)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["vec_f64"])
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def sum_of_whole(typingctx, value):
    """Sum of lanes that hold whole numbers below 2**63, as int64."""

    def codegen(context, builder, signature, args):
        whole = builder.fptosi(args[0], LLVM["vec_i64"])
        return intrinsic_call(builder, f"llvm.vector.reduce.add.v{LANES}i64", I64, [whole])

    return types.int64(vec_f64), codegen
