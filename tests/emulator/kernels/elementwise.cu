// elementwise.cu - test only: detmath.cuh and philox.cuh, one thread an element.
//
// Inputs     float64 or uint64 [n]     Outputs   one value an element     Launch   1-D, grid-stride, no shared memory
#include "detmath.cuh"
#include "philox.cuh"

extern "C" __global__ void log_each(const double* x, i64 n, double* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = det_log(x[i]);
}
extern "C" __global__ void log1p_each(const double* x, i64 n, double* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = det_log1p(x[i]);
}
extern "C" __global__ void exp2_each(const double* x, i64 n, double* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = det_exp2(x[i]);
}
extern "C" __global__ void draw_each(u64 seed, u32 stage, u32 index, const u64* identity, i64 n, u64* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = draw64(seed, stage, identity[i], index);
}
extern "C" __global__ void uniform_each(const u64* bits, i64 n, double* out) {
    for (i64 i = first_row(); i < n; i += row_step()) out[i] = uniform53(bits[i]);
}
