// silhouette.cu - distance sums by cluster for Euclidean silhouettes, and squared-Euclidean silhouettes.
//
// Computes   distance_sums        out[c, i] += sum over others j of cluster c of rint(sqrt(d2(i, j)) * scale), half to
//                                 even. d2 is the float32 chain of distance.cu, the root is rounded to float32.
//            square_silhouettes   mean(c) = d2(i, centre c) + spread[c] in float64 for every cluster with rows; a =
//                                 mean(own) * N / (N - 1), b = the least of the others; s = (b - a) / max(a, b), 0 for
//                                 N = 1 and where both are 0; and the exact sum of rint(s * 2^40). With `labelling` the own
//                                 cluster is that of the nearest centre, ties to the lowest, which is written.
// Inputs     x            float32 [d, n]  rows, feature-major; features lie `stride` elements apart, stride >= n
//            y            float32 [d, m]  others, ordered by cluster, likewise `y_stride` apart
//            starts       int64 [k + 1]   cluster c is columns starts[c] to starts[c + 1] of y; ascending in 0 .. m
//            scale        float           a power of two
//            labels       uint8, uint16 or int32 [n]; written, not read, with `labelling`. So k < 2^31
//            centres      float32 [d, k]  feature-major, `centre_stride` apart
//            spread       float64 [k]     mean squared distance of a cluster's rows to their mean
//            counts       int64 [k]       its rows
// Outputs    out          distance_sums: uint64 [k, n], clusters `out_stride` apart, two's complement: added to.
//                         square_silhouettes: float64 [n] with `values`, else not written
//            partial_hi, partial_lo       int64, uint64 [gridDim.x]: 128-bit partials, for wide_merge (moments.cu)
//            error        uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D; grid.x over tiles of blockDim.x * ROWS rows, grid-stride; grid.y of
//            distance_sums cuts the others into ranges. Shared bytes: 4 * features * (blockDim.x * ROWS + columns).
//            `features` and `columns` are staged at once; columns is a multiple of POINTS, and POINTS itself where
//            features < d and for square_silhouettes, which wants at least BLOCK_SUM_BYTES.
// Order      none that matters: integer sums, in registers while a tile of others passes (no tile holds two clusters);
//            one native 64-bit atomic a row, cluster and block when a cluster ends. Of equal least means either will do.
// Bytes      distance_sums: 4 n d (grid.y times) + 4 m d a tile of rows + 8 a row, cluster and block.
//            square_silhouettes: 4 n d + the labels + 8 n with `values` + 4 k d a tile of rows.
// Limits     n, m < 2^40, d < 2^30; sqrt(d2) * scale < 2^51 and labels in 0 .. k - 1, else the error word; distance sums
//            wrap modulo 2^64; a thread takes at most 2^22 rows of square_silhouettes.
#ifndef ROWS
#define ROWS 4
#endif
#include "pairs.cuh"

// rint(value) of a value in [0, 2^51), in two parts: 32-bit sums of a few of them stay exact, and no conversion is to 64
// bits (many cards do one of those in the time of 64 additions). value + 2^51 is a multiple of 2^28, in whose low bits it
// counts them; what is left is at most 2^27 in magnitude and exact. The multiple is even, so half to even stays so.
struct FixedParts {
    u32 high;
    i32 low;

    __device__ void add(float value) {
        float shifted = __fadd_rn(value, 2251799813685248.0f);
        high += __float_as_uint(shifted) - 0x59000000u;
        low += __float2int_rn(__fsub_rn(value, __fsub_rn(shifted, 2251799813685248.0f)));
    }
    __device__ i64 sum() const { return ((i64)high << 28) + low; }
};
static_assert(POINTS <= 8, "sums of more low parts leave 32 bits");

// The first cluster that ends behind column `at`; k where none does.
__device__ inline i64 cluster_at(const i64* __restrict__ starts, i64 k, i64 at) {
    i64 low = 0, high = k;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (starts[middle + 1] > at) high = middle;
        else low = middle + 1;
    }
    return low;
}

