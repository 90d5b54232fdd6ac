// assign_staged.cu - one pass of Lloyd's algorithm over a block, one model over one read of x: nearest centre, exact sums.
//
// Computes   see assign.cuh. For many features: centres and sums lie in shared memory for good, and a tile of rows, all of
//            its features, at a time. Without WANT_SUMS it gives labels alone, and sums take no room.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            centres  float32 [groups, d, K_TILE]: groups of K_TILE centres, filled up with infinity, which is
//                     nearest to nothing
//            scale    float64 [d], powers of two
//            labels   uint8, uint16 or int32 [.., n]: the old ones, row `label_row`, read under `known`
// Outputs    fresh    [.., n], row `fresh_row`: the new ones; the same array and row as `labels`, or another place
//            distance float32 [n]        chain d2 to the own centre, under WANT_DISTANCE
//            partial  int64 [gridDim.x, planes, k * entries_of + extras], for assign_merge
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D, grid.x over tiles of `rows` rows in a grid-stride loop. `rows` is a power of two,
//            and blockDim.x * ROWS a multiple of it: so many threads share out the centres of a row.
// Shared     4 bytes a value of a centre; under WANT_SUMS 8 bytes (16 under INTEGER) a total and mass; 4 bytes a value of 32
//            rows or more; in all gpuseg.engines.device.assign_plan. Border under NONE, about: k d = 4,000 in 64 KiB
//            (sm_75), 7,000 in 99 (sm_86, 89, 120), 12,000 in 163 (sm_80), 17,500 in 227 (sm_90, 100); six tenths of it
//            under INTEGER, three times it without sums. What does not fit goes through assign_tiles.cu.
// Order      none that matters (assign.cuh). A warp owns entries of every so manieth cluster and adds the rows of a tile to
//            them with lane = entry: no two threads meet, no atomics. Extras by 32-bit atomics in shared memory.
// Bytes      4 n d, weights (8 n or 4 n), labels once (twice where remembered), 4 n for distances; centres and 8 bytes an
//            entry (16 under INTEGER) once a block.
#include "assign.cuh"

#ifndef ROWS  // rows of a thread: a centre's value, once loaded, serves them all
#define ROWS 2
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif
#ifndef K_TILE  // centres at a time, whose chains run side by side
#define K_TILE 8
#endif

// A tile of rows. Features lie an odd number of words apart: lanes are rows when labels are sought, features when sums are.
template <i32 MODE> struct Tile {
    typedef typename WeightOf<MODE>::type Weight;

    i32 rows, pitch, shares;  // `shares` threads share out the centres of a row
    Weight* weight;           // [rows]
    u64* near;                // [shares, rows]: d2 to the nearest of a share's centres, as bits, above its number
    i32* now;                 // [rows]: the cluster that a row is added to, -1 for none
    i32* old;                 // [rows]: the cluster that it leaves, -1 for none
    float* value;             // [d, pitch]

    __device__ void begin(void* memory, i32 n_rows) {
        rows = n_rows, pitch = n_rows + 1, shares = (i32)blockDim.x * ROWS / n_rows;
        weight = (Weight*)memory;
        near = (u64*)(weight + rows);
        now = (i32*)(near + shares * rows);
        old = now + rows;
        value = (float*)(old + rows);
    }

    // Rows low .. low + rows; past the end zeros, whose labels are dropped.
    __device__ void stage(const float* __restrict__ x, i64 n, i64 stride, i32 d, i64 low) {
        const i32 shift = __ffs(rows) - 1;
#pragma unroll 4
        for (i32 j = threadIdx.x; j < d * rows; j += blockDim.x) {
            i32 f = j >> shift;
            i32 r = j & (rows - 1);
            value[f * pitch + r] = low + r < n ? x[f * stride + low + r] : 0.0f;
        }
    }

    // Every `shares`-th group of centres, against ROWS rows a lane.
    __device__ void seek(const float* centres, i32 k, i32 d) {
        const i32 warp = (i32)threadIdx.x / WARP;
        const i32 share = warp % shares;
        const i32 row = warp / shares * (WARP * ROWS) + (i32)threadIdx.x % WARP;
        float best[ROWS];
        i32 nearest[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) best[r] = __uint_as_float(0x7f800000u), nearest[r] = 0;
        for (i32 c = share * K_TILE; c < k; c += shares * K_TILE) {
            float acc[ROWS][K_TILE];
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r)
#pragma unroll
                for (i32 t = 0; t < K_TILE; ++t) acc[r][t] = 0.0f;
#pragma unroll 4
            for (i32 f = 0; f < d; ++f)
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r)
                    chain_tile<K_TILE>(value[f * pitch + row + r * WARP], centres + c * d + f * K_TILE, acc[r]);
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) nearest_of<K_TILE>(acc[r], c, best[r], nearest[r]);
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

