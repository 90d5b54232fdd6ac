// pairs.cuh - chains between rows and points, a register tile at a time: what distance.cu and silhouette.cu share.
//
// A block holds a tile of blockDim.x * ROWS rows; its thread t owns rows t, t + blockDim.x ... of it, so that the lanes
// of a warp read neighbours. A thread's columns of the tile are written and read by that thread alone: no barrier. Points
// are the block's: staged together, then read by all lanes at the same address, 16 bytes at a time (a broadcast). Per
// feature a thread loads ROWS + POINTS / 4 times and goes on with ROWS * POINTS chains in registers.
#pragma once

#include "common.cuh"

#ifndef ROWS  // rows of a thread
#define ROWS 2
#endif
#ifndef POINTS  // points whose chains a thread carries on at once
#define POINTS 8
#endif
static_assert(POINTS % 4 == 0, "points are read four at a time");

// The order of gpuseg.engines.base.METRICS.
enum Metric { EUCLIDEAN = 0, SQEUCLIDEAN = 1, MANHATTAN = 2, COSINE = 3 };

// One feature more of a float32 chain.
template <i32 METRIC> __device__ inline float link(float x, float c, float acc) {
    if (METRIC == COSINE) return __fmaf_rn(x, c, acc);
    float t = __fsub_rn(x, c);
    return METRIC == MANHATTAN ? __fadd_rn(acc, fabs(t)) : __fmaf_rn(t, t, acc);
}

// Rows of a tile; features of it lie this far apart.
__device__ inline i32 tile_width() { return (i32)blockDim.x * ROWS; }

// The r-th row of this thread in the tile from `base` on. Past the end it is the last row, whose results are dropped.
__device__ inline i64 tile_row(i64 base, i32 r, i64 n) {
    i64 i = base + r * blockDim.x + threadIdx.x;
    return i < n ? i : n - 1;
}

__device__ inline bool has_row(i64 base, i32 r, i64 n) { return base + r * blockDim.x + threadIdx.x < n; }

// This thread's columns of the tile: features low .. low + count of its rows.
__device__ inline void stage_rows(float* tile, const float* __restrict__ x, i64 n, i64 stride, i64 base, i32 low,
                                  i32 count) {
    i64 row[ROWS];
#pragma unroll
    for (i32 r = 0; r < ROWS; ++r) row[r] = tile_row(base, r, n);
#pragma unroll 4
    for (i32 f = 0; f < count; ++f) {
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r)
            tile[f * tile_width() + r * blockDim.x + threadIdx.x] = x[(low + f) * stride + row[r]];
    }
}

// The block's points first .. first + columns, features low .. low + count; past `last` the last point is repeated.
// The first barrier lets everybody finish with what lies there, the second shows it to everybody.
__device__ inline void stage_points(float* panel, const float* __restrict__ y, i64 stride, i64 first, i64 last,
                                    i32 columns, i32 low, i32 count) {
    __syncthreads();
    for (i32 at = threadIdx.x; at < count * columns; at += blockDim.x) {
        i32 f = at / columns;
        i64 point = first + at % columns;
        panel[at] = y[(low + f) * stride + (point < last ? point : last - 1)];
    }
    __syncthreads();
}

template <i32 METRIC>
__device__ inline void extend_chains(float (&acc)[ROWS][POINTS], const float* tile, const float* panel, i32 columns,
                                     i32 count) {
#pragma unroll 2
    for (i32 f = 0; f < count; ++f) {
        float x[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) x[r] = tile[f * tile_width() + r * blockDim.x + threadIdx.x];
        const float4* four = (const float4*)(panel + f * columns);
#pragma unroll
        for (i32 q = 0; q < POINTS / 4; ++q) {
            float4 c = four[q];
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) {
                acc[r][4 * q] = link<METRIC>(x[r], c.x, acc[r][4 * q]);
                acc[r][4 * q + 1] = link<METRIC>(x[r], c.y, acc[r][4 * q + 1]);
                acc[r][4 * q + 2] = link<METRIC>(x[r], c.z, acc[r][4 * q + 2]);
                acc[r][4 * q + 3] = link<METRIC>(x[r], c.w, acc[r][4 * q + 3]);
            }
        }
    }
}

__device__ inline void clear_chains(float (&acc)[ROWS][POINTS]) {
#pragma unroll
    for (i32 r = 0; r < ROWS; ++r) {
#pragma unroll
        for (i32 p = 0; p < POINTS; ++p) acc[r][p] = 0.0f;
    }
}