extern "C" __global__ void distance_sums(const float* __restrict__ x, i64 n, i64 stride, const float* __restrict__ y, i64 m,
                                         i64 y_stride, const i64* __restrict__ starts, i64 k, i32 d, i32 features,
                                         i32 columns, float scale, u64* out, i64 out_stride, u32* error) {
    float* tile = (float*)shared_bytes();
    float* panel = tile + features * tile_width();
    bool whole = d <= features;
    bool bad = false;
    i64 span = (m + gridDim.y - 1) / gridDim.y;
    i64 from = blockIdx.y * span;
    i64 to = min(from + span, m);
    for (i64 base = first_tile(tile_width()); base < n; base += tile_step(tile_width())) {
        if (whole) stage_rows(tile, x, n, stride, base, 0, d);
        for (i64 c = cluster_at(starts, k, from); c < k && starts[c] < to; ++c) {
            i64 last = min(starts[c + 1], to);
            i64 total[ROWS];
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) total[r] = 0;

            i32 taken = 0;  // columns of the panel that have been worked on
            for (i64 at = max(starts[c], from); at < last; at += POINTS) {
                float acc[ROWS][POINTS];
                clear_chains(acc);
                for (i32 low = 0; low < d; low += features) {
                    i32 count = min(d - low, features);
                    if (!whole) stage_rows(tile, x, n, stride, base, low, count);
                    if (taken == 0) stage_points(panel, y, y_stride, at, last, columns, low, count);
                    extend_chains<EUCLIDEAN>(acc, tile, panel + taken, columns, count);
                }
                taken = taken + POINTS < columns ? taken + POINTS : 0;
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) {
                    FixedParts parts = {0, 0};
#pragma unroll
                    for (i32 p = 0; p < POINTS; ++p) {
                        float value = __fmul_rn(__fsqrt_rn(acc[r][p]), scale);
                        bad |= !(value < 2251799813685248.0f);
                        if (at + p < last) parts.add(value);
                    }
                    total[r] += parts.sum();
                }
            }
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r)
                if (has_row(base, r, n)) atomicAdd(out + c * out_stride + tile_row(base, r, n), (u64)total[r]);
        }
    }
    if (bad) raise_error(error, ERROR_RANGE);
}

template <class LABEL>
__global__ void square_silhouettes(const float* __restrict__ x, i64 n, i64 stride, LABEL* labels, i32 labelling,
                                   const float* __restrict__ centres, i64 k, i64 centre_stride,
                                   const double* __restrict__ spread, const i64* __restrict__ counts, i32 d, i32 features,
                                   double* __restrict__ out, i32 values, i64* partial_hi, u64* partial_lo, u32* error) {
    float* tile = (float*)shared_bytes();
    float* panel = tile + features * tile_width();
    bool whole = d <= features;
    const double infinity = __longlong_as_double(0x7ff0000000000000ll);
    i64 sum = 0;  // of at most 2^22 terms up to 2^40
    for (i64 base = first_tile(tile_width()); base < n; base += tile_step(tile_width())) {
        i32 own[ROWS];
        float best[ROWS];
        double mine[ROWS], nearest[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) {
            own[r] = labelling ? 0 : (i32)labels[tile_row(base, r, n)];
            best[r] = __uint_as_float(0x7f800000u);
            mine[r] = nearest[r] = infinity;
        }
        if (whole) stage_rows(tile, x, n, stride, base, 0, d);

        for (i32 first = 0; first < k; first += POINTS) {
            float acc[ROWS][POINTS];
            clear_chains(acc);
            for (i32 low = 0; low < d; low += features) {
                i32 count = min(d - low, features);
                if (!whole) stage_rows(tile, x, n, stride, base, low, count);
                stage_points(panel, centres, centre_stride, first, k, POINTS, low, count);
                extend_chains<SQEUCLIDEAN>(acc, tile, panel, POINTS, count);
            }
#pragma unroll
            for (i32 p = 0; p < POINTS; ++p) {
                i32 c = first + p;
                if (c >= k) continue;
                bool empty = counts[c] == 0;
                double more = spread[c];
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) {
                    double mean = empty ? infinity : __dadd_rn((double)acc[r][p], more);
                    // Nothing that is not less than infinity is nearer: then it is the first.
                    bool closer = acc[r][p] < best[r];
                    if (labelling ? closer || c == 0 : c == own[r]) {
                        if (closer) best[r] = acc[r][p];
                        own[r] = c;
                        nearest[r] = min(nearest[r], mine[r]);  // the nearest so far is one of the others now
                        mine[r] = mean;
                    } else {
                        nearest[r] = min(nearest[r], mean);
                    }
                }
            }
        }

#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) {
            if (!has_row(base, r, n)) continue;
            if (own[r] < 0 || own[r] >= k) {
                raise_error(error, ERROR_LABEL);
                continue;
            }
            double value = 0.0;
            i64 rows = counts[own[r]];
            if (rows > 1) {
                double size = __ll2double_rn(rows);
                double a = __ddiv_rn(__dmul_rn(mine[r], size), __dsub_rn(size, 1.0));
                double larger = max(a, nearest[r]);
                if (larger > 0.0) value = __ddiv_rn(__dsub_rn(nearest[r], a), larger);
            }
            if (!(fabs(value) <= 1.0)) raise_error(error, ERROR_RANGE);
            else sum += __double2ll_rn(__dmul_rn(value, 1099511627776.0));
            if (values) out[tile_row(base, r, n)] = value;
            if (labelling) labels[tile_row(base, r, n)] = (LABEL)own[r];
        }
    }
    __syncthreads();
    Wide total = block_sum(wide(sum), (Wide*)shared_bytes());
    if (threadIdx.x == 0) partial_hi[blockIdx.x] = total.hi, partial_lo[blockIdx.x] = total.lo;
}

#define OF_LABELS(LABEL)                                                                                               \
    template __global__ void square_silhouettes<LABEL>(const float*, i64, i64, LABEL*, i32, const float*, i64, i64,    \
                                                       const double*, const i64*, i32, i32, double*, i32, i64*, u64*, \
                                                       u32*)
OF_LABELS(unsigned char);
OF_LABELS(unsigned short);
OF_LABELS(int);
