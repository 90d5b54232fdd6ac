// moments.cu - weight, exact sum and exact sum of squares of every feature of a block.
//
// Computes   The record gpuseg.core.moments.Moments, in integers, so that no order of summation can change a bit:
//              NONE      total = sum x_q             square = sum x_q^2              mass = n (known to the host)
//              INTEGER   total = sum w x_q           square = sum w x_q^2            mass = sum w
//              REAL      total = sum rint(w x s)     square = sum rint(w x^2 s2)     mass = 32 exponent bins of w
//            with x_q = rint(x s), half to even; s = scale[f] and s2 = square_scale[f] are powers of two. w x and x^2 are
//            exact in float64 where x is float32, else rounded once; so is w x^2. A row of weight 0 is not looked at,
//            whatever it holds.
// Inputs     x            float32 [d, n]  feature-major (moments_partial<MODE, double>: float64); features lie `stride` elements apart, stride >= n
//            w            int64 or float32 [n]; not read under NONE
//            scale, square_scale          float64 [d], powers of two; square_scale is read under REAL only
// Outputs    partial_hi, partial_lo       int64, uint64 [groups, gridDim.x]: one 128-bit partial a group and block.
//            Groups: moments 2 d (totals, then squares), mass 1 or 32 (bins). wide_merge adds them to [groups].
//            error        uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D; grid.x over rows, grid.y over tiles of FEATURES features, both grid-stride;
//            wide_merge: one block a group. Shared bytes: BLOCK_SUM_BYTES (512); mass_bins: 256 a thread, at least 512.
// Order      none that matters: integer sums. No atomics but on the error word, no "last block done".
// Bytes      4 n d (float64: 8 n d), and the weights (8 n or 4 n) once for mass and once a tile of FEATURES features.
// Limits     n < 2^40, d < 2^30; |x s|, |w x s| and |w x^2 s2| below 2^40; integral w < 2^31, sum w < 2^47.
#include "common.cuh"

#ifndef FEATURES  // features a thread sums at once: the weights are read once for all of them
#define FEATURES 8
#endif
#ifndef CLOSE_ROWS  // rows that an int64 accumulator takes before it is carried into 128 bits; see Open<NONE>
#define CLOSE_ROWS (1 << 22)
#endif

template <i32 MODE> struct WeightOf { typedef i64 type; };
template <> struct WeightOf<REAL> { typedef float type; };

struct Sums {
    Wide total, square;
};

// Accumulators of one feature that are still open, at most CLOSE_ROWS <= 2^22 rows.
template <i32 MODE> struct Open;

// With |x_q| = h 2^20 + l, x_q^2 = h^2 2^40 + h l 2^21 + l^2. Since |x_q| <= 2^40, h <= 2^20 and l < 2^20, each product
// is at most 2^40; so is |x_q|; 2^22 of them reach at most 2^62, which int64 holds.
template <> struct Open<NONE> {
    i64 total;
    u64 hh, hl, ll;

    __device__ void add(Sums&, double x, i64, double scale, double, u32* error) {
        i64 q = fixed_point(__dmul_rn(x, scale), error);
        u64 magnitude = (u64)(q < 0 ? -q : q);
        u32 h = (u32)(magnitude >> 20);
        u32 l = (u32)magnitude & 0xfffffu;
        total += q;
        hh += (u64)h * h;
        hl += (u64)h * l;
        ll += (u64)l * l;
    }
    __device__ void close(Sums& sums) const {
        sums.total = wide_add(sums.total, wide(total));
        Wide square = wide_add(wide((i64)hh, 40), wide_add(wide((i64)hl, 21), wide((i64)ll)));
        sums.square = wide_add(sums.square, square);
    }
};

// w x_q reaches 2^71 and w x_q^2 2^111: each row goes straight to 128 bits, which hold sum w x_q^2 <= 2^80 sum w while
// sum w is below 2^47. Nothing stays open.
template <> struct Open<INTEGER> {
    __device__ void add(Sums& sums, double x, i64 w, double scale, double, u32* error) {
        i64 q = fixed_point(__dmul_rn(x, scale), error);
        sums.total = wide_add(sums.total, wide_product(q, w));
        sums.square = wide_add(sums.square, wide_times(wide_product(q, q), (u64)w));
    }
    __device__ void close(Sums&) const {}
};

// Each term is at most 2^40 in magnitude: 2^22 of them reach at most 2^62.
template <> struct Open<REAL> {
    i64 total, square;

    __device__ void add(Sums&, double x, float w, double scale, double square_scale, u32* error) {
        total += fixed_point(__dmul_rn(__dmul_rn((double)w, x), scale), error);
        square += fixed_point(__dmul_rn(__dmul_rn((double)w, __dmul_rn(x, x)), square_scale), error);
    }
    __device__ void close(Sums& sums) const {
        sums.total = wide_add(sums.total, wide(total));
        sums.square = wide_add(sums.square, wide(square));
    }
};

