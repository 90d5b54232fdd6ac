"""Vector types of the numba kernels (engines, private): sixteen lanes, written as explicit LLVM vectors.

LLVM's loop vectoriser gives up on kernels with many arrays, so the kernels say what they mean: a ``vec`` holds sixteen
customers of one feature, and LLVM lowers it to one zmm, two ymm or four NEON registers. What is done with them:
:mod:`~gpuseg.engines.cpu.simd` (float32 and labels), ``wide`` (float64 and int64), ``turning`` (rows and features),
``memory`` (single elements) and ``bits`` (scalars).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import models, register_model

LANES = 16
HALF = LANES // 2

F32 = ir.FloatType()
F64 = ir.DoubleType()
I32 = ir.IntType(32)
I64 = ir.IntType(64)
LLVM = {
    "vec_f32": ir.VectorType(F32, LANES),
    "half_f32": ir.VectorType(F32, HALF),
    "vec_f64": ir.VectorType(F64, LANES),
    "vec_i32": ir.VectorType(I32, LANES),
    "vec_i64": ir.VectorType(I64, LANES),
    "vec_mask": ir.VectorType(ir.IntType(1), LANES),
}
ELEMENT = {
    types.float32: F32,
    types.float64: F64,
    types.int64: I64,
    types.int32: I32,
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
        super().__init__(dmm, fe_type, LLVM[fe_type.name])


vec_f32 = VectorType("vec_f32")
half_f32 = VectorType("half_f32")
vec_f64 = VectorType("vec_f64")
vec_i32 = VectorType("vec_i32")
vec_i64 = VectorType("vec_i64")
vec_mask = VectorType("vec_mask")


def splat_of(builder, value, lanes_type):
    """A value in every lane."""
    undef = ir.Constant(lanes_type, ir.Undefined)
    first = builder.insert_element(undef, value, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes_type.count), [0] * lanes_type.count)
    return builder.shuffle_vector(first, undef, zeros)


def element_pointer(context, builder, array_type, array, offset, lanes_type):
    """Pointer to ``lanes_type`` at an element of a one-dimensional contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), lanes_type.as_pointer())


def intrinsic_call(builder, name, result, args):
    """Call of an LLVM intrinsic whose arguments say its type."""
    module = builder.module
    function = cgutils.get_or_insert_function(
        module, ir.FunctionType(result, [arg.type for arg in args]), name
    )
    return builder.call(function, args)
