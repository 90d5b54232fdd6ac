// assign_staged.cu - one pass of Lloyd's algorithm over a block, any models over one read of x: nearest centre, exact sums.
//
// Computes   see assign.cuh. A tile of rows lies in shared memory, all of its features, and every model's centres go past
//            it: all of them stay in shared memory for good, or `slab` groups and `chunk` features at a time come from the
//            caches. The first `kept` entries of every cluster are summed here, as many as find room; assign_tiles.cu
//            does the others. Under `parts` rows, too, come `chunk` features at a time, and kept = 0.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            centres  float32 [groups, d, K_TILE], 16-byte aligned: a model's centres in groups of K_TILE, filled up with
//                     infinity, which is nearest to nothing
//            scale    float64 [d], powers of two
//            models   Model [n_models]
//            labels   uint8, uint16 or int32 [.., n]: the old ones, row Model.label_row, read under Model.known
// Outputs    fresh    the new ones, in the place of the old; under `apart` in another array, row = model of the launch
//            distance float32 [n]        chain d2 to the own centre, under WANT_DISTANCE (one model)
//            partial  int64 [gridDim.x, planes, clusters * kept + n_models * extras], for assign_merge
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D, grid.x over tiles of `rows` rows in a grid-stride loop. `rows` is a power of two,
//            and blockDim.x * ROWS a multiple of it: so many threads share out the centres of a row. slab >= groups
//            and chunk = d where the centres stay; else slab is a multiple of these threads, just their number where
//            chunk < d, as it is under `parts`.
// Shared     4 bytes a value of a centre there; 8 bytes (16 under INTEGER) an entry kept; 4 bytes a value of 32 rows or
//            more; in all gpuseg.engines.device.assign_plan. All sums find room, about, under NONE up to k d = 4,000 in
//            64 KiB (sm_75), 8,400 in 99 (sm_86, 89, 120), 16,500 in 163 (sm_80), 24,600 in 227 (sm_90, 100), k the
//            clusters of all models; half of it or some more under INTEGER.
// Order      none that matters (assign.cuh). A warp owns entries of every so manieth cluster and adds the rows of a tile to
//            them with lane = entry: no two threads meet, no atomics. Extras by 32-bit atomics in shared memory.
// Bytes      4 n d, weights (8 n or 4 n), 4 n for distances, and a model: its labels once (twice where remembered). Centres
//            that stay and 8 bytes an entry (16 under INTEGER) once a block, other centres once a tile, from the caches.
//            Under `parts` x comes once more for every slab of centres.
#include "assign.cuh"

#ifndef ROWS  // rows of a thread: a centre's value, once loaded, serves them all
#define ROWS 2
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif
#ifndef K_TILE  // centres at a time, whose chains run side by side
#define K_TILE 8
#endif

// Groups of centres in shared memory: those of all models for good, or some of one model's at a time.
struct Centres {
    const float* from;  // [groups, d, K_TILE]
    float* value;       // [slab, chunk, K_TILE]
    i32 d, slab, chunk;
    bool stay;   // all are there
    bool parts;  // rows come and go with them

    // `some` groups from `group` on, `features` of them from `first` on; a warp copies a group.
    __device__ void fetch(i64 group, i32 some, i32 first, i32 features) const {
        for (i32 g = (i32)threadIdx.x / WARP; g < some; g += (i32)blockDim.x / WARP) {
            const float4* source = (const float4*)(from + ((group + g) * d + first) * K_TILE);
            float4* target = (float4*)(value + g * chunk * K_TILE);
#pragma unroll 2
            for (i32 j = (i32)threadIdx.x % WARP; j < features * (K_TILE / 4); j += WARP) target[j] = source[j];
        }
    }
};

