// oversample.cu - a round of k-means||: distances to the closest candidate, their exact sum, the rows that are kept.
//
// Computes   nearer_rows           closest[i] = min(closest[i], d2 to each candidate), d2 a float32 chain over ascending
//                                  features
//            distance_bins<MODE>   exponent bins of the weighted distances: NONE of d2, INTEGER w times those of d2, REAL
//                                  of float32(w d2)
//            keep_rows<MODE>       numbers of the rows with u < ((wanted w) d2) / total in float64, u the uniform of
//                                  draw64 at index `round`
// Inputs     x, candidates    float32 [d, n] and [d, k], feature-major, n and k apart
//            closest          float32 [n]; infinity where there was no candidate yet
//            w                int64 or float32 [n]; not read under NONE
//            identity         uint64 [n], who each row is
// Outputs    partial_hi, lo   int64, uint64 [32, grid.x]: 128-bit bins of each block
//            rows             int64 [capacity]: the rows that are kept, in any order; `found`, uint64 [1], counts them even
//                             past the capacity, and the host then asks again with more
//            error            uint32 [1]: a weighted distance is not finite; never cleared here
// Launch     blocks of whole warps, 1-D over rows, grid-stride. nearer_rows: over tiles of blockDim.x * ROWS rows; shared
//            bytes 4 * features * (blockDim.x * ROWS + POINTS), where `features` are staged at once. distance_bins: shared
//            bytes BIN_BYTES a thread.
// Order      none that matters: a distance belongs to one thread, sums are integers, the host puts rows in order.
// Bytes      nearer_rows 4 n d + 8 n + 4 d k a tile (with features < d: 4 n d a group of POINTS candidates); distance_bins
//            4 n + weights; keep_rows 12 n + weights, 8 a row found
// Limits     n < 2^40, d < 2^26, k < 2^31 - POINTS
#include "pairs.cuh"
#include "philox.cuh"

enum { BIN_BYTES = N_BINS * 12 };

template <i32 MODE> struct WeightOf { typedef i64 type; };
template <> struct WeightOf<REAL> { typedef float type; };

extern "C" __global__ void nearer_rows(const float* __restrict__ x, i64 n, const float* __restrict__ candidates, i32 k,
                                       i32 d, i32 features, float* __restrict__ closest) {
    float* tile = (float*)shared_bytes();
    float* panel = tile + features * tile_width();
    bool whole = d <= features;
    for (i64 base = first_tile(tile_width()); base < n; base += tile_step(tile_width())) {
        float near[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) near[r] = has_row(base, r, n) ? closest[tile_row(base, r, n)] : 0.0f;
        if (whole) stage_rows(tile, x, n, n, base, 0, d);
        for (i32 first = 0; first < k; first += POINTS) {
            float acc[ROWS][POINTS];
            clear_chains(acc);
            for (i32 low = 0; low < d; low += features) {
                i32 count = min(d - low, features);
                if (!whole) stage_rows(tile, x, n, n, base, low, count);
                stage_points(panel, candidates, k, first, k, POINTS, low, count);
                extend_chains<SQEUCLIDEAN>(acc, tile, panel, POINTS, count);
            }
            // Past the end the last candidate is repeated, which changes no minimum.
#pragma unroll
            for (i32 p = 0; p < POINTS; ++p) {
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) near[r] = acc[r][p] < near[r] ? acc[r][p] : near[r];
            }
        }
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) {
            if (has_row(base, r, n)) closest[tile_row(base, r, n)] = near[r];
        }
    }
}

// Every thread owns a column of 32 bins in shared memory, so no atomics: 64 bits, and what they carry over in 32 more. A
// part is below 2^31 and so is an integral weight: a thread's 2^33 rows and fewer stay below 2^96.
template <i32 MODE>
__global__ void distance_bins(const float* __restrict__ closest, const typename WeightOf<MODE>::type* __restrict__ w,
                              i64 n, i64* partial_hi, u64* partial_lo, u32* error) {
    u64* bins = (u64*)shared_bytes();
    u32* over = (u32*)(bins + N_BINS * blockDim.x);
    for (i32 b = 0; b < N_BINS; ++b) bins[b * blockDim.x + threadIdx.x] = 0, over[b * blockDim.x + threadIdx.x] = 0;
    for (i64 i = first_row(); i < n; i += row_step()) {
        typename WeightOf<MODE>::type weight = 1;
        if (MODE != NONE) weight = w[i];
        float value = MODE == REAL ? __fmul_rn((float)weight, closest[i]) : closest[i];
        if (!(value >= 0.0f && __float_as_uint(value) != 0x7f800000u)) {
            raise_error(error, ERROR_RANGE);
            continue;
        }
        BinPart one = bin_part(value);
        u64 part = MODE == INTEGER ? (u64)weight * one.part : one.part;
        u32 at = one.bin * blockDim.x + threadIdx.x;
        u64 sum = bins[at] + part;
        if (sum < part) ++over[at];
        bins[at] = sum;
    }
    __syncthreads();

    // A warp takes every (blockDim.x / 32)-th bin and adds its columns.
    for (i32 b = threadIdx.x / WARP; b < N_BINS; b += blockDim.x / WARP) {
        Wide sum = wide_zero();
        for (u32 column = threadIdx.x % WARP; column < blockDim.x; column += WARP)
            sum = wide_add(sum, Wide{(i64)over[b * blockDim.x + column], bins[b * blockDim.x + column]});
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) {
            i64 at = partial_at(b);
            partial_hi[at] = sum.hi, partial_lo[at] = sum.lo;
        }
    }
}

template __global__ void distance_bins<NONE>(const float*, const i64*, i64, i64*, u64*, u32*);
template __global__ void distance_bins<INTEGER>(const float*, const i64*, i64, i64*, u64*, u32*);
template __global__ void distance_bins<REAL>(const float*, const float*, i64, i64*, u64*, u32*);

template <i32 MODE>
__global__ void keep_rows(const float* __restrict__ closest, const typename WeightOf<MODE>::type* __restrict__ w,
                          const u64* __restrict__ identity, i64 n, u64 seed, u32 stage, u32 round, double wanted,
                          double total, i64 capacity, i64* rows, u64* found) {
    // All lanes of a warp go round as often: they ask for their places together.
    for (i64 base = first_tile(blockDim.x); base < n; base += row_step()) {
        i64 i = base + threadIdx.x;
        bool kept = false;
        if (i < n) {
            double share = wanted;
            if (MODE != NONE) share = __dmul_rn(wanted, (double)w[i]);
            double u = uniform53(draw64(seed, stage, identity[i], round));
            kept = u < __ddiv_rn(__dmul_rn(share, (double)closest[i]), total);
        }
        u64 place = claim_places(found, kept);
        if (kept && place < (u64)capacity) rows[place] = i;
    }
}

template __global__ void keep_rows<NONE>(const float*, const i64*, const u64*, i64, u64, u32, u32, double, double, i64,
                                         i64*, u64*);
template __global__ void keep_rows<INTEGER>(const float*, const i64*, const u64*, i64, u64, u32, u32, double, double, i64,
                                            i64*, u64*);
template __global__ void keep_rows<REAL>(const float*, const float*, const u64*, i64, u64, u32, u32, double, double, i64,
                                         i64*, u64*);
