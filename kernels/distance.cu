// distance.cu - the table of distances between rows and points.
//
// Computes   out[p, i] for row i and point p, a float32 chain over ascending features, acc = 0 at first:
//              SQEUCLIDEAN   t = x - c; acc = fma(t, t, acc)          EUCLIDEAN   its square root
//              MANHATTAN     acc = acc + |x - c|
//              COSINE        acc = fma(u, v, acc) over unit vectors; 1 - acc, held to [0, 2]
//            A unit vector is float32(x / length), length the float64 root of the float64 sum of squares (products
//            exact, features ascending); zeros where the length is 0. Rows become unit vectors in shared memory, points
//            beforehand (unit_vectors).
// Inputs     x            float32 [d, n]  feature-major; features lie `stride` elements apart, stride >= n
//            points       float32 [d, k]  likewise, `point_stride` apart
// Outputs    out          float32 [k, n], points `out_stride` apart: consecutive lanes write consecutive rows
// Launch     blocks of whole warps, 1-D; grid.x over tiles of blockDim.x * ROWS rows, grid.y over groups of POINTS
//            points, both grid-stride. Shared bytes: 4 * features * (blockDim.x * ROWS + POINTS), where `features` are staged
//            at once; with features >= d a tile of rows is read once for all its points, else once a group of points.
// Order      every value belongs to one thread: none that matters. No atomics.
// Bytes      4 n d (grid.y times, and more as said) + 4 d k a tile of rows + 4 n k written.
// Limits     n, k < 2^40, d < 2^30. Nothing is refused: a NaN in x is a NaN in out (COSINE: a NaN makes a row
//            without length, an infinity one of NaN).
#ifndef POINTS
#define POINTS 16
#endif
#include "pairs.cuh"

// float64 length of the vector v[0], v[step] ...
__device__ inline double vector_length(const float* v, i64 step, i32 d) {
    double square = 0.0;
    for (i32 f = 0; f < d; ++f) {
        double value = (double)v[f * step];
        square = __dadd_rn(square, __dmul_rn(value, value));
    }
    return __dsqrt_rn(square);
}

__device__ inline float unit_part(float value, double length) {
    return length > 0.0 ? __double2float_rn(__ddiv_rn((double)value, length)) : 0.0f;
}

template <i32 METRIC> __device__ inline float distance_of(float acc) {
    if (METRIC == EUCLIDEAN) return __fsqrt_rn(acc);
    if (METRIC != COSINE) return acc;
    float apart = __fsub_rn(1.0f, acc);
    return apart == apart ? min(max(apart, 0.0f), 2.0f) : apart;  // of a NaN, min and max would make a number
}

// This thread's staged columns become parts of unit vectors.
__device__ inline void scale_rows(float* tile, i32 count, const double (&length)[ROWS]) {
#pragma unroll
    for (i32 r = 0; r < ROWS; ++r) {
        for (i32 f = 0; f < count; ++f) {
            float* value = tile + f * tile_width() + r * blockDim.x + threadIdx.x;
            *value = unit_part(*value, length[r]);
        }
    }
}

template <i32 METRIC>
__global__ void pair_distances(const float* __restrict__ x, i64 n, i64 stride, const float* __restrict__ points, i64 k,
                               i64 point_stride, i32 d, i32 features, float* __restrict__ out, i64 out_stride) {
    float* tile = (float*)shared_bytes();
    float* panel = tile + features * tile_width();
    bool whole = d <= features;
    for (i64 base = first_tile(tile_width()); base < n; base += tile_step(tile_width())) {
        double length[ROWS];
        if (whole) stage_rows(tile, x, n, stride, base, 0, d);
        if (METRIC == COSINE) {
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r)
                length[r] = whole ? vector_length(tile + r * blockDim.x + threadIdx.x, tile_width(), d)
                                  : vector_length(x + tile_row(base, r, n), stride, d);
            if (whole) scale_rows(tile, d, length);
        }

        for (i64 first = (i64)blockIdx.y * POINTS; first < k; first += (i64)gridDim.y * POINTS) {
            float acc[ROWS][POINTS];
            clear_chains(acc);
            for (i32 low = 0; low < d; low += features) {
                i32 count = min(d - low, features);
                if (!whole) {
                    stage_rows(tile, x, n, stride, base, low, count);
                    if (METRIC == COSINE) scale_rows(tile, count, length);
                }
                stage_points(panel, points, point_stride, first, k, POINTS, low, count);
                extend_chains<METRIC>(acc, tile, panel, POINTS, count);
            }
#pragma unroll
            for (i32 p = 0; p < POINTS; ++p) {
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) {
                    if (first + p < k && has_row(base, r, n))
                        out[(first + p) * out_stride + tile_row(base, r, n)] = distance_of<METRIC>(acc[r][p]);
                }
            }
        }
    }
}

template __global__ void pair_distances<EUCLIDEAN>(const float*, i64, i64, const float*, i64, i64, i32, i32, float*, i64);
template __global__ void pair_distances<SQEUCLIDEAN>(const float*, i64, i64, const float*, i64, i64, i32, i32, float*, i64);
template __global__ void pair_distances<MANHATTAN>(const float*, i64, i64, const float*, i64, i64, i32, i32, float*, i64);
template __global__ void pair_distances<COSINE>(const float*, i64, i64, const float*, i64, i64, i32, i32, float*, i64);

// out[f, i] = x[f, i] over the length of row i: float32 [d, n], both `stride` apart. Grid-stride over rows; 12 n d bytes.
extern "C" __global__ void unit_vectors(const float* __restrict__ x, i64 n, i64 stride, i32 d, float* __restrict__ out) {
    for (i64 i = first_row(); i < n; i += row_step()) {
        double length = vector_length(x + i, stride, d);
        for (i32 f = 0; f < d; ++f) out[f * stride + i] = unit_part(x[f * stride + i], length);
    }
}
