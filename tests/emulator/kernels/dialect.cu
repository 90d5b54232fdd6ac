// dialect.cu - test only: what the emulator must give (indices, shuffles, votes, shared memory, templates), and what it
// must catch. Each kernel under "faults" is wrong on purpose.
#include "common.cuh"

// --- what it must give

// out[number of the thread in the grid] = its block and thread, packed.
extern "C" __global__ void where(i64* out) {
    i64 block = ((i64)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    i64 thread = ((i64)threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    i64 size = (i64)blockDim.x * blockDim.y * blockDim.z;
    out[block * size + thread] = block << 32 | thread;
}

// One warp: out[operation, lane].
extern "C" __global__ void shuffles(const i32* in, i32* out, i32 source, i32 width) {
    i32 lane = threadIdx.x;
    i32 v = in[lane];
    out[0 * WARP + lane] = __shfl_sync(FULL_WARP, v, source, width);
    out[1 * WARP + lane] = __shfl_up_sync(FULL_WARP, v, (u32)source, width);
    out[2 * WARP + lane] = __shfl_down_sync(FULL_WARP, v, (u32)source, width);
    out[3 * WARP + lane] = __shfl_xor_sync(FULL_WARP, v, source, width);
    out[4 * WARP + lane] = (i32)__ballot_sync(FULL_WARP, v % 2 == 0);
    out[5 * WARP + lane] = __any_sync(FULL_WARP, v == 0) + 2 * __all_sync(FULL_WARP, v >= 0);
}

// Two halves of a warp meet apart, each under its own mask; then the remaining lanes after some have returned.
extern "C" __global__ void masks(i32* out) {
    i32 lane = threadIdx.x;
    u32 half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    i32 sum = lane;
    for (i32 offset = 8; offset > 0; offset /= 2) sum += __shfl_xor_sync(half, sum, offset);
    out[lane] = sum;
    if (lane >= 8) return;
    __syncthreads();
    out[WARP + lane] = __popc(__ballot_sync(FULL_WARP, 1));
}

// Block-wide sum through a template's static shared array.
template <i32 SIZE> __device__ i32 static_sum(i32 value) {
    __shared__ i32 values[SIZE];
    values[threadIdx.x] = value;
    __syncthreads();
    i32 sum = 0;
    for (i32 i = 0; i < SIZE; ++i) sum += values[i];
    return sum;
}
template <i32 SIZE> __global__ void static_sums(const i32* in, i32* out) {
    out[blockIdx.x * SIZE + threadIdx.x] = static_sum<SIZE>(in[blockIdx.x * SIZE + threadIdx.x]);
}
template __global__ void static_sums<64>(const i32*, i32*);

extern "C" __global__ void count(u32* narrow, u64* wide, float* real) {
    atomicAdd(narrow, 1u);
    atomicAdd(wide, 1ull << 33);
    atomicAdd(real, 0.5f);
    atomicMax(narrow + 1, threadIdx.x);
    atomicMin(narrow + 2, threadIdx.x);
}

extern "C" __global__ void twice(const float* x, i64 n, float* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = 2.0f * x[i];
}

// --- faults

// No barrier between writing and reading: only some orders of the threads give the reversal.
extern "C" __global__ void missing_barrier(const i32* in, i32* out) {
    i32* values = (i32*)shared_bytes();
    values[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void unwritten_shared(float* out) {
    __shared__ float never[4];
    out[0] = never[0];
    out[1] = ((float*)shared_bytes())[0];
}

extern "C" __global__ void two_barriers() {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
}

extern "C" __global__ void barrier_and_shuffle() {
    if (threadIdx.x == 0)
        __syncthreads();
    else
        __syncwarp();
}

extern "C" __global__ void absent_lane(i32* out) {
    if (threadIdx.x == 3) return;
    out[threadIdx.x] = __shfl_sync(FULL_WARP, 1, 3);
}

extern "C" __global__ void outside_mask(i32* out) { out[threadIdx.x] = __shfl_sync(0x1u, 1, 0); }

extern "C" __global__ void two_shuffles(i32* out) {
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_sync(FULL_WARP, 1, 0);
    else
        out[threadIdx.x] = __shfl_sync(FULL_WARP, 2, 0);
}

extern "C" __global__ void false_assertion() { assert(threadIdx.x < 40); }
