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
def take(typingctx, array, index):
    """Lane j is ``array[index[j]]`` of a one-dimensional contiguous array of float32."""
    sig = vec_f32(array, vec_i32)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        base = _splat(builder, builder.ptrtoint(data, _I64), _LLVM["vec_i64"])
        four = ir.Constant(_LLVM["vec_i64"], [4] * LANES)
        at = builder.add(base, builder.mul(builder.zext(args[1], _LLVM["vec_i64"]), four))
        pointers = builder.inttoptr(at, ir.VectorType(_F32.as_pointer(), LANES))
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_LLVM["vec_f32"], [pointers.type, _I32, _LLVM["vec_mask"], _LLVM["vec_f32"]]),
            f"llvm.masked.gather.v{LANES}f32.v{LANES}p0",
        )
        every = ir.Constant(_LLVM["vec_mask"], [1] * LANES)
        nothing = ir.Constant(_LLVM["vec_f32"], ir.Undefined)
        return builder.call(function, [pointers, ir.Constant(_I32, 4), every, nothing])

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
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], ir.IntType(8))
        wanted = [ir.Constant(_I32, value) for value in (0, 2, 1)]  # to read, second level, data
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32]),
            "llvm.prefetch.p0",
        )
        builder.call(function, [pointer, *wanted])
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def root(typingctx, value):
    """Lanewise square root, rounded once."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.sqrt.v{LANES}f32", _LLVM["vec_f32"], args)

    return vec_f32(vec_f32), codegen


@intrinsic
def not_above(typingctx, a, b):
    """Bit mask (int32) of the lanes in which a > b does not hold; NaN never is."""

    def codegen(context, builder, signature, args):
        mask = builder.fcmp_unordered("<=", *args)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), _I32)

    return types.int32(vec_f32, vec_f32), codegen


@intrinsic
def count_bits(typingctx, bits):
    """How many bits of an int32 are set."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, "llvm.ctpop.i32", _I32, args)

    return types.int32(types.int32), codegen


@intrinsic
def trailing_zeros(typingctx, bits):
    """Index of the lowest bit set in an int32 that is not 0."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_I32, [_I32, ir.IntType(1)]), "llvm.cttz.i32"
        )
        return builder.call(function, [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int32(types.int32), codegen


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
def store_fixed(typingctx, out, to, value, scale, magic):
    """Store sixteen ``rint(float64(value) * scale)`` as int64; ``magic`` is 1.5 * 2**52."""
    sig = types.void(out, types.intp, vec_f32, types.float64, types.float64)

    def codegen(context, builder, signature, args):
        wide = builder.fpext(args[2], _LLVM["vec_f64"])
        scale, magic = (_splat(builder, arg, _LLVM["vec_f64"]) for arg in args[3:])
        shifted = builder.fadd(builder.fmul(wide, scale), magic)
        whole = builder.sub(*(builder.bitcast(part, _LLVM["vec_i64"]) for part in (shifted, magic)))
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], _LLVM["vec_i64"])
        builder.store(whole, pointer, align=8)
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
        whole, wide = ir.VectorType(_I64, half), ir.VectorType(_F64, half)

        def pointer(argument, offset, lanes):
            return _element_pointer(context, builder, signature.args[argument], args[argument], offset, lanes)

        def everywhere(value, lanes):
            undefined = ir.Constant(lanes, ir.Undefined)
            lane = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
            return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(_I32, half), [0] * half))

        value = builder.load(pointer(2, args[3], ir.VectorType(_F32, half)))
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


@intrinsic
def sum_of_whole(typingctx, value):
    """Sum of lanes that hold whole numbers below 2**63, as int64."""

    def codegen(context, builder, signature, args):
        whole = builder.fptosi(args[0], _LLVM["vec_i64"])
        return _intrinsic_call(builder, f"llvm.vector.reduce.add.v{LANES}i64", _I64, [whole])

    return types.int64(vec_f64), codegen


@intrinsic
def any_nonzero(typingctx, value):
    """Whether a lane is not 0: NaN is not."""

    def codegen(context, builder, signature, args):
        zero = ir.Constant(_LLVM["vec_f32"], [0.0] * LANES)
        mask = builder.fcmp_unordered("!=", args[0], zero)
        return builder.icmp_unsigned(
            "!=", builder.bitcast(mask, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0)
        )

    return types.boolean(vec_f32), codegen


@intrinsic
def least_of(typingctx, value):
    """Smallest lane; no lane is NaN."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.vector.reduce.fmin.v{LANES}f32", _F32, args)

    return types.float32(vec_f32), codegen


@intrinsic
def most_of(typingctx, value):
    """Largest lane; no lane is NaN."""

    def codegen(context, builder, signature, args):
        return _intrinsic_call(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", _F32, args)

    return types.float32(vec_f32), codegen


FEATURES = 8
"""Features that are turned at a time, from feature-major to row-major or back: three steps of two-vector shuffles."""


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


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
        lanes_type = ir.VectorType(_F32, FEATURES)
        for row in range(LANES):
            first = row % 2 * FEATURES
            value = _shuffle(
                builder, vectors[row // 2], vectors[row // 2], list(range(first, first + FEATURES))
            )
            offset = builder.add(args[1], builder.mul(args[2], ir.Constant(_I64, row)))
            pointer = _element_pointer(context, builder, signature.args[0], args[0], offset, lanes_type)
            builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def turn_to_features(typingctx, array, at, step):
    """Eight vectors, one a feature, of sixteen rows of eight values each, row r from ``at + r * step`` on."""
    sig = types.UniTuple(vec_f32, FEATURES)(array, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        lanes_type = ir.VectorType(_F32, FEATURES)

        def row(r):
            offset = builder.add(args[1], builder.mul(args[2], ir.Constant(_I64, r)))
            pointer = _element_pointer(context, builder, signature.args[0], args[0], offset, lanes_type)
            value = builder.load(pointer)
            value.align = 4
            return value

        vectors = [
            _shuffle(builder, row(2 * q), row(2 * q + 1), list(range(LANES))) for q in range(LANES // 2)
        ]
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
        return context.make_tuple(builder, signature.return_type, vectors)

    return sig, codegen
