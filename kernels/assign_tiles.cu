// assign_tiles.cu - one pass of Lloyd's algorithm over a block, one model of any k over any d: labels, then exact sums.
//
// Computes   see assign.cuh: assign_labels the labels, assign_sums totals and masses of labels that lie there (or with
//            `known` their change from `labels` to `fresh`), adopt_labels the new labels in place of the old.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            centres  float32 [groups, d, K_TILE]: groups of K_TILE centres, filled up with infinity
//            scale    float64 [d], powers of two
//            labels   uint8, uint16 or int32 [.., n]: the old ones, row `label_row`, read under `known`
// Outputs    fresh    [.., n], row `fresh_row`: the new ones; the same array and row as `labels`, or another place
//            distance float32 [n]        chain d2 to the own centre, under WANT_DISTANCE
//            partial  int64 [gridDim.x, planes, extras] of assign_labels, [tiles, gridDim.x, planes, tile_k * tile_e]
//                     of assign_sums, for assign_merge
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, grid.x over rows in a grid-stride loop, a row a thread; grid.y of assign_sums over tiles
//            of `tile_k` clusters and `tile_e` of their entries, clusters first. Shared bytes:
//            gpuseg.engines.device.assign_plan.
// Order      none that matters (assign.cuh): sums by 32-bit atomics in shared memory.
// Bytes      assign_labels reads x ceil(k / K_TILE) times, through the caches; assign_sums reads labels once a tile, and x of
//            the rows that changed once (twice if their old cluster is in another tile). For centres that fit
//            shared memory, assign_staged without sums takes the place of assign_labels and reads x once.
#include "assign.cuh"

#ifndef K_TILE  // centres at a time, whose chains run side by side
#define K_TILE 32
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif

// A tile of K_TILE centres and `chunk` features in shared memory at a time.
template <i32 MODE, class Label>
__global__ void assign_labels(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                              i64 stride, i32 d, const float* __restrict__ centres, i32 k, i32 chunk, i32 known,
                              i32 wants, i32 window, const Label* labels, i64 label_row, Label* fresh, i64 fresh_row,
                              float* distance, i64* partial, u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const i32 extras = extras_of(wants);
    float* centre = (float*)shared_bytes();
    Ledger<MODE> ledger;
    ledger.begin(centre + chunk * K_TILE, 0, extras, 1, window);

    for (i64 low = first_tile(blockDim.x); low < n; low += row_step()) {
        ledger.make_room((i32)blockDim.x);
        i64 i = low + threadIdx.x;
        Weight weight = i < n ? weight_of<MODE>(w, i, errors) : (Weight)0;
        float best = __uint_as_float(0x7f800000u);
        i32 label = 0;
        for (i32 c = 0; c < k; c += K_TILE) {
            const float* group = centres + (i64)(c / K_TILE) * d * K_TILE;
            float acc[K_TILE];
#pragma unroll
            for (i32 t = 0; t < K_TILE; ++t) acc[t] = 0.0f;
            for (i32 first = 0; first < d; first += chunk) {
                i32 some = min(chunk, d - first);
                __syncthreads();
                copy_to_shared(centre, group + first * K_TILE, some * K_TILE);
                __syncthreads();
                if (i < n)
                    for (i32 f = 0; f < some; ++f)
                        chain_tile<K_TILE>(x[(first + f) * stride + i], centre + f * K_TILE, acc);
            }
            nearest_of<K_TILE>(acc, c, best, label);
        }
        i32 old = i < n && known ? (i32)labels[label_row * n + i] : -1;
        if (i < n) fresh[fresh_row * n + i] = (Label)label;
        if (i < n && wants & WANT_DISTANCE) distance[i] = best;
        add_votes(ledger, 0, i < n && old != label);
        if (wants & WANT_INERTIA) add_inertia(ledger, 1, best, weight, errors);
    }
    ledger.close(partial);
    if (errors != 0) raise_error(error, errors);
}

template <i32 MODE, class Label>
__global__ void assign_sums(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                            i64 stride, i32 d, i32 k, const double* __restrict__ scale, i32 tile_k, i32 tile_e,
                            i32 tiles, i32 known, i32 copies, i32 window, const Label* labels, i64 label_row,
                            const Label* fresh, i64 fresh_row, i64* partial, u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const i32 tiles_k = (k + tile_k - 1) / tile_k;
    double* scales = (double*)shared_bytes();
    for (i32 t = blockIdx.y; t < tiles; t += gridDim.y) {
        const i32 first_k = t % tiles_k * tile_k;
        const i32 first_e = t / tiles_k * tile_e;
        const i32 features = min(max(d - first_e, 0), tile_e);
        Ledger<MODE> ledger;
        ledger.begin(scales + even(tile_e), 0, tile_k * tile_e, copies, window);
        copy_to_shared(scales, scale + first_e, features);
        __syncthreads();

        for (i64 low = first_tile(blockDim.x); low < n; low += row_step()) {
            ledger.make_room((i32)blockDim.x);
            i64 i = low + threadIdx.x;
            if (i >= n) continue;
            i32 now = (i32)fresh[fresh_row * n + i];
            i32 old = known ? (i32)labels[label_row * n + i] : -1;
            if (now == old) continue;
            bool adds = now >= first_k && now - first_k < tile_k;
            bool takes = old >= first_k && old - first_k < tile_k;
            if (!adds && !takes) continue;
            Weight weight = weight_of<MODE>(w, i, errors);
            if (weight == 0) continue;
            i32* to = ledger.mine() + (now - first_k) * tile_e;
            i32* from = ledger.mine() + (old - first_k) * tile_e;
            for (i32 f = 0; f < features; ++f) {
                auto term = total_term<MODE>(x[(first_e + f) * stride + i], weight, scales[f], errors);
                if (adds) ledger.put(to + f, term);
                if (takes) ledger.put(from + f, negative(term));
            }
            i32 first_mass = d - first_e;
            i32 entry = first_mass + (MODE == REAL ? bin_part((float)weight).bin : 0);
            if (entry < 0 || entry >= tile_e) continue;
            put_mass(ledger, adds ? to + first_mass : nullptr, takes ? from + first_mass : nullptr, weight);
        }
        ledger.close(partial, t);
    }
    if (errors != 0) raise_error(error, errors);
}

template <class Label>
__global__ void adopt_labels(const Label* __restrict__ fresh, i64 n, Label* __restrict__ labels, i64 label_row) {
    for (i64 i = first_row(); i < n; i += row_step()) labels[label_row * n + i] = fresh[i];
}

#ifdef ALONE
#define INSTANTIATE(MODE)                                                                                              \
    template __global__ void assign_labels<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, i32,         \
                                                     const float*, i32, i32, i32, i32, i32, const u8*, i64, u8*, i64,  \
                                                     float*, i64*, u32*);                                              \
    template __global__ void assign_sums<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, i32, i32,      \
                                                   const double*, i32, i32, i32, i32, i32, i32, const u8*, i64,        \
                                                   const u8*, i64, i64*, u32*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
template __global__ void adopt_labels<u8>(const u8*, i64, u8*, i64);
#endif
