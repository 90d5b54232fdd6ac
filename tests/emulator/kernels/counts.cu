// counts.cu - test only: accesses whose sectors and wavefronts are known.
#include "common.cuh"

extern "C" __global__ void strided(const float* in, i64 stride, float* out) { out[threadIdx.x] = in[threadIdx.x * stride]; }

template <i32 SIZE> struct Item;
template <> struct Item<4> { typedef float type; };
template <> struct Item<8> { typedef float2 type; };
template <> struct Item<16> { typedef float4 type; };

__device__ inline float first_of(float item) { return item; }
__device__ inline float first_of(float2 item) { return item.x + item.y; }
__device__ inline float first_of(float4 item) { return item.x + item.y + item.z + item.w; }

// The first warp reads items of SIZE bytes, `stride` items apart.
template <i32 SIZE> __global__ void banks(i64 stride, float* out) {
    typedef typename Item<SIZE>::type T;
    T* items = (T*)shared_bytes();
    for (i64 i = threadIdx.x; i <= 32 * (stride > 0 ? stride : 1); i += blockDim.x) items[i] = T{};
    __syncthreads();
    if (threadIdx.x < WARP) {
        T item = items[threadIdx.x * stride];
        out[threadIdx.x] = first_of(item);
    }
}
template __global__ void banks<4>(i64, float*);
template __global__ void banks<8>(i64, float*);
template __global__ void banks<16>(i64, float*);

extern "C" __global__ void same_word(u32* out) {
    u32* word = (u32*)shared_bytes();
    if (threadIdx.x == 0) word[0] = 0;
    __syncthreads();
    atomicAdd(word, 1u);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(out, word[0]);
}

// Every block reads the whole array twice.
extern "C" __global__ void twice_over(const float* in, i64 n, float* out) {
    float sum = 0.0f;
    for (i64 i = threadIdx.x; i < 2 * n; i += blockDim.x) sum += in[i % n];
    out[first_row()] = sum;
}
