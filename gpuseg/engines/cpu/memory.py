"""Single elements of arrays in the numba kernels (engines, private): no check for indices that cannot be negative."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from gpuseg.engines.cpu.vectors import (
    F32,
    F64,
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


@intrinsic
def add_fixed(typingctx, sums, to, values, at, scale, scale_at, magic, sign):
    """Eight features of one row: ``sums[to:] += q``; q = rint(float64(values[at:]) * scale[scale_at:]), -q if sign < 0.

    ``magic`` is 1.5 * 2**52, ``sign`` 0 or -1.
    """
    sig = types.void(sums, types.intp, values, types.intp, scale, types.intp, types.float64, types.int64)

    def codegen(context, builder, signature, args):
        half = LANES // 2
        whole, wide = ir.VectorType(I64, half), ir.VectorType(F64, half)

        def pointer(argument, offset, lanes):
            return element_pointer(context, builder, signature.args[argument], args[argument], offset, lanes)

        def everywhere(value, lanes):
            undefined = ir.Constant(lanes, ir.Undefined)
            lane = builder.insert_element(undefined, value, ir.Constant(I32, 0))
            return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(I32, half), [0] * half))

        value = builder.load(pointer(2, args[3], ir.VectorType(F32, half)))
        value.align = 4
        factor = builder.load(pointer(4, args[5], wide))
        factor.align = 8
        shift = everywhere(args[6], wide)
        moved = builder.fadd(builder.fmul(builder.fpext(value, wide), factor), shift)
        q = builder.sub(builder.bitcast(moved, whole), builder.bitcast(shift, whole))
        sign = everywhere(args[7], whole)  # 0 or -1: (q ^ -1) - -1 is -q
        target = pointer(0, args[1], whole)
        held = builder.load(target)
        held.align = 8
        builder.store(builder.add(held, builder.sub(builder.xor(q, sign), sign)), target, align=8)
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
        half = LANES // 2
        wide = ir.VectorType(F64, half)

        def pointer(argument, offset, lanes):
            return element_pointer(context, builder, signature.args[argument], args[argument], offset, lanes)

        def everywhere(number):
            return ir.Constant(wide, [number] * half)

        def rint(value):
            return builder.fsub(builder.fadd(value, shift), shift)

        undefined = ir.Constant(wide, ir.Undefined)
        lane = builder.insert_element(undefined, args[6], ir.Constant(I32, 0))
        shift = builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(I32, half), [0] * half))
        value = builder.load(pointer(2, args[3], ir.VectorType(F32, half)))
        value.align = 4
        factor = builder.load(pointer(4, args[5], wide))
        factor.align = 8
        q = rint(builder.fmul(builder.fpext(value, wide), factor))
        high = rint(builder.fmul(q, everywhere(2.0**-20)))
        low = builder.fsub(q, builder.fmul(high, everywhere(2.0**20)))
        products = q, builder.fmul(high, high), builder.fmul(high, low), builder.fmul(low, low)
        for row, product in enumerate(products):
            target = pointer(0, builder.add(args[1], ir.Constant(I64, row * half)), wide)
            held = builder.load(target)
            held.align = 8
            builder.store(builder.fadd(held, product), target, align=8)
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
