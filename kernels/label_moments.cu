// label_moments.cu - rows, exact sum and exact sum of squares of every feature in each cluster of a block.
//
// Computes   For cluster c and feature f the sums of x_q and of x_q^2 over the rows of label c, x_q = rint(x * scale[f]),
//            half to even; "feature" d is 1 in every row, so its sum counts them. In integers: the records
//            gpuseg.core.moments.Moments of the clusters. Rows of other labels belong to none.
// Inputs     x            float32 [d, n]  feature-major; features lie `stride` elements apart, stride >= n
//            labels       uint8, uint16 or int32 [n]
//            scale        float64 [d], powers of two
// Outputs    partial_hi, partial_lo       int64, uint64 [2, k, d + 1, gridDim.x]: sums, then squares; one 128-bit partial
//            a block, for wide_merge (moments.cu)
//            error        uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D; grid.x over rows, grid.y over tiles of `clusters` clusters and `group` features,
//            both grid-stride. Shared bytes: 24 a thread, cluster and feature of the tile.
// Order      none that matters: every thread adds integers to columns of its own. No atomics but on the error word.
// Bytes      4 n d a tile of clusters; the labels once a tile of clusters and group of features; and 32 k (d + 1) a block
//            along the rows for partials, which the merge reads again: few rows take few blocks.
// Limits     n < 2^40, d < 2^30; |x_q| < 2^40, else the error word; a thread takes at most 2^16 rows.
#include "common.cuh"

enum : i32 { SPLIT_BITS = 48 };  // of a square: 2^16 low parts fill 64 bits
enum : i32 { AT_ONCE = 4 };      // rows of a thread whose values are on their way together

template <class LABEL>
__global__ void label_sums(const float* __restrict__ x, i64 n, i64 stride, const LABEL* __restrict__ labels, i64 k, i32 d,
                           i32 clusters, i32 group, const double* __restrict__ scale, i64* partial_hi, u64* partial_lo,
                           u32* error) {
    u64* columns = (u64*)shared_bytes();  // [clusters, group, 3, blockDim.x]: sum, and the square's low and high part
    i32 parts = (d + group) / group;      // of the d + 1 features, the last of which counts rows
    i64 tiles = (k + clusters - 1) / clusters * parts;
    for (i64 t = blockIdx.y; t < tiles; t += gridDim.y) {
        i64 first = t / parts * clusters;
        i64 here = min((i64)clusters, k - first);
        i32 low = (i32)(t % parts) * group;
        for (i32 s = 0; s < clusters * group * 3; ++s) columns[s * blockDim.x + threadIdx.x] = 0;
        for (i64 start = first_row(); start < n; start += AT_ONCE * row_step()) {
            i64 cluster[AT_ONCE];  // of the tile; negative for a row of none of its clusters
#pragma unroll
            for (i32 u = 0; u < AT_ONCE; ++u) {
                i64 i = start + u * row_step();
                i64 c = i < n ? (i64)labels[i] - first : -1;
                cluster[u] = c < here ? c : -1;
            }
            for (i32 f = low; f < low + group && f <= d; ++f) {
                float value[AT_ONCE];
#pragma unroll
                for (i32 u = 0; u < AT_ONCE; ++u)
                    value[u] = f < d && cluster[u] >= 0 ? x[f * stride + start + u * row_step()] : 0.0f;
#pragma unroll
                for (i32 u = 0; u < AT_ONCE; ++u) {
                    if (cluster[u] < 0) continue;
                    i64 q = f < d ? fixed_point(__dmul_rn((double)value[u], scale[f]), error) : 1;
                    u64 magnitude = (u64)(q < 0 ? -q : q);
                    u64 square = magnitude * magnitude;
                    u64* at = columns + ((i32)cluster[u] * group + f - low) * 3 * blockDim.x + threadIdx.x;
                    at[0] += (u64)q;
                    at[blockDim.x] += square & (((u64)1 << SPLIT_BITS) - 1);
                    at[2 * blockDim.x] += __umul64hi(magnitude, magnitude) << (64 - SPLIT_BITS) | square >> SPLIT_BITS;
                }
            }
        }
        __syncthreads();

        // A warp adds the columns of every (blockDim.x / 32)-th sum.
        for (i32 item = threadIdx.x / WARP; item < clusters * group * 2; item += blockDim.x / WARP) {
            i32 slot = item / 2;
            i32 squared = item % 2;
            const u64* from = columns + slot * 3 * blockDim.x;
            Wide sum = wide_zero();
            for (u32 column = threadIdx.x % WARP; column < blockDim.x; column += WARP) {
                if (squared) {
                    sum = wide_add(sum, Wide{0, from[blockDim.x + column]});
                    sum = wide_add(sum, wide((i64)from[2 * blockDim.x + column], SPLIT_BITS));
                } else {
                    sum = wide_add(sum, wide((i64)from[column]));
                }
            }
            sum = warp_sum(sum);
            i64 c = first + slot / group;
            i32 f = low + slot % group;
            if (threadIdx.x % WARP == 0 && slot / group < here && f <= d) {
                i64 at = ((squared * k + c) * (d + 1) + f) * gridDim.x + blockIdx.x;
                partial_hi[at] = sum.hi, partial_lo[at] = sum.lo;
            }
        }
        __syncthreads();
    }
}

#define OF_LABELS(LABEL)                                                                                                \
    template __global__ void label_sums<LABEL>(const float*, i64, i64, const LABEL*, i64, i32, i32, i32, const double*, \
                                               i64*, u64*, u32*)
OF_LABELS(unsigned char);
OF_LABELS(unsigned short);
OF_LABELS(int);