// The rows of a tile that changed, into the owned entries of a ledger: a warp has 32 entries of every `classes`-th cluster,
// and where warps are few the entries after these.
template <i32 MODE>
__device__ inline void add_rows(const Tile<MODE>& tile, const Ledger<MODE>& ledger, i32 d, const double* scales,
                                u32& errors) {
    const i32 entries = entries_of(MODE, d);
    const i32 used = d + mass_entries(MODE);
    const i32 chunks = (used + WARP - 1) / WARP;
    const i32 warps = (i32)blockDim.x / WARP;
    const i32 warp = (i32)threadIdx.x / WARP;
    i32 classes = 1;  // a power of two
    while (2 * classes * chunks <= warps) classes *= 2;
    const i32 own = warp & (classes - 1);
    for (i32 e = warp / classes * WARP + (i32)threadIdx.x % WARP; e < used; e += warps / classes * WARP) {
        const double scale = scales[min(e, d - 1)];
        for (i32 r = 0; r < tile.rows; ++r) {
            i32 now = tile.now[r];
            i32 old = tile.old[r];
            bool adds = now >= 0 && (now & (classes - 1)) == own;
            bool takes = old >= 0 && (old & (classes - 1)) == own;
            if (!adds && !takes) continue;
            auto term = e < d ? total_term<MODE>(tile.value[e * tile.pitch + r], tile.weight[r], scale, errors)
                              : mass_term<MODE>(tile.weight[r], e - d);
            if (adds) add_to(ledger.full[now * entries + e], term);
            if (takes) add_to(ledger.full[old * entries + e], negative(term));
        }
    }
}

template <i32 MODE, class Label>
__global__ void assign_staged(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                              i64 stride, i32 d, const float* __restrict__ centres, i32 k,
                              const double* __restrict__ scale, i32 rows, i32 known, i32 wants, i32 window,
                              const Label* labels, i64 label_row, Label* fresh, i64 fresh_row, float* distance,
                              i64* partial, u32* error) {
    u32 errors = 0;
    const i32 sums = wants & WANT_SUMS ? k * entries_of(MODE, d) : 0;
    const i32 extras = extras_of(wants);
    const i32 padded = (k + K_TILE - 1) / K_TILE * K_TILE;
    float* centre = (float*)shared_bytes();
    Ledger<MODE> ledger;
    ledger.begin(centre + padded * d, sums, extras, 1, window);
    double* scales = (double*)ledger.end();
    Tile<MODE> tile;
    tile.begin(scales + d, rows);
    copy_to_shared(centre, centres, padded * d);
    copy_to_shared(scales, scale, d);

    for (i64 low = first_tile(rows); low < n; low += tile_step(rows)) {
        ledger.make_room(rows);
        __syncthreads();
        tile.stage(x, n, stride, d, low);
        __syncthreads();
        tile.seek(centre, k, d);
        __syncthreads();
        for (i32 r = threadIdx.x; r < rows; r += blockDim.x) {
            i64 i = low + r;
            auto weight = i < n ? weight_of<MODE>(w, i, errors) : 0;
            u64 nearest = tile.settle(r);
            float best = __uint_as_float((u32)(nearest >> 32));
            i32 now = (i32)(u32)nearest;
            i32 old = i < n && known ? (i32)labels[label_row * n + i] : -1;
            bool moved = i < n && old != now;
            if (i < n) fresh[fresh_row * n + i] = (Label)now;
            if (i < n && wants & WANT_DISTANCE) distance[i] = best;
            add_votes(ledger, 0, moved);
            if (wants & WANT_INERTIA) add_inertia(ledger, 1, best, weight, errors);
            bool counts = moved && weight != 0;
            tile.weight[r] = weight;
            tile.now[r] = counts ? now : -1;
            tile.old[r] = counts ? old : -1;
        }
        __syncthreads();
        if (wants & WANT_SUMS) add_rows(tile, ledger, d, scales, errors);
    }
    ledger.close(partial);
    if (errors != 0) raise_error(error, errors);
}

#ifdef ALONE
#define INSTANTIATE(MODE)                                                                                             \
    template __global__ void assign_staged<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, i32,        \
                                                     const float*, i32, const double*, i32, i32, i32, i32, const u8*, \
                                                     i64, u8*, i64, float*, i64*, u32*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
#endif
