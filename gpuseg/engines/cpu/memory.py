"""Single elements of arrays in the numba kernels (engines, private): no check for indices that cannot be negative."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    F32,
    F64,
    HALF,
    I32,
    I64,
    LANES,
    LLVM,
    element_pointer,
    splat_of,
    vec_f32,
    vec_i32,
)


@intrinsic
def take(typingctx, array, index):
    """Lane j is ``array[index[j]]`` of a one-dimensional contiguous array of float32."""
    sig = vec_f32(array, vec_i32)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        base = splat_of(builder, builder.ptrtoint(data, I64), LLVM["vec_i64"])
        four = ir.Constant(LLVM["vec_i64"], [4] * LANES)
        at = builder.add(base, builder.mul(builder.zext(args[1], LLVM["vec_i64"]), four))
        pointers = builder.inttoptr(at, ir.VectorType(F32.as_pointer(), LANES))
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(LLVM["vec_f32"], [pointers.type, I32, LLVM["vec_mask"], LLVM["vec_f32"]]),
            f"llvm.masked.gather.v{LANES}f32.v{LANES}p0",
        )
        every = ir.Constant(LLVM["vec_mask"], [1] * LANES)
        nothing = ir.Constant(LLVM["vec_f32"], ir.Undefined)
        return builder.call(function, [pointers, ir.Constant(I32, 4), every, nothing])

    return sig, codegen


@intrinsic
def copy_element(typingctx, out, to, array, at):
    """``out[to] = array[at]`` of one-dimensional contiguous arrays, for indices that are known not to be negative."""
    sig = types.void(out, types.intp, array, types.intp)

    def codegen(context, builder, signature, args):
        source = context.make_array(signature.args[2])(context, builder, args[2]).data
        target = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store(builder.load(builder.gep(source, [args[3]])), builder.gep(target, [args[1]]))
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def add_at(typingctx, array, at, value):
    """``array[at] += value`` of a one-dimensional contiguous array of int64; ``at`` is known not to be negative."""
    sig = types.void(array, types.intp, types.int64)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.gep(data, [args[1]])
        builder.store(builder.add(builder.load(pointer), args[2]), pointer)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def prefetch(typingctx, array, at):
    """Ask for the cache line of ``array[at]`` of a one-dimensional contiguous array."""
    sig = types.void(array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1], ir.IntType(8))
        wanted = [ir.Constant(I32, value) for value in (0, 2, 1)]  # to read, second level, data
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32]),
            "llvm.prefetch.p0",
        )
        builder.call(function, [pointer, *wanted])
        return context.get_dummy_value()

    return sig, codegen


_WIDE, _WHOLE = ir.VectorType(F64, HALF), ir.VectorType(I64, HALF)


def _everywhere(builder, value, lanes_type=_WIDE):
    """A number in eight lanes."""
    undefined = ir.Constant(lanes_type, ir.Undefined)
    lane = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(I32, HALF), [0] * HALF))


def _scaled(context, builder, types_of, args):
    """``float64(values[at:]) * scale[scale_at:]`` of the eight elements that the arguments from the third on name."""
    value_pointer = element_pointer(context, builder, types_of[2], args[2], args[3], ir.VectorType(F32, HALF))
    value = builder.load(value_pointer)
    value.align = 4
    factor = builder.load(element_pointer(context, builder, types_of[4], args[4], args[5], _WIDE))
    factor.align = 8
    return builder.fmul(builder.fpext(value, _WIDE), factor)


def _change(context, builder, types_of, args, offset, lanes_type, operation, by):
    """Eight elements of the first argument, from ``offset`` on, become ``operation(element, by)``."""
    target = element_pointer(context, builder, types_of[0], args[0], offset, lanes_type)
    held = builder.load(target)
    held.align = 8
    builder.store(operation(held, by), target, align=8)


@intrinsic
def add_fixed(typingctx, sums, to, values, at, scale, scale_at, magic, sign):
    """Eight features of one row: ``sums[to:] += q``; q = rint(float64(values[at:]) * scale[scale_at:]), -q if sign < 0.

    ``magic`` is 1.5 * 2**52, ``sign`` 0 or -1.
    """
    sig = types.void(sums, types.intp, values, types.intp, scale, types.intp, types.float64, types.int64)

    def codegen(context, builder, signature, args):
        shift = _everywhere(builder, args[6])
        moved = builder.fadd(_scaled(context, builder, signature.args, args), shift)
        q = builder.sub(builder.bitcast(moved, _WHOLE), builder.bitcast(shift, _WHOLE))
        sign = _everywhere(builder, args[7], _WHOLE)  # 0 or -1: (q ^ -1) - -1 is -q
        signed = builder.sub(builder.xor(q, sign), sign)
        _change(context, builder, signature.args, args, args[1], _WHOLE, builder.add, signed)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def add_squared(typingctx, sums, to, values, at, scale, scale_at, magic):
    """Eight features of one row, to four rows of eight float64 sums: q, and the three products of its square.

    q = rint(float64(values[at:]) * scale[scale_at:]) = h 2**20 + l with |l| <= 2**19; added are q, h h, h l and l l,
    all of them whole numbers. ``magic`` is 1.5 * 2**52.
    """
    sig = types.void(sums, types.intp, values, types.intp, scale, types.intp, types.float64)

    def codegen(context, builder, signature, args):
        shift = _everywhere(builder, args[6])

        def rint(value):
            return builder.fsub(builder.fadd(value, shift), shift)

        q = rint(_scaled(context, builder, signature.args, args))
        high = rint(builder.fmul(q, ir.Constant(_WIDE, [2.0**-20] * HALF)))
        low = builder.fsub(q, builder.fmul(high, ir.Constant(_WIDE, [2.0**20] * HALF)))
        products = q, builder.fmul(high, high), builder.fmul(high, low), builder.fmul(low, low)
        for row, product in enumerate(products):
            to = builder.add(args[1], ir.Constant(I64, row * HALF))
            _change(context, builder, signature.args, args, to, _WIDE, builder.fadd, product)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def compiled_once(typingctx):
    """Said at the beginning of a kernel: it is called, never copied into its callers, which then compile sooner."""
    sig = types.void()

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def copied_in(typingctx):
    """Said at the beginning of a kernel with many arguments and little to do: its callers hold a copy of it."""
    sig = types.void()

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return sig, codegen
