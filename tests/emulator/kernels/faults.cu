// faults.cu - test only: each kernel is wrong on purpose in one way, at the line marked `<-`. Where the bug allows it,
// the result is right on the emulator: a comparison would pass. One block of 64 threads unless said otherwise; `in` is
// positive, so that `& none(in[i])` leaves 0, which no compiler knows.
#include "common.cuh"

__device__ inline i32 none(i32 positive) { return positive >> 31; }

// Right: out = in reversed. No barrier between the store and the load of another warp.
extern "C" __global__ void misses_barrier(const i32* in, i32* out) {
    i32* values = (i32*)shared_bytes();
    values[threadIdx.x] = 0;
    __syncthreads();
    values[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];  // <- misses_barrier
}

// Right: out[i] = in[i ^ 1] + in[i ^ 2]. A warp's lanes need __syncwarp too; a shuffle does not order memory.
extern "C" __global__ void misses_syncwarp(const i32* in, i32* out) {
    i32* values = (i32*)shared_bytes();
    values[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    i32 sum = values[threadIdx.x ^ 1];
    __shfl_sync(FULL_WARP, sum, 0);
    values[threadIdx.x] = 0;  // <- misses_syncwarp
    __syncwarp();
    out[threadIdx.x] = sum + in[threadIdx.x ^ 2] + values[threadIdx.x ^ 2];
}

// Right: out = in. No bit of the poison is used.
extern "C" __global__ void reads_unwritten_shared(const i32* in, i32* out) {
    i32* values = (i32*)shared_bytes();
    if (threadIdx.x > 0) values[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = in[threadIdx.x] + (values[threadIdx.x / 2] & none(in[threadIdx.x]));  // <- reads_unwritten_shared
}

// Right: out = in. `scratch` has never been written.
extern "C" __global__ void reads_unwritten_global(const i32* in, i32* out, const i32* scratch) {
    out[threadIdx.x] = in[threadIdx.x] + (scratch[threadIdx.x] & none(in[threadIdx.x]));  // <- reads_unwritten_global
}

// Right: out[i] = in[i] + in[i + 1], the last one in[i] alone. The neighbour is loaded before it is known to exist.
extern "C" __global__ void reads_past_the_end(const i32* in, i32* out) {
    i32 next = in[threadIdx.x + 1];  // <- reads_past_the_end
    out[threadIdx.x] = in[threadIdx.x] + (threadIdx.x + 1 < blockDim.x ? next : 0);
}

// Right: out = in. One element too many.
extern "C" __global__ void writes_past_shared(const i32* in, i32* out) {
    i32* values = (i32*)shared_bytes();
    values[threadIdx.x + 1] = in[threadIdx.x];  // <- writes_past_shared
    __syncthreads();
    out[threadIdx.x] = threadIdx.x + 1 < blockDim.x ? values[threadIdx.x + 1] : in[threadIdx.x];
}

// Right: out = in. The array of the template has SIZE elements.
template <i32 SIZE> __global__ void reads_past_static(const i32* in, i32* out) {
    __shared__ i32 values[SIZE];
    const i32* first = values;
    values[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    i32 next = first[threadIdx.x + 1];  // <- reads_past_static
    out[threadIdx.x] = in[threadIdx.x] + (next & none(in[threadIdx.x]));
}
template __global__ void reads_past_static<64>(const i32*, i32*);

// Right: out = in. A thread's own array has 4 elements.
extern "C" __global__ void overruns_local(const i32* in, i32* out) {
    i32 own[4];
    for (i32 i = 0; i <= (in[threadIdx.x] < 0 ? 3 : 4); ++i) own[i] = in[threadIdx.x];  // <- overruns_local
    out[threadIdx.x] = own[threadIdx.x % 4];
}

// Right: out = in * 100000 modulo 2^32, which a GPU gives too, and the language does not promise.
extern "C" __global__ void overflows(const i32* in, i32* out) {
    out[threadIdx.x] = in[threadIdx.x] * 100000;  // <- overflows
}

// Right: out = in. The store changes nothing.
extern "C" __global__ void writes_through_const(const i32* in, i32* out) {
    out[threadIdx.x] = in[threadIdx.x];
    ((i32*)in)[threadIdx.x] = out[threadIdx.x];  // <- writes_through_const
}

// Right: out[0] = number of threads. Two blocks; not atomic.
extern "C" __global__ void counts_without_atomics(const i32*, i32* out) {
    if (threadIdx.x == 0) out[0] += (i32)blockDim.x;  // <- counts_without_atomics
}

// Right: out[0 .. 62] = in. The last thread does not come to the barrier.
extern "C" __global__ void returns_before_barrier(const i32* in, i32* out) {
    if (threadIdx.x + 1 == blockDim.x) return;
    __syncthreads();  // <- returns_before_barrier
    out[threadIdx.x] = in[threadIdx.x];
}

// Right: out[0 .. 3] = in[1 .. 4]. A load of 16 bytes at an address that is no multiple of 16.
extern "C" __global__ void is_misaligned(const i32* in, i32* out) {
    if (threadIdx.x != 0) return;
    int4 four = *(const int4*)(in + 1);  // <- is_misaligned
    out[0] = four.x, out[1] = four.y, out[2] = four.z, out[3] = four.w;
}
