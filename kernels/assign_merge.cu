// assign_merge.cu - sums over blocks for every route of the assignment pass, into the sums that are remembered.
//
// Computes   for entry e = 0 .. size - 1 of a tile: its sum over `blocks` partials. The first `sums` entries go to the sums
//            of their model, on top of those of the last pass under Model.known; what passes `sums` are extras, which
//            nothing remembers. Entry e is entry first + e % tile_e of cluster e / tile_e of the launch, plus those of
//            the tiles before.
// Inputs     partial  int64 [tiles, blocks, planes, size], see assign.cuh
//            models   Model [n_models]; the `entries` of a cluster lie side by side among the remembered sums
// Outputs    sums     int64, uint64: 128-bit sums, `entries` a cluster, from Model.remembered on
//            extra    int64, uint64 [size - sums]
// Launch     grid (groups of 32 entries, tiles, 1), whole warps, which share out the partials; 16 shared bytes a thread.
// Order      none that matters: integer sums.
// Bytes      8 bytes a partial (16 under INTEGER), 16 an entry written, 16 more read where remembered.
#include "assign.cuh"

template <i32 MODE>
__global__ void assign_merge(const i64* __restrict__ partial, i64 blocks, i32 size, i32 sums, i32 tiles, i32 tile_k,
                             i32 tile_e, i32 first, i32 entries, const i64* __restrict__ models, i32 n_models,
                             i64* sums_hi, u64* sums_lo, i64* extra_hi, u64* extra_lo) {
    Wide* scratch = (Wide*)shared_bytes();
    const Model* model = (const Model*)models;
    const i32 warps = (i32)blockDim.x / WARP;
    const i32 lane = (i32)threadIdx.x % WARP;
    const i32 warp = (i32)threadIdx.x / WARP;
    for (i32 t = blockIdx.y; t < tiles; t += gridDim.y) {
        for (i32 low = (i32)blockIdx.x * WARP; low < size; low += (i32)gridDim.x * WARP) {
            i32 e = low + lane;
            Wide sum = wide_zero();
            if (e < size)
                for (i32 b = warp; b < blocks; b += warps) {
                    const i64* part = partial + (t * blocks + b) * size * Ledger<MODE>::PLANES + e;
                    if (MODE == INTEGER) sum = wide_add(sum, Wide{part[size], (u64)part[0]});
                    else sum = wide_add(sum, wide(part[0]));
                }
            scratch[threadIdx.x] = sum;
            __syncthreads();
            if (warp == 0 && e < size) {
                for (i32 other = 1; other < warps; ++other) sum = wide_add(sum, scratch[other * WARP + lane]);
                if (e >= sums) {
                    extra_hi[e - sums] = sum.hi, extra_lo[e - sums] = sum.lo;
                } else {
                    i32 m = 0;
                    i32 tiles_k = ((i32)model[n_models - 1].cluster + (i32)model[n_models - 1].k + tile_k - 1) / tile_k;
                    i32 c = t % tiles_k * tile_k + e / tile_e;
                    i32 entry = first + t / tiles_k * tile_e + e % tile_e;
                    while (m + 1 < n_models && model[m + 1].cluster <= c) ++m;
                    if (c - model[m].cluster < model[m].k && entry < entries) {
                        i64 at = model[m].remembered + (c - model[m].cluster) * entries + entry;
                        if (model[m].known) sum = wide_add(sum, Wide{sums_hi[at], sums_lo[at]});
                        sums_hi[at] = sum.hi, sums_lo[at] = sum.lo;
                    }
                }
            }
            __syncthreads();
        }
    }
}

#define INSTANTIATE(MODE)                                                                                             \
    template __global__ void assign_merge<MODE>(const i64*, i64, i32, i32, i32, i32, i32, i32, i32, const i64*, i32, \
                                                i64*, u64*, i64*, u64*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
