"""SIMD vectors for the numba kernels (engines, private): sixteen float32 lanes, written as explicit LLVM vectors.

LLVM's loop vectoriser gives up on kernels with many arrays, so the kernels say what they mean: a ``vec`` holds
sixteen customers of one feature, and LLVM lowers it to one zmm, two ymm or four NEON registers. Every operation is
lane by lane IEEE arithmetic, so a scalar loop over the same definition gives the same bits. A tail shorter than
sixteen goes through a padded scratch row in the kernels, never through masked arithmetic here.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, register_model

LANES = 16

_F32 = ir.FloatType()
_F64 = ir.DoubleType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_LLVM = {
    "vec_f32": ir.VectorType(_F32, LANES),
    "vec_f64": ir.VectorType(_F64, LANES),
    "vec_i32": ir.VectorType(_I32, LANES),
    "vec_i64": ir.VectorType(_I64, LANES),
    "vec_mask": ir.VectorType(ir.IntType(1), LANES),
}
_ELEMENT = {
    types.float32: _F32,
    types.float64: _F64,
    types.int64: _I64,
    types.int32: _I32,
    types.uint8: ir.IntType(8),
    types.uint16: ir.IntType(16),
}


class VectorType(types.Type):
    """A numba type for one LLVM vector; it lives in registers and never reaches Python."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _LLVM[fe_type.name])


vec_f32 = VectorType("vec_f32")
vec_f64 = VectorType("vec_f64")
vec_i32 = VectorType("vec_i32")
vec_i64 = VectorType("vec_i64")
vec_mask = VectorType("vec_mask")


def _splat(builder, value, lanes_type):
    undef = ir.Constant(lanes_type, ir.Undefined)
    first = builder.insert_element(undef, value, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undef, zeros)


def _element_pointer(context, builder, array_type, array, offset, lanes_type):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), lanes_type.as_pointer())


def _intrinsic_call(builder, name, result, args):
    module = builder.module
    function = cgutils.get_or_insert_function(
        module, ir.FunctionType(result, [arg.type for arg in args]), name
    )
    return builder.call(function, args)


@intrinsic
def load(typingctx, array, offset):
    """Sixteen consecutive float32 of a one-dimensional contiguous array, from ``offset``."""
    sig = vec_f32(array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], _LLVM["vec_f32"])
        value = builder.load(pointer)
        value.align = 4
        return value

    return sig, codegen


@intrinsic
def store(typingctx, array, offset, value):
    """Store sixteen float32 lanes."""
    sig = types.void(array, types.intp, vec_f32)

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], _LLVM["vec_f32"])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def store_labels(typingctx, array, offset, value):
    """Narrow sixteen int32 lanes to the element type of ``array`` and store them."""
    sig = types.void(array, types.intp, vec_i32)

    def codegen(context, builder, signature, args):
        element = _ELEMENT[signature.args[0].dtype]
        lanes = ir.VectorType(element, LANES)
        value = args[2] if element == _I32 else builder.trunc(args[2], lanes)
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], lanes)
        builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def load_labels(typingctx, array, offset):
    """Sixteen unsigned narrow labels widened to int32."""
    sig = vec_i32(array, types.intp)

    def codegen(context, builder, signature, args):
        element = _ELEMENT[signature.args[0].dtype]
        lanes = ir.VectorType(element, LANES)
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], lanes)
        value = builder.load(pointer)
        value.align = 1
        return value if element == _I32 else builder.zext(value, _LLVM["vec_i32"])

    return sig, codegen


@intrinsic
def splat(typingctx, value):
    """A float32 in every lane."""
    sig = vec_f32(types.float32)

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], _LLVM["vec_f32"])

    return sig, codegen


@intrinsic
def splat_i32(typingctx, value):
    """An int32 in every lane."""
    sig = vec_i32(types.int32)

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], _LLVM["vec_i32"])

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
def absolute(typingctx, value):
    """Lanewise magnitude."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.fabs.v{LANES}f32", _LLVM["vec_f32"], args)

    return vec_f32(vec_f32), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """Lanewise fused a * b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.fma.v{LANES}f32", _LLVM["vec_f32"], args)

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
def changed(typingctx, a, b):
    """Bit mask (int32) of the lanes in which two int32 vectors differ."""

    def codegen(context, builder, signature, args):
        mask = builder.icmp_unsigned("!=", *args)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), _I32)

    return types.int32(vec_i32, vec_i32), codegen


@intrinsic
def bits_f64(typingctx, value):
    """The bit pattern of a float64 as int64."""
    return types.int64(types.float64), lambda context, builder, signature, args: builder.bitcast(
        args[0], _I64
    )


@intrinsic
def bits_f32(typingctx, value):
    """The bit pattern of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(
        args[0], _I32
    )


@intrinsic
def fma32(typingctx, a, b, c):
    """Scalar float32 fused multiply-add, rounded once."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, "llvm.fma.f32", _F32, args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def splat_f64(typingctx, value):
    """A float64 in every lane."""
    sig = vec_f64(types.float64)

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], _LLVM["vec_f64"])

    return sig, codegen


@intrinsic
def splat_i64(typingctx, value):
    """An int64 in every lane."""
    sig = vec_i64(types.int64)

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], _LLVM["vec_i64"])

    return sig, codegen


@intrinsic
def fixed_sqrt(typingctx, squared, factor, magic):
    """Bits of ``float64(sqrt(squared)) * factor + magic``: float32 root, then fixed point in the low bits."""

    def codegen(context, builder, signature, args):
        value, scale, shift = args
        root = _intrinsic_call(builder, f"llvm.sqrt.v{LANES}f32", _LLVM["vec_f32"], [value])
        wide = builder.fpext(root, _LLVM["vec_f64"])
        return builder.bitcast(builder.fadd(builder.fmul(wide, scale), shift), _LLVM["vec_i64"])

    return vec_i64(vec_f32, vec_f64, vec_f64), codegen


@intrinsic
def add_i64(typingctx, a, b):
    """Lanewise a + b modulo 2**64."""
    return vec_i64(vec_i64, vec_i64), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def sum_i64(typingctx, value):
    """Sum of the lanes modulo 2**64."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.vector.reduce.add.v{LANES}i64", _I64, args)

    return types.int64(vec_i64), codegen


@intrinsic
def widen(typingctx, value):
    """Lanewise float32 to float64, exact."""

    def codegen(context, builder, signature, args):
        return builder.fpext(args[0], _LLVM["vec_f64"])

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
def equal_i32(typingctx, a, b):
    """Lanewise a == b on int32 lanes."""
    return vec_mask(vec_i32, vec_i32), lambda context, builder, signature, args: builder.icmp_unsigned(
        "==", *args
    )


@intrinsic
def both(typingctx, a, b):
    """Lanewise a and b."""
    return vec_mask(vec_mask, vec_mask), lambda context, builder, signature, args: builder.and_(*args)


@intrinsic
def bits_of(typingctx, value):
    """Lanewise bit patterns of float64 as int64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], _LLVM["vec_i64"])

    return vec_i64(vec_f64), codegen


@intrinsic
def store_f64(typingctx, array, offset, value):
    """Store sixteen float64 lanes."""
    sig = types.void(array, types.intp, vec_f64)

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], _LLVM["vec_f64"])
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return sig, codegen
