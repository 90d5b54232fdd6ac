// assign_tiles.cu - sums of one pass of Lloyd's algorithm that assign_staged had no room for, from labels.
//
// Computes   see assign.cuh: assign_sums the entries of every cluster from `kept` on, totals and masses of labels that lie
//            there (of a model that is known their change from `labels` to `fresh`), adopt_labels the new labels in
//            place of the old.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            scale    float64 [d], powers of two
//            models   Model [n_models]
//            labels   uint8, uint16 or int32 [.., n]: the old ones, row Model.label_row, read under Model.known
//            fresh    the new ones: under `apart` row = model of the launch, else among `labels`
// Outputs    partial  int64 [tiles, gridDim.x, planes, tile_k * tile_e], for assign_merge
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, grid.x over rows in a grid-stride loop, a row a thread; grid.y of assign_sums over tiles
//            of `tile_k` clusters, of all models, and `tile_e` of their entries, clusters first; of adopt_labels
//            over models. Shared bytes: gpuseg.engines.device.assign_plan.
// Order      none that matters (assign.cuh): sums by 32-bit atomics in shared memory.
// Bytes      x of the rows that changed once, whatever the number of models, where a tile has all clusters (else once for each
//            tile of clusters that a row comes to or leaves; beyond MODELS models again, from the caches). Labels once a
//            tile, which go by rows side by side: from the second tile on from the caches.
#include "assign.cuh"

#ifndef MODELS  // models at a time, which share what a value adds
#define MODELS 4
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif

// Clusters of a tile that a row comes to and leaves, -1 for none.
struct Move {
    i32 to, from;
};

// Where row i of model m, of which `label` and `fresh` are the labels, goes among the clusters first .. first + count.
template <class Label>
__device__ inline Move move_of(const Model& one, const Label* label, const Label* fresh, i64 i, i32 first, i32 count) {
    i32 now = (i32)fresh[i];
    i32 old = one.known ? (i32)label[i] : -1;
    if (now == old) return Move{-1, -1};
    i32 to = (i32)one.cluster + now - first;
    i32 from = (i32)one.cluster + old - first;
    return Move{to >= 0 && to < count ? to : -1, old >= 0 && from >= 0 && from < count ? from : -1};
}

template <i32 MODE, class Label>
__global__ void assign_sums(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                            i64 stride, i32 d, const double* __restrict__ scale, const i64* __restrict__ models,
                            i32 n_models, i32 kept, i32 tile_k, i32 tile_e, i32 tiles, i32 apart, i32 copies, i32 window,
                            const Label* labels, const Label* fresh, i64* partial, u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const Model* model = (const Model*)models;
    const i32 tiles_k = ((i32)model[n_models - 1].cluster + (i32)model[n_models - 1].k + tile_k - 1) / tile_k;
    double* scales = (double*)shared_bytes();
    for (i32 t = blockIdx.y; t < tiles; t += gridDim.y) {
        const i32 first_k = t % tiles_k * tile_k;
        const i32 first_e = kept + t / tiles_k * tile_e;
        const i32 features = min(max(d - first_e, 0), tile_e);
        const i32 first_mass = d - first_e;
        Ledger<MODE> ledger;
        ledger.begin(scales + even(tile_e), 0, tile_k * tile_e, copies, window);
        copy_to_shared(scales, scale + first_e, features);
        __syncthreads();

        for (i64 low = first_tile(blockDim.x); low < n; low += row_step()) {
            ledger.make_room((i32)blockDim.x);
            const i64 i = low + threadIdx.x;
            if (i >= n) continue;
            for (i32 first = 0; first < n_models; first += MODELS) {
                Move move[MODELS];
                bool moves = false;
#pragma unroll
                for (i32 m = 0; m < MODELS; ++m) {
                    move[m] = Move{-1, -1};
                    if (first + m < n_models) {
                        const Model& one = model[first + m];
                        const Label* there = fresh + (apart ? first + m : one.label_row) * n;
                        move[m] = move_of(one, labels + one.label_row * n, there, i, first_k, tile_k);
                    }
                    moves = moves || move[m].to >= 0 || move[m].from >= 0;
                }
                if (!moves) continue;
                const Weight weight = weight_of<MODE>(w, i, errors);
                if (weight == 0) continue;
                i32* mine = ledger.mine();
                for (i32 f = 0; f < features; ++f) {
                    auto term = total_term<MODE>(x[(first_e + f) * stride + i], weight, scales[f], errors);
#pragma unroll
                    for (i32 m = 0; m < MODELS; ++m) {
                        if (move[m].to >= 0) ledger.put(mine + move[m].to * tile_e + f, term);
                        if (move[m].from >= 0) ledger.put(mine + move[m].from * tile_e + f, negative(term));
                    }
                }
                const i32 entry = first_mass + (MODE == REAL ? bin_part((float)weight).bin : 0);
                if (entry < 0 || entry >= tile_e) continue;
                mine += first_mass;
#pragma unroll
                for (i32 m = 0; m < MODELS; ++m)
                    put_mass(ledger, move[m].to >= 0 ? mine + move[m].to * tile_e : nullptr,
                             move[m].from >= 0 ? mine + move[m].from * tile_e : nullptr, weight);
            }
        }
        ledger.close(partial, t);
    }
    if (errors != 0) raise_error(error, errors);
}

template <class Label>
__global__ void adopt_labels(const Label* __restrict__ fresh, i64 n, Label* __restrict__ labels,
                             const i64* __restrict__ models, i32 n_models) {
    const Model* model = (const Model*)models;
    for (i32 m = blockIdx.y; m < n_models; m += gridDim.y) {
        const Label* from = fresh + m * n;
        Label* to = labels + model[m].label_row * n;
#pragma unroll 2
        for (i64 i = first_row(); i < n; i += row_step()) to[i] = from[i];
    }
}

#ifdef ALONE
#define INSTANTIATE(MODE)                                                                                            \
    template __global__ void assign_sums<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, i32,         \
                                                   const double*, const i64*, i32, i32, i32, i32, i32, i32, i32, i32, \
                                                   const u8*, const u8*, i64*, u32*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
template __global__ void adopt_labels<u8>(const u8*, i64, u8*, const i64*, i32);
#endif
