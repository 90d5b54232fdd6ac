"""Sixteen float32 lanes, and labels (engines, private): what the numba kernels do with a vector of customers.

Every operation is lane by lane IEEE arithmetic, so a scalar loop over the same definition gives the same bits. A tail
shorter than sixteen goes through a padded scratch row in the kernels, never through masked arithmetic here.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    ELEMENT,
    F32,
    I32,
    LANES,
    LLVM,
    element_pointer,
    intrinsic_call,
    splat_of,
    vec_f32,
    vec_i32,
    vec_mask,
)


@intrinsic
def load(typingctx, array, offset):
    """Sixteen consecutive float32 of a one-dimensional contiguous array, from ``offset``."""
    sig = vec_f32(array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["vec_f32"])
        value = builder.load(pointer)
        value.align = 4
        return value

    return sig, codegen


@intrinsic
def store(typingctx, array, offset, value):
    """Store sixteen float32 lanes."""
    sig = types.void(array, types.intp, vec_f32)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], LLVM["vec_f32"])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def store_labels(typingctx, array, offset, value):
    """Narrow sixteen int32 lanes to the element type of ``array`` and store them."""
    sig = types.void(array, types.intp, vec_i32)

    def codegen(context, builder, signature, args):
        element = ELEMENT[signature.args[0].dtype]
        lanes = ir.VectorType(element, LANES)
        value = args[2] if element == I32 else builder.trunc(args[2], lanes)
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], lanes)
        builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def load_labels(typingctx, array, offset):
    """Sixteen unsigned narrow labels widened to int32."""
    sig = vec_i32(array, types.intp)

    def codegen(context, builder, signature, args):
        element = ELEMENT[signature.args[0].dtype]
        lanes = ir.VectorType(element, LANES)
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], lanes)
        value = builder.load(pointer)
        value.align = 1
        return value if element == I32 else builder.zext(value, LLVM["vec_i32"])

    return sig, codegen


@intrinsic
def splat(typingctx, value):
    """A float32 in every lane."""
    sig = vec_f32(types.float32)

    def codegen(context, builder, signature, args):
        return splat_of(builder, args[0], LLVM["vec_f32"])

    return sig, codegen


@intrinsic
def splat_at(typingctx, array, at):
    """``array[at]`` of a one-dimensional contiguous array of float32 in every lane; ``at`` is known not to be negative.

    An index of numba's costs four instructions more, beside the two that a centre's value is loaded for.
    """
    sig = vec_f32(array, types.intp)

    def codegen(context, builder, signature, args):
        value = builder.load(element_pointer(context, builder, signature.args[0], args[0], args[1], F32))
        return splat_of(builder, value, LLVM["vec_f32"])

    return sig, codegen


@intrinsic
def splat_i32(typingctx, value):
    """An int32 in every lane."""
    sig = vec_i32(types.int32)

    def codegen(context, builder, signature, args):
        return splat_of(builder, args[0], LLVM["vec_i32"])

    return sig, codegen


@intrinsic
def sub(typingctx, a, b):
    """Lanewise a - b."""
    return vec_f32(vec_f32, vec_f32), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def add(typingctx, a, b):
    """Lanewise a + b."""
    return vec_f32(vec_f32, vec_f32), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def add_i32(typingctx, a, b):
    """Lanewise a + b on int32 lanes."""
    return vec_i32(vec_i32, vec_i32), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def absolute(typingctx, value):
    """Lanewise magnitude."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.fabs.v{LANES}f32", LLVM["vec_f32"], args)

    return vec_f32(vec_f32), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """Lanewise fused a * b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.fma.v{LANES}f32", LLVM["vec_f32"], args)

    return vec_f32(vec_f32, vec_f32, vec_f32), codegen


@intrinsic
def less(typingctx, a, b):
    """Lanewise a < b (ordered: NaN is never less)."""
    return vec_mask(vec_f32, vec_f32), lambda context, builder, signature, args: builder.fcmp_ordered(
        "<", *args
    )


@intrinsic
def select(typingctx, mask, a, b):
    """Lanewise ``a if mask else b``."""
    return vec_f32(vec_mask, vec_f32, vec_f32), lambda context, builder, signature, args: builder.select(
        *args
    )


@intrinsic
def select_i32(typingctx, mask, a, b):
    """Lanewise ``a if mask else b`` on int32 lanes."""
    return vec_i32(vec_mask, vec_i32, vec_i32), lambda context, builder, signature, args: builder.select(
        *args
    )


@intrinsic
def smaller(typingctx, a, b):
    """Lanewise ``a if a < b else b``."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return vec_f32(vec_f32, vec_f32), codegen


