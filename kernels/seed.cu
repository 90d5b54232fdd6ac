// seed.cu - potentials and candidates of greedy k-means++, and the draws that make the sample it runs on.
//
// Computes   potentials_each<MODE>   integer potential of each row, of its float32 distance d2:
//                                      NONE rint(d2 s)      INTEGER w rint(d2 s)      REAL rint(float32(w d2) s)
//            seed_candidates<MODE>   out[c, i] = min(closest[i], d2 to candidate c), d2 a float32 chain over ascending
//                                    features; sums[c] += potentials of out[c], modulo 2^64
//            draw_rows<MODE>         numbers and draws of the rows of positive weight whose draw is not above a threshold
// Inputs     x, candidates    float32 [d, n] and [d, k], feature-major, `stride` and k apart
//            closest          float32 [n]
//            w                int64 or float32 [n]; not read under NONE
//            scale            a power of two: s
//            identity         uint64 [n], who each row is; a draw is draw64 of philox.cuh at index 0
// Outputs    sums             uint64 [k], added to
//            rows, draws      int64, uint64 [capacity]: the rows that were found, in any order; `found`, uint64 [1], counts
//                             them even past the capacity, and the host then asks again with more
//            error            uint32 [1]: a potential is not below 2^51; never cleared here
// Launch     blocks of whole warps, 1-D over rows, grid-stride; seed_candidates: grid.y over groups of POINTS candidates,
//            shared bytes BLOCK_SUM_BYTES and 4 POINTS `features`, where that many features of the candidates are staged
//            at once.
// Order      none that matters: integer sums. The rows that are drawn are put in order by the host.
// Bytes      potentials_each 12 n + weights; seed_candidates 4 n d + 4 n + weights a group of candidates, 4 n k written;
//            draw_rows 8 n + weights, 16 a row found
// Limits     n < 2^40, d < 2^26, k < 2^30; sums of potentials below 2^63
#include "pairs.cuh"
#include "philox.cuh"

template <i32 MODE> struct WeightOf { typedef i64 type; };
template <> struct WeightOf<REAL> { typedef float type; };

template <i32 MODE>
__device__ inline u64 potential(float d2, typename WeightOf<MODE>::type w, double scale, u32* error) {
    float weighted = MODE == REAL ? __fmul_rn((float)w, d2) : d2;
    double scaled = __dmul_rn((double)weighted, scale);
    if (!(fabs(scaled) < 2251799813685248.0)) {
        raise_error(error, ERROR_RANGE);
        return 0;
    }
    u64 rounded = (u64)__double2ll_rn(scaled);
    return MODE == INTEGER ? (u64)w * rounded : rounded;
}

template <i32 MODE>
__global__ void potentials_each(const float* __restrict__ closest, const typename WeightOf<MODE>::type* __restrict__ w,
                                i64 n, double scale, i64* out, u32* error) {
    for (i64 i = first_row(); i < n; i += row_step()) {
        typename WeightOf<MODE>::type weight = 1;
        if (MODE != NONE) weight = w[i];
        out[i] = (i64)potential<MODE>(closest[i], weight, scale, error);
    }
}

template __global__ void potentials_each<NONE>(const float*, const i64*, i64, double, i64*, u32*);
template __global__ void potentials_each<INTEGER>(const float*, const i64*, i64, double, i64*, u32*);
template __global__ void potentials_each<REAL>(const float*, const float*, i64, double, i64*, u32*);