// A tile of rows. Features lie an odd number of words apart: lanes are rows when labels are sought, features when sums are.
template <i32 MODE> struct Tile {
    typedef typename WeightOf<MODE>::type Weight;

    const float* x;
    i64 n, stride, low;       // `low` is its first row
    i32 rows, pitch, shares;  // `shares` threads share out the centres of a row
    Weight* weight;           // [rows]
    u64* near;                // [shares, rows]: d2 to the nearest of a share's centres, as bits, above its number
    i32* now;                 // [rows]: the cluster of the launch that a row is added to, -1 for none
    i32* old;                 // [rows]: the cluster that it leaves, -1 for none
    float* value;             // [features, pitch]

    __device__ void begin(void* memory, const float* from, i64 in_all, i64 apart, i32 n_rows) {
        x = from, n = in_all, stride = apart;
        rows = n_rows, pitch = n_rows + 1, shares = (i32)blockDim.x * ROWS / n_rows;
        weight = (Weight*)memory;
        near = (u64*)(weight + rows);
        now = (i32*)(near + shares * rows);
        old = now + rows;
        value = (float*)(old + rows);
    }

    // Some features of its rows, from `first` on; past the last row zeros, whose labels are dropped.
    __device__ void stage(i32 first, i32 features) {
        const i32 shift = __ffs(rows) - 1;
#pragma unroll 4
        for (i32 j = threadIdx.x; j < features * rows; j += blockDim.x) {
            i32 f = j >> shift;
            i32 r = j & (rows - 1);
            value[f * pitch + r] = low + r < n ? x[(first + f) * stride + low + r] : 0.0f;
        }
    }

    // Every `shares`-th group of a model's centres, against ROWS rows a lane.
    __device__ void seek(const Centres& centres, const Model& one) {
        const i32 warp = (i32)threadIdx.x / WARP;
        const i32 share = warp % shares;
        const i32 row = warp / shares * (WARP * ROWS) + (i32)threadIdx.x % WARP;
        const i32 groups = ((i32)one.k + K_TILE - 1) / K_TILE;
        float best[ROWS];
        i32 nearest[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) best[r] = __uint_as_float(0x7f800000u), nearest[r] = 0;
#pragma unroll 1
        for (i32 base = 0; base < groups; base += centres.slab) {
            const i32 some = min(centres.slab, groups - base);
            const float* here = centres.value + (centres.stay ? (i32)one.group * centres.d * K_TILE : 0);
            // Where centres come and go every thread goes all rounds, for the barriers.
#pragma unroll 1
            for (i32 g = share; g < (centres.stay ? some : centres.slab); g += shares) {
                float acc[ROWS][K_TILE];
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r)
#pragma unroll
                    for (i32 t = 0; t < K_TILE; ++t) acc[r][t] = 0.0f;
#pragma unroll 1
                for (i32 first = 0; first < centres.d; first += centres.chunk) {
                    const i32 features = min(centres.chunk, centres.d - first);
                    if (!centres.stay && g == share) {
                        __syncthreads();
                        centres.fetch(one.group + base, some, first, features);
                        if (centres.parts) stage(first, features);
                        __syncthreads();
                    }
                    if (g >= some) continue;
                    const float* group = here + g * centres.chunk * K_TILE;
                    const float* of_row = value + (centres.parts ? 0 : first) * pitch + row;
#pragma unroll 4
                    for (i32 f = 0; f < features; ++f)
#pragma unroll
                        for (i32 r = 0; r < ROWS; ++r)
                            chain_tile<K_TILE>(of_row[f * pitch + r * WARP], group + f * K_TILE, acc[r]);
                }
                if (g >= some) continue;
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) nearest_of<K_TILE>(acc[r], (base + g) * K_TILE, best[r], nearest[r]);
            }
        }
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r)
            near[share * rows + row + r * WARP] = (u64)__float_as_uint(best[r]) << 32 | (u32)nearest[r];
    }

    // The nearest of all shares, of equals the lowest: no distance is negative, so that its bits are in its order.
    __device__ u64 settle(i32 r) const {
        u64 least = near[r];
        for (i32 s = 1; s < shares; ++s) least = min(least, near[s * rows + r]);
        return least;
    }
};

// What a row adds to mass entry `entry` of its cluster.
template <i32 MODE>
__device__ inline typename TermOf<MODE>::type mass_term(typename WeightOf<MODE>::type w, i32 entry) {
    if constexpr (MODE == NONE) {
        return 1;
    } else if constexpr (MODE == INTEGER) {
        return wide(w);
    } else {
        BinPart one = bin_part(w);
        return one.bin == entry ? one.part : 0;
    }
}

__device__ inline void add_to(i64& sum, i64 term) { sum += term; }
__device__ inline void add_to(Wide& sum, Wide term) { sum = wide_add(sum, term); }

