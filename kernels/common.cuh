// common.cuh - what every kernel shares: index types, the error word, 128-bit sums, fixed point, block sums.
//
// Dialect: CUDA C++17 as NVRTC takes it without include paths: no standard headers, no std::, own typedefs. Where the
// bits of an answer are at stake, explicit intrinsics (__dmul_rn, __fmaf_rn ...) keep the compiler from contracting
// a product and a sum. Every offset is 64 bits wide.
#pragma once

typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

static_assert(sizeof(i32) == 4 && sizeof(u32) == 4 && sizeof(i64) == 8 && sizeof(u64) == 8, "widths of the host");

// The launch's dynamic shared memory: declared once, as bytes, and cast by the kernel. The host build has its own.
#ifdef GPUSEG_HOST_BUILD
unsigned char* shared_bytes();
#else
extern __shared__ __align__(16) unsigned char gpuseg_shared[];
__device__ inline unsigned char* shared_bytes() { return gpuseg_shared; }
#endif

enum { WARP = 32 };
enum : u32 { FULL_WARP = 0xffffffffu };

// The values of gpuseg.core.weights.WeightMode.
enum WeightMode { NONE = 0, INTEGER = 1, REAL = 2 };

// Bits of the error word, decoded by gpuseg.engines.launch.require_no_error.
enum : u32 {
    ERROR_RANGE = 1u,   // a value is not finite or does not fit its fixed-point scale
    ERROR_WEIGHT = 2u,  // a weight is negative, not finite or, where integral, not below 2^31
    ERROR_LABEL = 4u,   // a label is not one of 0 .. k - 1
};

__device__ inline void raise_error(u32* error, u32 bit) { atomicOr(error, bit); }

// First row of this block's first tile of `rows` rows, and the distance to its next tile: grid-stride loops.
__device__ inline i64 first_tile(i64 rows) { return blockIdx.x * rows; }
__device__ inline i64 tile_step(i64 rows) { return gridDim.x * rows; }

// The same of one thread, whose neighbours have the rows beside it: coalesced.
__device__ inline i64 first_row() { return first_tile(blockDim.x) + threadIdx.x; }
__device__ inline i64 row_step() { return tile_step(blockDim.x); }

// Where this block's partial of a group lies: [groups, gridDim.x].
__device__ inline i64 partial_at(i64 group) { return group * gridDim.x + blockIdx.x; }

// A 128-bit integer hi * 2^64 + lo, two's complement: gpuseg.core.widesum.WideSum, one element.
struct Wide {
    i64 hi;
    u64 lo;
};

__device__ inline Wide wide_zero() { return Wide{0, 0}; }

// value * 2^shift, 0 <= shift < 64.
__device__ inline Wide wide(i64 value, i32 shift = 0) {
    return Wide{shift == 0 ? value >> 63 : value >> (64 - shift), (u64)value << shift};
}

// Unsigned inside: the sum of the high limbs wraps as two's complement does.
__device__ inline Wide wide_add(Wide a, Wide b) {
    u64 lo = a.lo + b.lo;
    return Wide{(i64)((u64)a.hi + (u64)b.hi + (lo < a.lo ? 1u : 0u)), lo};
}

// a * b, exact.
__device__ inline Wide wide_product(i64 a, i64 b) { return Wide{__mul64hi(a, b), (u64)a * (u64)b}; }

// a * b for a >= 0; exact while the product is below 2^127.
__device__ inline Wide wide_times(Wide a, u64 b) {
    return Wide{(i64)(__umul64hi(a.lo, b) + (u64)a.hi * b), a.lo * b};
}

// rint(scaled) for |scaled| < 2^40, half to even; at most 2^40. A value beyond (or NaN) sets the error word and counts as 0.
__device__ inline i64 fixed_point(double scaled, u32* error) {
    if (!(fabs(scaled) < 1099511627776.0)) {
        raise_error(error, ERROR_RANGE);
        return 0;
    }
    return __double2ll_rn(scaled);
}

// Exponent bins of a non-negative float32 (ONE_ANSWER, section 4): bin e >> 3 receives mantissa << (e & 7), below 2^31.
struct BinPart {
    i32 bin;
    u32 part;
};

enum { N_BINS = 32 };

__device__ inline BinPart bin_part(float value) {
    u32 bits = __float_as_uint(value) & 0x7fffffffu;
    u32 biased = bits >> 23;
    u32 mantissa = (bits & 0x7fffffu) | (biased > 0 ? 0x800000u : 0u);
    u32 e = biased > 0 ? biased : 1u;
    return BinPart{(i32)(e >> 3), mantissa << (e & 7u)};
}

// Sum over the lanes of a warp; the result is lane 0's. Integers: the order does not matter.
__device__ inline Wide warp_sum(Wide value) {
    for (i32 offset = WARP / 2; offset > 0; offset /= 2) {
        Wide other = Wide{__shfl_down_sync(FULL_WARP, value.hi, offset), __shfl_down_sync(FULL_WARP, value.lo, offset)};
        value = wide_add(value, other);
    }
    return value;
}

enum { BLOCK_SUM_BYTES = 32 * sizeof(Wide) };

// Sum over a block of whole warps (at most 1,024 threads); the result is thread 0's. `scratch` holds BLOCK_SUM_BYTES
// and may be used again at once: the closing barrier is the callee's.
__device__ inline Wide block_sum(Wide value, Wide* scratch) {
    u32 lane = threadIdx.x % WARP;
    u32 warp = threadIdx.x / WARP;
    value = warp_sum(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    value = lane < blockDim.x / WARP ? scratch[lane] : wide_zero();
    if (warp == 0) value = warp_sum(value);
    __syncthreads();
    return value;
}