template <i32 MODE>
__global__ void seed_candidates(const float* __restrict__ x, i64 n, i64 stride, i32 d, const float* __restrict__ closest,
                                const typename WeightOf<MODE>::type* __restrict__ w, const float* __restrict__ candidates,
                                i64 k, i32 features, double scale, float* __restrict__ out, u64* sums, u32* error) {
    Wide* scratch = (Wide*)shared_bytes();
    float* panel = (float*)(shared_bytes() + BLOCK_SUM_BYTES);
    bool whole = d <= features;
    for (i32 first = blockIdx.y * POINTS; first < k; first += gridDim.y * POINTS) {
        u64 sum[POINTS];
#pragma unroll
        for (i32 p = 0; p < POINTS; ++p) sum[p] = 0;
        if (whole) stage_points(panel, candidates, k, first, k, POINTS, 0, d);

        // All threads go round as often: the candidates are staged together.
        for (i64 base = first_tile(blockDim.x); base < n; base += row_step()) {
            i64 i = base + threadIdx.x;
            i64 row = i < n ? i : n - 1;
            float acc[POINTS];
#pragma unroll
            for (i32 p = 0; p < POINTS; ++p) acc[p] = 0.0f;
            for (i32 low = 0; low < d; low += features) {
                i32 count = min(d - low, features);
                if (!whole) stage_points(panel, candidates, k, first, k, POINTS, low, count);
#pragma unroll 2
                for (i32 f = 0; f < count; ++f) {
                    float value = x[(low + f) * stride + row];
                    const float4* four = (const float4*)(panel + f * POINTS);
#pragma unroll
                    for (i32 q = 0; q < POINTS / 4; ++q) {
                        float4 c = four[q];
                        acc[4 * q] = link<SQEUCLIDEAN>(value, c.x, acc[4 * q]);
                        acc[4 * q + 1] = link<SQEUCLIDEAN>(value, c.y, acc[4 * q + 1]);
                        acc[4 * q + 2] = link<SQEUCLIDEAN>(value, c.z, acc[4 * q + 2]);
                        acc[4 * q + 3] = link<SQEUCLIDEAN>(value, c.w, acc[4 * q + 3]);
                    }
                }
            }
            if (i >= n) continue;
            float near = closest[i];
            typename WeightOf<MODE>::type weight = 1;
            if (MODE != NONE) weight = w[i];
#pragma unroll
            for (i32 p = 0; p < POINTS; ++p) {
                if (first + p >= k) continue;
                float nearer = acc[p] < near ? acc[p] : near;
                out[(first + p) * n + i] = nearer;
                sum[p] += potential<MODE>(nearer, weight, scale, error);
            }
        }

#pragma unroll
        for (i32 p = 0; p < POINTS; ++p) {
            Wide total = block_sum(Wide{0, sum[p]}, scratch);
            if (threadIdx.x == 0 && first + p < k) atomicAdd(sums + first + p, total.lo);
        }
    }
}

template __global__ void seed_candidates<NONE>(const float*, i64, i64, i32, const float*, const i64*, const float*, i64,
                                               i32, double, float*, u64*, u32*);
template __global__ void seed_candidates<INTEGER>(const float*, i64, i64, i32, const float*, const i64*, const float*, i64,
                                                  i32, double, float*, u64*, u32*);
template __global__ void seed_candidates<REAL>(const float*, i64, i64, i32, const float*, const float*, const float*, i64,
                                               i32, double, float*, u64*, u32*);

template <i32 MODE>
__global__ void draw_rows(const u64* __restrict__ identity, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                          u64 seed, u32 stage, u64 threshold, i64 capacity, i64* rows, u64* draws, u64* found) {
    // All lanes of a warp go round as often: they ask for their places together.
    for (i64 base = first_tile(blockDim.x); base < n; base += row_step()) {
        i64 i = base + threadIdx.x;
        u64 draw = 0;
        bool taken = i < n && (MODE == NONE || w[i] > 0);
        if (taken) {
            draw = draw64(seed, stage, identity[i], 0);
            taken = draw <= threshold;
        }
        u64 place = claim_places(found, taken);
        if (taken && place < (u64)capacity) rows[place] = i, draws[place] = draw;
    }
}

template __global__ void draw_rows<NONE>(const u64*, const i64*, i64, u64, u32, u64, i64, i64*, u64*, u64*);
template __global__ void draw_rows<INTEGER>(const u64*, const i64*, i64, u64, u32, u64, i64, i64*, u64*, u64*);
template __global__ void draw_rows<REAL>(const u64*, const float*, i64, u64, u32, u64, i64, i64*, u64*, u64*);
