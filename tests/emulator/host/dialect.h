// dialect.h - CUDA C++ for g++: included before the source of a kernel. Keywords, vector types, intrinsics, atomics,
// shuffles and votes. Kernels may use what is here and in kernels/common.cuh; nvcc says whether CUDA has it too.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "runtime.h"

#define GPUSEG_HOST_BUILD 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
// used: or g++ reads a zero where nothing is written, and the poison is never seen.
#define __shared__ static __attribute__((used))
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// The dialect's own loads and stores are not the kernel's. A function with another set of sanitizers is not inlined.
#ifdef GPUSEG_CHECK
#define GPUSEG_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
#else
#define GPUSEG_UNCHECKED
#endif

// Aligned as CUDA aligns them: one load each.
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };

// One type for both: CUDA's overloads are ambiguous for mixed ones, these refuse them.
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
// Of a NaN and a number a GPU takes the number.
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
inline double min(double a, double b) { return __builtin_fmin(a, b); }
inline double max(double a, double b) { return __builtin_fmax(a, b); }
using std::fabs;
using std::fma;
using std::rint;
using std::sqrt;

// --- arithmetic in a stated rounding; -ffp-contract=off keeps a product and a sum apart
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline long long __double2ll_rn(double a) { return __builtin_llrint(a); }
inline int __float2int_rn(float a) { return (int)__builtin_lrintf(a); }
inline long long __float2ll_rn(float a) { return __builtin_llrintf(a); }
inline double __ll2double_rn(long long a) { return (double)a; }
inline float __double2float_rn(double a) { return (float)a; }

// --- bits
namespace gpuseg_host {
template <class To, class From> inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of the same width");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace gpuseg_host
inline unsigned __float_as_uint(float a) { return gpuseg_host::bits_as<unsigned>(a); }
inline int __float_as_int(float a) { return gpuseg_host::bits_as<int>(a); }
inline float __uint_as_float(unsigned a) { return gpuseg_host::bits_as<float>(a); }
inline float __int_as_float(int a) { return gpuseg_host::bits_as<float>(a); }
inline long long __double_as_longlong(double a) { return gpuseg_host::bits_as<long long>(a); }
inline double __longlong_as_double(long long a) { return gpuseg_host::bits_as<double>(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(int a) { return a == 0 ? 32 : __builtin_clz((unsigned)a); }
inline int __clzll(long long a) { return a == 0 ? 64 : __builtin_clzll((unsigned long long)a); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __ffsll(long long a) { return __builtin_ffsll(a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
template <class T> inline T __ldg(const T* address) { return *address; }

// --- atomics: nothing preempts a fiber. The types are those that CUDA has.
#define GPUSEG_ATOMIC(name, type, result)               \
    GPUSEG_UNCHECKED inline type name(type* address, type value) { \
        gpuseg_host::atomic_access(address, sizeof *address, __builtin_return_address(0)); \
        type old = *address;                            \
        *address = (result);                            \
        return old;                                     \
    }
#define GPUSEG_ATOMIC_INTEGERS(name, result)            \
    GPUSEG_ATOMIC(name, int, result)                    \
    GPUSEG_ATOMIC(name, unsigned, result)               \
    GPUSEG_ATOMIC(name, unsigned long long, result)
GPUSEG_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
GPUSEG_ATOMIC(atomicAdd, unsigned, old + value)
GPUSEG_ATOMIC(atomicAdd, unsigned long long, old + value)
GPUSEG_ATOMIC(atomicAdd, float, old + value)
GPUSEG_ATOMIC(atomicAdd, double, old + value)
GPUSEG_ATOMIC_INTEGERS(atomicOr, old | value)
GPUSEG_ATOMIC_INTEGERS(atomicAnd, old & value)
GPUSEG_ATOMIC_INTEGERS(atomicXor, old ^ value)
GPUSEG_ATOMIC_INTEGERS(atomicExch, value)
GPUSEG_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
GPUSEG_ATOMIC_INTEGERS(atomicMax, old < value ? value : old)
#undef GPUSEG_ATOMIC_INTEGERS
#undef GPUSEG_ATOMIC
template <class T> GPUSEG_UNCHECKED inline T atomicCAS(T* address, T compare, T value) {
    gpuseg_host::atomic_access(address, sizeof *address, __builtin_return_address(0));
    T old = *address;
    if (old == compare) *address = value;
    return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// --- barriers, shuffles, votes
#define GPUSEG_HERE gpuseg_host::Site site = gpuseg_host::Site::here()

inline void __syncthreads(GPUSEG_HERE) { gpuseg_host::barrier(site); }
inline void __syncwarp(unsigned mask = 0xffffffffu, GPUSEG_HERE) {
    gpuseg_host::leave(gpuseg_host::meet(site, "__syncwarp", mask, 0));
}

namespace gpuseg_host {
// The value of lane `from`, which must have taken part.
template <class T>
GPUSEG_UNCHECKED inline T exchange(Site site, const char* operation, unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) <= 8 && std::is_arithmetic<T>::value, "a shuffle moves a number of at most 8 bytes");
    unsigned long long word = 0;
    std::memcpy(&word, &value, sizeof value);
    Meeting* meeting = meet(site, operation, mask, word);
    if ((meeting->arrived >> from & 1) == 0) fail(site, "%s reads lane %u, which took no part", operation, from);
    std::memcpy(&value, &meeting->values[from], sizeof value);
    leave(meeting);
    return value;
}
inline unsigned segment(int width) { return lane() & ~(unsigned)(width - 1); }
GPUSEG_UNCHECKED inline unsigned ballot(Site site, const char* operation, unsigned mask, bool vote) {
    Meeting* meeting = meet(site, operation, mask, vote ? 1 : 0);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; ++i)
        if (meeting->arrived >> i & 1) votes |= (unsigned)meeting->values[i] << i;
    leave(meeting);
    return votes;
}
}  // namespace gpuseg_host

template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, GPUSEG_HERE) {
    unsigned from = gpuseg_host::segment(width) + ((unsigned)source & (unsigned)(width - 1));
    return gpuseg_host::exchange(site, "__shfl_sync", mask, value, from);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GPUSEG_HERE) {
    unsigned me = gpuseg_host::lane();
    unsigned from = me - gpuseg_host::segment(width) < delta ? me : me - delta;
    return gpuseg_host::exchange(site, "__shfl_up_sync", mask, value, from);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GPUSEG_HERE) {
    unsigned me = gpuseg_host::lane();
    unsigned from = me - gpuseg_host::segment(width) + delta < (unsigned)width ? me + delta : me;
    return gpuseg_host::exchange(site, "__shfl_down_sync", mask, value, from);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, GPUSEG_HERE) {
    unsigned me = gpuseg_host::lane();
    unsigned from = me ^ (unsigned)lanes;
    if (from >= gpuseg_host::segment(width) + (unsigned)width) from = me;
    return gpuseg_host::exchange(site, "__shfl_xor_sync", mask, value, from);
}
inline unsigned __ballot_sync(unsigned mask, int vote, GPUSEG_HERE) {
    return gpuseg_host::ballot(site, "__ballot_sync", mask, vote != 0);
}
inline int __any_sync(unsigned mask, int vote, GPUSEG_HERE) {
    return gpuseg_host::ballot(site, "__any_sync", mask, vote != 0) != 0;
}
inline int __all_sync(unsigned mask, int vote, GPUSEG_HERE) {
    return gpuseg_host::ballot(site, "__all_sync", mask, vote == 0) == 0;
}

#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : gpuseg_host::fail(gpuseg_host::Site{__FILE__, __LINE__}, "assert(%s)", #condition))