template <i32 MODE, typename X = float>
__global__ void moments_partial(const X* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                                i64 stride, i32 d, const double* __restrict__ scale,
                                const double* __restrict__ square_scale, i64* partial_hi, u64* partial_lo, u32* error) {
    Wide* scratch = (Wide*)shared_bytes();
    for (i32 low = blockIdx.y * FEATURES; low < d; low += gridDim.y * FEATURES) {
        Sums sums[FEATURES] = {};

        for (i64 i = first_row(); i < n;) {
            Open<MODE> open[FEATURES] = {};
            for (i32 taken = 0; taken < CLOSE_ROWS && i < n; ++taken, i += row_step()) {
                typename WeightOf<MODE>::type weight = 1;
                if (MODE != NONE) weight = w[i];
                if (weight == 0) continue;
#pragma unroll
                for (i32 j = 0; j < FEATURES; ++j) {
                    i32 f = low + j;
                    if (f < d)
                        open[j].add(sums[j], (double)x[f * stride + i], weight, scale[f], square_scale[f], error);
                }
            }
#pragma unroll
            for (i32 j = 0; j < FEATURES; ++j) open[j].close(sums[j]);
        }

#pragma unroll
        for (i32 j = 0; j < FEATURES; ++j) {
            Wide total = block_sum(sums[j].total, scratch);
            Wide square = block_sum(sums[j].square, scratch);
            if (threadIdx.x == 0 && low + j < d) {
                i64 at = partial_at(low + j), square_at = partial_at(d + low + j);
                partial_hi[at] = total.hi, partial_lo[at] = total.lo;
                partial_hi[square_at] = square.hi, partial_lo[square_at] = square.lo;
            }
        }
    }
}

template __global__ void moments_partial<NONE>(const float*, const i64*, i64, i64, i32, const double*, const double*,
                                               i64*, u64*, u32*);
template __global__ void moments_partial<INTEGER>(const float*, const i64*, i64, i64, i32, const double*, const double*,
                                                  i64*, u64*, u32*);
template __global__ void moments_partial<REAL>(const float*, const float*, i64, i64, i32, const double*, const double*,
                                               i64*, u64*, u32*);
template __global__ void moments_partial<NONE, double>(const double*, const i64*, i64, i64, i32, const double*,
                                                       const double*, i64*, u64*, u32*);
template __global__ void moments_partial<INTEGER, double>(const double*, const i64*, i64, i64, i32, const double*,
                                                          const double*, i64*, u64*, u32*);
template __global__ void moments_partial<REAL, double>(const double*, const float*, i64, i64, i32, const double*,
                                                       const double*, i64*, u64*, u32*);

// Sum of integral weights; one group.
extern "C" __global__ void mass_integers(const i64* __restrict__ w, i64 n, i64* partial_hi, u64* partial_lo, u32* error) {
    Wide* scratch = (Wide*)shared_bytes();
    Wide sum = wide_zero();
    for (i64 i = first_row(); i < n; i += row_step()) {
        i64 weight = w[i];
        if ((u64)weight >> 31) raise_error(error, ERROR_WEIGHT);
        sum = wide_add(sum, wide(weight));
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) partial_hi[blockIdx.x] = sum.hi, partial_lo[blockIdx.x] = sum.lo;
}

// Exponent bins of real weights; 32 groups. Every thread owns a column of 32 bins in shared memory, so no atomics; a
// part is below 2^31 and a thread takes fewer than 2^33 rows (n < 2^40, at least 2^7 threads, or n < 2^33): below 2^64.
extern "C" __global__ void mass_bins(const float* __restrict__ w, i64 n, i64* partial_hi, u64* partial_lo, u32* error) {
    u64* bins = (u64*)shared_bytes();
    for (i32 b = 0; b < N_BINS; ++b) bins[b * blockDim.x + threadIdx.x] = 0;
    for (i64 i = first_row(); i < n; i += row_step()) {
        float weight = w[i];
        if (!(weight >= 0.0f && __float_as_uint(weight) != 0x7f800000u)) {
            raise_error(error, ERROR_WEIGHT);
            continue;
        }
        BinPart one = bin_part(weight);
        bins[one.bin * blockDim.x + threadIdx.x] += one.part;
    }
    __syncthreads();

    // A warp takes every (blockDim.x / 32)-th bin and adds its columns.
    for (i32 b = threadIdx.x / WARP; b < N_BINS; b += blockDim.x / WARP) {
        Wide sum = wide_zero();
        for (u32 column = threadIdx.x % WARP; column < blockDim.x; column += WARP)
            sum = wide_add(sum, Wide{0, bins[b * blockDim.x + column]});
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) {
            i64 at = partial_at(b);
            partial_hi[at] = sum.hi, partial_lo[at] = sum.lo;
        }
    }
}

// hi, lo[group] = the sum of partial_hi, partial_lo[group, 0 .. blocks): one block a group.
extern "C" __global__ void wide_merge(const i64* __restrict__ partial_hi, const u64* __restrict__ partial_lo, i64 blocks,
                                      i64* hi, u64* lo) {
    Wide* scratch = (Wide*)shared_bytes();
    i64 row = blockIdx.x * blocks;
    Wide sum = wide_zero();
    for (u32 b = threadIdx.x; b < blocks; b += blockDim.x)
        sum = wide_add(sum, Wide{partial_hi[row + b], partial_lo[row + b]});
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) hi[blockIdx.x] = sum.hi, lo[blockIdx.x] = sum.lo;
}