@intrinsic
def larger(typingctx, a, b):
    """Lanewise ``a if a > b else b``."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return vec_f32(vec_f32, vec_f32), codegen


@intrinsic
def mul(typingctx, a, b):
    """Lanewise a * b."""
    return vec_f32(vec_f32, vec_f32), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def root(typingctx, value):
    """Lanewise square root, rounded once."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.sqrt.v{LANES}f32", LLVM["vec_f32"], args)

    return vec_f32(vec_f32), codegen


@intrinsic
def not_above(typingctx, a, b):
    """Bit mask (int32) of the lanes in which a > b does not hold; NaN never is."""

    def codegen(context, builder, signature, args):
        mask = builder.fcmp_unordered("<=", *args)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), I32)

    return types.int32(vec_f32, vec_f32), codegen


@intrinsic
def changed(typingctx, a, b):
    """Bit mask (int32) of the lanes in which two int32 vectors differ."""

    def codegen(context, builder, signature, args):
        mask = builder.icmp_unsigned("!=", *args)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), I32)

    return types.int32(vec_i32, vec_i32), codegen


@intrinsic
def set_bits(typingctx, mask):
    """Numbers of the bits that are set in the lower half of an int32, ascending, and then anything."""

    def codegen(context, builder, signature, args):
        lanes = builder.bitcast(builder.trunc(args[0], ir.IntType(LANES)), LLVM["vec_mask"])
        every = ir.Constant(LLVM["vec_i32"], list(range(LANES)))
        name = f"llvm.experimental.vector.compress.v{LANES}i32"
        return intrinsic_call(builder, name, LLVM["vec_i32"], [every, lanes, every])

    return vec_i32(types.int32), codegen


@intrinsic
def equal_i32(typingctx, a, b):
    """Lanewise a == b on int32 lanes."""
    return vec_mask(vec_i32, vec_i32), lambda context, builder, signature, args: builder.icmp_unsigned(
        "==", *args
    )


@intrinsic
def sooner(typingctx, a, label, b, other):
    """Lanewise: a < b, or a == b and ``label`` < ``other``; of equal distances the lower label goes first."""

    def codegen(context, builder, signature, args):
        a, label, b, other = args
        tie = builder.and_(builder.fcmp_ordered("==", a, b), builder.icmp_signed("<", label, other))
        return builder.or_(builder.fcmp_ordered("<", a, b), tie)

    return vec_mask(vec_f32, vec_i32, vec_f32, vec_i32), codegen


@intrinsic
def both(typingctx, a, b):
    """Lanewise a and b."""
    return vec_mask(vec_mask, vec_mask), lambda context, builder, signature, args: builder.and_(*args)


@intrinsic
def any_nonzero(typingctx, value):
    """Whether a lane is not 0: NaN is not."""

    def codegen(context, builder, signature, args):
        zero = ir.Constant(LLVM["vec_f32"], [0.0] * LANES)
        mask = builder.fcmp_unordered("!=", args[0], zero)
        return builder.icmp_unsigned(
            "!=", builder.bitcast(mask, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0)
        )

    return types.boolean(vec_f32), codegen


@intrinsic
def least_of(typingctx, value):
    """Smallest lane; no lane is NaN."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.vector.reduce.fmin.v{LANES}f32", F32, args)

    return types.float32(vec_f32), codegen


@intrinsic
def most_of(typingctx, value):
    """Largest lane; no lane is NaN."""

    def codegen(context, builder, signature, args):
        return intrinsic_call(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", F32, args)

    return types.float32(vec_f32), codegen