// The rows of a tile that changed, into the owned entries of a ledger, the first `kept` of each cluster: a warp has 32
// entries of every `classes`-th cluster, and where warps are few the entries after these.
template <i32 MODE>
__device__ inline void add_rows(const Tile<MODE>& tile, const Ledger<MODE>& ledger, i32 d, i32 kept,
                                const double* scales, u32& errors) {
    const i32 chunks = (kept + WARP - 1) / WARP;
    const i32 warps = (i32)blockDim.x / WARP;
    const i32 warp = (i32)threadIdx.x / WARP;
    const i32 lane = (i32)threadIdx.x % WARP;
    i32 classes = 1;  // a power of two
    while (2 * classes * chunks <= warps) classes *= 2;
    const i32 own = warp & (classes - 1);
    for (i32 low = warp / classes * WARP; low < kept; low += warps / classes * WARP) {
        const i32 e = low + lane;
        const double scale = scales[min(e, min(kept, d) - 1)];
        for (i32 base = 0; base < tile.rows; base += WARP) {
            // Of 32 rows those that concern this warp's clusters.
            i32 now = tile.now[base + lane];
            i32 old = tile.old[base + lane];
            bool adds = now >= 0 && (now & (classes - 1)) == own;
            bool takes = old >= 0 && (old & (classes - 1)) == own;
            const u32 added = __ballot_sync(FULL_WARP, adds);
            const u32 taken = __ballot_sync(FULL_WARP, takes);
            for (u32 left = added | taken; left != 0; left &= left - 1) {
                const i32 which = __ffs((i32)left) - 1;
                const i32 r = base + which;
                if (e >= kept) continue;
                auto term = e < d ? total_term<MODE>(tile.value[e * tile.pitch + r], tile.weight[r], scale, errors)
                                  : mass_term<MODE>(tile.weight[r], e - d);
                if (added >> which & 1u) add_to(ledger.full[tile.now[r] * kept + e], term);
                if (taken >> which & 1u) add_to(ledger.full[tile.old[r] * kept + e], negative(term));
            }
        }
    }
}

template <i32 MODE, class Label>
__global__ void assign_staged(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                              i64 stride, i32 d, const float* __restrict__ centres, i32 groups, i32 clusters,
                              const double* __restrict__ scale, const i64* __restrict__ models, i32 n_models, i32 slab,
                              i32 chunk, i32 parts, i32 rows, i32 kept, i32 apart, i32 wants, i32 window,
                              const Label* labels, Label* fresh, float* distance, i64* partial, u32* error) {
    u32 errors = 0;
    const i32 extras = extras_of(wants);
    const i32 scaled = min(kept, d);
    Centres centre = {centres, (float*)shared_bytes(), d, slab, chunk, slab >= groups && chunk >= d, parts != 0};
    Model* model = (Model*)(centre.value + slab * chunk * K_TILE);
    Ledger<MODE> ledger;
    ledger.begin(model + n_models, clusters * kept, n_models * extras, 1, window);
    double* scales = (double*)ledger.end();
    Tile<MODE> tile;
    tile.begin(scales + scaled, x, n, stride, rows);
    if (centre.stay) centre.fetch(0, groups, 0, d);
    copy_to_shared((i64*)model, models, n_models * (i32)(sizeof(Model) / sizeof(i64)));
    copy_to_shared(scales, scale, scaled);

    for (tile.low = first_tile(rows); tile.low < n; tile.low += tile_step(rows)) {
        ledger.make_room(rows);
        __syncthreads();
        if (!parts) tile.stage(0, d);
        for (i32 r = threadIdx.x; r < rows; r += blockDim.x)
            tile.weight[r] = tile.low + r < n ? weight_of<MODE>(w, tile.low + r, errors) : 0;
        __syncthreads();
        for (i32 m = 0; m < n_models; ++m) {
            const Model& one = model[m];
            Label* to = fresh + (apart ? m : one.label_row) * n;
            tile.seek(centre, one);
            __syncthreads();
            for (i32 r = threadIdx.x; r < rows; r += blockDim.x) {
                i64 i = tile.low + r;
                u64 nearest = tile.settle(r);
                float best = __uint_as_float((u32)(nearest >> 32));
                i32 now = (i32)(u32)nearest;
                i32 old = i < n && one.known ? (i32)labels[one.label_row * n + i] : -1;
                bool moved = i < n && old != now;
                if (i < n) to[i] = (Label)now;
                if (i < n && wants & WANT_DISTANCE) distance[i] = best;
                add_votes(ledger, m * extras, moved);
                if (wants & WANT_INERTIA) add_inertia(ledger, m * extras + 1, best, tile.weight[r], errors);
                bool counts = moved && tile.weight[r] != 0;
                tile.now[r] = counts ? (i32)one.cluster + now : -1;
                tile.old[r] = counts && old >= 0 ? (i32)one.cluster + old : -1;
            }
            __syncthreads();
            if (kept > 0) add_rows(tile, ledger, d, kept, scales, errors);
        }
    }
    ledger.close(partial);
    if (errors != 0) raise_error(error, errors);
}

#ifdef ALONE
#define INSTANTIATE(MODE)                                                                                              \
    template __global__ void assign_staged<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, i32,         \
                                                     const float*, i32, i32, const double*, const i64*, i32, i32, i32, \
                                                     i32, i32, i32, i32, i32, i32, const u8*, u8*, float*, i64*,       \
                                                     u32*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
#endif
