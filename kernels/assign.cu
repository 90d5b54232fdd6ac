// assign.cu - one pass of Lloyd's algorithm over a block: nearest centre of every row, exact sums of every cluster.
//
// Computes   label(i) = argmin_c d2(x_i, c), ties to the lowest c, with d2 the chain of ONE_ANSWER section 5: acc = 0;
//            for f ascending: t = x_f - c_f, acc = fma(t, t, acc), float32. And the integers of gpuseg.core.lloyd.ClusterSums:
//              NONE      total = sum x_q             mass = rows               inertia = exponent bins of d2
//              INTEGER   total = sum w x_q           mass = sum w              inertia = w times the bins of d2
//              REAL      total = sum rint(w x s)     mass = 32 bins of w       inertia = bins of float32(w d2)
//            x_q = rint(x s), half to even. A row of weight 0 gets a label and counts nowhere else.
// Routes     assign_rows: any number of models over one read of x, for what fits shared memory (FEATURES <= 64). A model
//            that is remembered (Model.known) adds only rows whose label changed: plus to the new cluster, minus from the
//            old one; assign_merge adds the change to the sums of the last pass, which never leave the device.
//            Else, a model at a time: assign_labels (labels alone; any d, any k), assign_sums (tiles of clusters and
//            entries), adopt_labels.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            centres  float32 [groups, d, K_TILE]: a model's centres in groups of K_TILE, filled up with infinity,
//                     which is nearest to nothing
//            scale    float64 [d], powers of two
//            models   Model [n_models]
// Outputs    labels   uint8, uint16 or int32 [.., n]: row Model.label_row; read under Model.known, written where it changed
//            distance float32 [n]        chain d2 to the own centre, under WANT_DISTANCE (one model)
//            partial_hi, partial_lo      int64, uint64 [gridDim.x, entries]: 128-bit sums of each block; assign_merge adds them.
//                     Entries: for each cluster of each model d totals and the mass, an odd number together (entries_of);
//                     then for each model the rows that moved and, under WANT_INERTIA, 32 bins.
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D, grid.x over rows in a grid-stride loop; ROWS rows a thread in assign_rows. Shared
//            bytes: gpuseg.engines.device.assign, which mirrors the layout below. assign_merge: 16 a thread.
// Order      none that matters: integer sums. A term is cut into parts of 20 bits, each added with a 32-bit atomic in shared
//            memory (copies of the sums, a few lanes each, keep lanes apart) and carried to 64 or 128 bits before
//            `window` <= 2047 rows have passed; no 64-bit and no floating-point atomics, no global ones but the error word.
// Bytes      assign_rows: 4 n d, weights (8 n or 4 n), and a model: its labels once (twice where remembered), 4 n for
//            distances; centres and 16 bytes an entry once a block. assign_labels reads x ceil(k / K_TILE) times, through
//            the caches; assign_sums reads labels once a tile, and x of the rows that changed once (twice if their old
//            cluster is in another tile).
// Limits     n < 2^40; |x s| and |w x s| below 2^40; integral w < 2^31, sum w < 2^47.
#include "common.cuh"

#ifndef FEATURES  // d of assign_rows: a row's values stay in registers
#define FEATURES 16
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif
#ifndef ROWS  // rows of a thread in assign_rows: a centre's value, once loaded, serves them all
#define ROWS 4
#endif
#ifndef K_TILE  // centres at a time, whose chains run side by side
#define K_TILE 4
#endif
static_assert(K_TILE % 4 == 0, "centres are loaded four at a time");

typedef unsigned char u8;
typedef unsigned short u16;

enum { WANT_SUMS = 1, WANT_INERTIA = 2, WANT_DISTANCE = 4 };

struct Model {
    i64 k;           // clusters
    i64 group;       // first group of its centres
    i64 cluster;     // first of its clusters among those of the launch
    i64 label_row;   // row of its labels
    i64 known;       // labels and sums of the last pass hold
    i64 remembered;  // first of its entries among the remembered sums
};

template <i32 MODE> struct WeightOf { typedef i64 type; };
template <> struct WeightOf<REAL> { typedef float type; };

// A term of the sums: x_q is below 2^40, w x_q below 2^71.
template <i32 MODE> struct TermOf { typedef i64 type; };
template <> struct TermOf<INTEGER> { typedef Wide type; };

__device__ inline i32 mass_entries(i32 mode) { return mode == REAL ? N_BINS : 1; }

// Entries of a cluster: odd, so that neighbouring clusters start in different banks of shared memory.
__device__ inline i32 entries_of(i32 mode, i32 d) { return (d + mass_entries(mode)) | 1; }

// Doubles in front of a ledger, which wants 16-byte alignment.
__device__ inline i32 even(i32 count) { return (count + 1) & ~1; }

// Rows, clusters and copies are block-uniform everywhere below: every thread of a block comes to every barrier.

// The sums of a block: `copies` of 32-bit parts that threads add to, and one wide sum an entry.
template <i32 MODE> struct Ledger {
    typedef typename TermOf<MODE>::type Term;
    enum { PARTS = MODE == INTEGER ? 4 : 2, PART_BITS = 20 };
    enum : u32 { PART_MASK = (1u << PART_BITS) - 1u };

    Term* full;
    i32* parts;  // [PARTS, copies, entries]
    i32 entries, copies;
    i32 window;         // rows that the parts take, at most 2047: 2047 * 2^20 < 2^31
    i64 reach;          // rows that `full` takes, at most 2^22: 2^22 * 2^40 < 2^63
    i32 in_parts;
    i64 in_full;
    bool closed;

    __device__ void begin(unsigned char* memory, i32 n_entries, i32 n_copies, i32 n_window, i64 n_reach) {
        full = (Term*)memory;
        parts = (i32*)(full + n_entries);
        entries = n_entries, copies = n_copies, window = n_window, reach = n_reach;
        in_parts = 0, in_full = 0, closed = false;
        for (i32 e = threadIdx.x; e < entries; e += blockDim.x) full[e] = Term{};
        for (i32 p = threadIdx.x; p < PARTS * copies * entries; p += blockDim.x) parts[p] = 0;
    }

    // This thread's copy of entry 0.
    __device__ i32* mine() const { return parts + (i32)(threadIdx.x % (u32)copies) * entries; }

    __device__ void put(i32* entry, i64 term) const {
        static_assert(MODE != INTEGER, "two parts hold 40 bits");
        atomicAdd(entry, (i32)((u32)term & PART_MASK));
        atomicAdd(entry + copies * entries, (i32)(term >> PART_BITS));
    }
    __device__ void put(i32* entry, Wide term) const {
        static_assert(MODE == INTEGER, "four parts hold 72 bits");
        i32 plane = copies * entries;
        i32 part[PARTS] = {(i32)((u32)term.lo & PART_MASK), (i32)((u32)(term.lo >> 20) & PART_MASK),
                           (i32)((u32)(term.lo >> 40) & PART_MASK), (i32)((u64)term.hi << 4 | term.lo >> 60)};
#pragma unroll
        for (i32 p = 0; p < PARTS; ++p)
            if (part[p] != 0) atomicAdd(entry + p * plane, part[p]);
    }

    // Before `rows` more rows are added: what they could overflow is carried on.
    __device__ void make_room(i32 rows, i64* partial_hi, u64* partial_lo) {
        if (in_parts + rows > window) carry();
        if (in_full + rows > reach) close(partial_hi, partial_lo);
        in_parts += rows;
        in_full += rows;
    }

    // Parts into wide sums.
    __device__ void carry() {
        __syncthreads();
        for (i32 e = threadIdx.x; e < entries; e += blockDim.x) {
            i64 sum[PARTS];
#pragma unroll
            for (i32 p = 0; p < PARTS; ++p) {
                sum[p] = 0;
#pragma unroll 1
                for (i32 c = 0; c < copies; ++c) {
                    i32* part = parts + (p * copies + c) * entries + e;
                    sum[p] += *part;
                    *part = 0;
                }
            }
            add_parts(full[e], sum);
        }
        __syncthreads();
        in_parts = 0;
    }
    __device__ static void add_parts(i64& to, const i64* sum) { to += sum[0] + sum[1] * (1 << PART_BITS); }
    __device__ static void add_parts(Wide& to, const i64* sum) {
        for (i32 p = 0; p < PARTS; ++p) to = wide_add(to, wide(sum[p], PART_BITS * p));
    }

    // Wide sums into this block's partials.
    __device__ void close(i64* partial_hi, u64* partial_lo) {
        carry();
        for (i32 e = threadIdx.x; e < entries; e += blockDim.x) {
            Wide sum = as_wide(full[e]);
            if (closed) sum = wide_add(sum, Wide{partial_hi[e], partial_lo[e]});
            partial_hi[e] = sum.hi, partial_lo[e] = sum.lo;
            full[e] = Term{};
        }
        closed = true;
        in_full = 0;
        __syncthreads();
    }
    __device__ static Wide as_wide(i64 value) { return wide(value); }
    __device__ static Wide as_wide(Wide value) { return value; }
};

__device__ inline i64 negative(i64 term) { return -term; }
__device__ inline Wide negative(Wide term) { return wide_add(Wide{~term.hi, ~term.lo}, Wide{0, 1}); }

// fixed_point of common.cuh, but what does not fit is only noted: a kernel raises its notes once, at its end.
__device__ inline i64 fixed_or_zero(double scaled, u32& errors) {
    bool fits = fabs(scaled) < 1099511627776.0;
    if (!fits) errors |= ERROR_RANGE;
    return fits ? __double2ll_rn(scaled) : 0;
}

// Weight of a row; a weight that must not be counts as 0.
template <i32 MODE> __device__ inline i64 weight_of(const i64* w, i64 i, u32& errors) {
    if (MODE == NONE) return 1;
    i64 weight = w[i];
    if ((u64)weight >> 31 == 0) return weight;
    errors |= ERROR_WEIGHT;
    return 0;
}
template <i32 MODE> __device__ inline float weight_of(const float* w, i64 i, u32& errors) {
    float weight = w[i];
    if (weight >= 0.0f && __float_as_uint(weight) != 0x7f800000u) return weight;
    errors |= ERROR_WEIGHT;
    return 0.0f;
}

// What a value adds to its feature's total.
template <i32 MODE> __device__ inline i64 total_term(float x, float w, double scale, u32& errors) {
    return fixed_or_zero(__dmul_rn(__dmul_rn((double)w, (double)x), scale), errors);
}
template <i32 MODE>
__device__ inline typename TermOf<MODE>::type total_term(float x, i64 w, double scale, u32& errors) {
    i64 q = fixed_or_zero(__dmul_rn((double)x, scale), errors);
    if constexpr (MODE == INTEGER)
        return wide_product(q, w);
    else
        return q;
}

// A row's weight, into the mass entries of its cluster and, where there is one, out of those of its old one.
template <i32 MODE>
__device__ inline void put_mass(const Ledger<MODE>& ledger, i32* to, i32* from, typename WeightOf<MODE>::type w) {
    if constexpr (MODE == NONE) {
        if (to) atomicAdd(to, 1);
        if (from) atomicAdd(from, -1);
    } else if constexpr (MODE == INTEGER) {
        if (to) ledger.put(to, wide(w));
        if (from) ledger.put(from, wide(-w));
    } else {
        BinPart one = bin_part(w);
        if (to) ledger.put(to + one.bin, (i64)one.part);
        if (from) ledger.put(from + one.bin, -(i64)one.part);
    }
}

// A whole warp adds 1 for each lane that votes.
template <i32 MODE> __device__ inline void add_votes(const Ledger<MODE>& ledger, i32 entry, bool vote) {
    u32 votes = __ballot_sync(FULL_WARP, vote);
    if (votes != 0 && threadIdx.x % WARP == 0) atomicAdd(ledger.mine() + entry, (i32)__popc(votes));
}

// A whole warp adds its weighted distances to 32 entries: one exponent bin after the other, of those that occur.
template <i32 MODE>
__device__ inline void add_inertia(const Ledger<MODE>& ledger, i32 entry, float d2, typename WeightOf<MODE>::type w,
                                   u32& errors) {
    bool counts = w != 0;
    if (MODE == REAL) d2 = __double2float_rn(__dmul_rn((double)w, (double)d2));
    if (counts && !(d2 < __uint_as_float(0x7f800000u))) {
        errors |= ERROR_RANGE;
        counts = false;
    }
    BinPart one = bin_part(d2);
    Wide term = MODE == INTEGER ? wide_product((i64)one.part, (i64)w) : Wide{0, one.part};
    u32 left = __ballot_sync(FULL_WARP, counts);
    while (left != 0) {
        i32 bin = __shfl_sync(FULL_WARP, one.bin, __ffs((i32)left) - 1);
        bool here = counts && one.bin == bin;
        Wide sum = warp_sum(here ? term : wide_zero());
        if (threadIdx.x % WARP == 0) {
            if constexpr (MODE == INTEGER)
                ledger.put(ledger.mine() + entry + bin, sum);
            else
                ledger.put(ledger.mine() + entry + bin, (i64)sum.lo);
        }
        left &= ~__ballot_sync(FULL_WARP, here);
    }
}

__device__ inline float chain(float x, float c, float acc) {
    float t = __fsub_rn(x, c);
    return __fmaf_rn(t, t, acc);
}

// One feature of a row against K_TILE centres that lie side by side, 16-byte aligned.
__device__ inline void chain_tile(float x, const float* centres, float* acc) {
#pragma unroll
    for (i32 t = 0; t < K_TILE; t += 4) {
        float4 c = *(const float4*)(centres + t);
        acc[t] = chain(x, c.x, acc[t]);
        acc[t + 1] = chain(x, c.y, acc[t + 1]);
        acc[t + 2] = chain(x, c.z, acc[t + 2]);
        acc[t + 3] = chain(x, c.w, acc[t + 3]);
    }
}

// Running minimum over K_TILE centres, ascending; strict.
__device__ inline void nearest_of(const float* acc, i32 first, float& best, i32& label) {
#pragma unroll
    for (i32 t = 0; t < K_TILE; ++t)
        if (acc[t] < best) best = acc[t], label = first + t;
}

template <class T> __device__ inline void copy_to_shared(T* to, const T* __restrict__ from, i32 count) {
    for (i32 j = threadIdx.x; j < count; j += blockDim.x) to[j] = from[j];
}

template <i32 MODE, class Label>
__global__ void assign_rows(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                            i64 stride, const float* __restrict__ centres, i32 groups, i32 clusters,
                            const double* __restrict__ scale, const i64* __restrict__ models, i32 n_models, i32 wants,
                            i32 copies, i32 window, i64 reach, Label* labels, float* distance, i64* partial_hi,
                            u64* partial_lo, u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const float infinity = __uint_as_float(0x7f800000u);
    const i32 entries = wants & WANT_SUMS ? entries_of(MODE, FEATURES) : 0;
    const i32 extras = wants & WANT_INERTIA ? 1 + N_BINS : 1;
    const i32 all = clusters * entries + n_models * extras;
    partial_hi += (i64)blockIdx.x * all;
    partial_lo += (i64)blockIdx.x * all;

    float* centre = (float*)shared_bytes();
    Model* model = (Model*)(centre + groups * FEATURES * K_TILE);
    double* scales = (double*)(model + n_models);
    Ledger<MODE> ledger;
    ledger.begin((unsigned char*)(scales + even(FEATURES)), all, copies, window, reach);
    copy_to_shared(centre, centres, groups * FEATURES * K_TILE);
    copy_to_shared((i64*)model, models, n_models * (i32)(sizeof(Model) / sizeof(i64)));
    copy_to_shared(scales, scale, FEATURES);
    __syncthreads();

    const i32 tile = (i32)blockDim.x * ROWS;
    for (i64 low = (i64)blockIdx.x * tile; low < n; low += (i64)gridDim.x * tile) {
        ledger.make_room(tile, partial_hi, partial_lo);
        float value[ROWS][FEATURES];
        Weight weight[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) {
            i64 i = low + (i64)r * blockDim.x + threadIdx.x;
            weight[r] = i < n ? weight_of<MODE>(w, i, errors) : (Weight)0;
#pragma unroll
            for (i32 f = 0; f < FEATURES; ++f) value[r][f] = i < n ? x[f * stride + i] : 0.0f;
        }
        for (i32 m = 0; m < n_models; ++m) {
            const Model one = model[m];
            float best[ROWS];
            i32 label[ROWS];
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) best[r] = infinity, label[r] = 0;
            const float* group = centre + one.group * (FEATURES * K_TILE);
            for (i32 c = 0; c < (i32)one.k; c += K_TILE, group += FEATURES * K_TILE) {
                float acc[ROWS][K_TILE];
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r)
#pragma unroll
                    for (i32 t = 0; t < K_TILE; ++t) acc[r][t] = 0.0f;
#pragma unroll
                for (i32 f = 0; f < FEATURES; ++f)
#pragma unroll
                    for (i32 r = 0; r < ROWS; ++r) chain_tile(value[r][f], group + f * K_TILE, acc[r]);
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) nearest_of(acc[r], c, best[r], label[r]);
            }

            const i32 extra = clusters * entries + m * extras;
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) {
                i64 i = low + (i64)r * blockDim.x + threadIdx.x;
                Label* at = labels + one.label_row * n + i;
                i32 old = i < n && one.known ? (i32)*at : -1;
                bool moved = i < n && old != label[r];
                if (moved) *at = (Label)label[r];
                if (i < n && wants & WANT_DISTANCE) distance[i] = best[r];
                add_votes(ledger, extra, moved);
                if (wants & WANT_INERTIA) add_inertia(ledger, extra + 1, best[r], weight[r], errors);
                if (!(wants & WANT_SUMS) || !moved || weight[r] == 0) continue;
                i32* to = ledger.mine() + ((i32)one.cluster + label[r]) * entries;
                i32* from = ledger.mine() + ((i32)one.cluster + old) * entries;
#pragma unroll
                for (i32 f = 0; f < FEATURES; ++f) {
                    auto term = total_term<MODE>(value[r][f], weight[r], scales[f], errors);
                    ledger.put(to + f, term);
                    if (old >= 0) ledger.put(from + f, negative(term));
                }
                put_mass(ledger, to + FEATURES, old >= 0 ? from + FEATURES : nullptr, weight[r]);
            }
        }
    }
    ledger.close(partial_hi, partial_lo);
    if (errors != 0) raise_error(error, errors);
}

// Labels of one model of any k over any d: a tile of K_TILE centres and `chunk` features in shared memory at a time. The
// old labels are in row `label_row` of `labels`, the new ones go to row `fresh_row` of `fresh`: the same or another place.
template <i32 MODE, class Label>
__global__ void assign_labels(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                              i64 stride, i32 d, const float* __restrict__ centres, i32 k, i32 chunk, i32 known,
                              i32 wants, i32 window, i64 reach, const Label* labels, i64 label_row, Label* fresh,
                              i64 fresh_row, float* distance, i64* partial_hi, u64* partial_lo, u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const i32 extras = wants & WANT_INERTIA ? 1 + N_BINS : 1;
    partial_hi += (i64)blockIdx.x * extras;
    partial_lo += (i64)blockIdx.x * extras;
    float* centre = (float*)shared_bytes();
    Ledger<MODE> ledger;
    ledger.begin((unsigned char*)(centre + chunk * K_TILE), extras, 1, window, reach);
    __syncthreads();

    for (i64 low = (i64)blockIdx.x * blockDim.x; low < n; low += row_step()) {
        ledger.make_room((i32)blockDim.x, partial_hi, partial_lo);
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
                copy_to_shared(centre, group + (i64)first * K_TILE, some * K_TILE);
                __syncthreads();
                if (i < n)
                    for (i32 f = 0; f < some; ++f)
                        chain_tile(x[(first + f) * stride + i], centre + f * K_TILE, acc);
            }
            nearest_of(acc, c, best, label);
        }
        i32 old = i < n && known ? (i32)labels[label_row * n + i] : -1;
        if (i < n) fresh[fresh_row * n + i] = (Label)label;
        if (i < n && wants & WANT_DISTANCE) distance[i] = best;
        add_votes(ledger, 0, i < n && old != label);
        if (wants & WANT_INERTIA) add_inertia(ledger, 1, best, weight, errors);
    }
    ledger.close(partial_hi, partial_lo);
    if (errors != 0) raise_error(error, errors);
}

// Sums of one model, or with `known` their change from `labels` to `fresh`. grid.y goes over tiles of `tile_k` clusters and
// `tile_e` of their entries, clusters first. Partials are [tiles, gridDim.x, tile_k * tile_e].
template <i32 MODE, class Label>
__global__ void assign_sums(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w, i64 n,
                            i64 stride, i32 d, i32 k, const double* __restrict__ scale, i32 tile_k, i32 tile_e,
                            i32 tiles, i32 known, i32 copies, i32 window, i64 reach, const Label* labels,
                            i64 label_row, const Label* fresh, i64 fresh_row, i64* partial_hi, u64* partial_lo,
                            u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const i32 tiles_k = (k + tile_k - 1) / tile_k;
    double* scales = (double*)shared_bytes();
    for (i32 t = blockIdx.y; t < tiles; t += gridDim.y) {
        const i32 first_k = t % tiles_k * tile_k;
        const i32 first_e = t / tiles_k * tile_e;
        const i32 features = min(max(d - first_e, 0), tile_e);
        i64 at = ((i64)t * gridDim.x + blockIdx.x) * tile_k * tile_e;
        Ledger<MODE> ledger;
        ledger.begin((unsigned char*)(scales + even(tile_e)), tile_k * tile_e, copies, window, reach);
        copy_to_shared(scales, scale + first_e, features);
        __syncthreads();

        for (i64 low = (i64)blockIdx.x * blockDim.x; low < n; low += row_step()) {
            ledger.make_room((i32)blockDim.x, partial_hi + at, partial_lo + at);
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
        ledger.close(partial_hi + at, partial_lo + at);
    }
    if (errors != 0) raise_error(error, errors);
}

// New labels of one model in place of the old.
template <class Label>
__global__ void adopt_labels(const Label* __restrict__ fresh, i64 n, Label* __restrict__ labels, i64 label_row) {
    for (i64 i = first_row(); i < n; i += row_step()) labels[label_row * n + i] = fresh[i];
}

// Sums over blocks. The partials of entry e = 0 .. size - 1 of tile blockIdx.y lie `size` apart, `blocks` of them. Where
// they go is said by the models: entry e is cluster e / tile_e of the launch (for one model: of its tile), and the
// `entries` of a cluster lie side by side among the remembered sums; what passes `sums` are extras, which nothing
// remembers. 32 entries a block of the grid, whose warps share out the partials.
extern "C" __global__ void assign_merge(const i64* __restrict__ partial_hi, const u64* __restrict__ partial_lo,
                                        i64 blocks, i32 size, i32 sums, i32 tiles, i32 tile_k, i32 tile_e, i32 entries,
                                        const i64* __restrict__ models, i32 n_models, i64* sums_hi, u64* sums_lo,
                                        i64* extra_hi, u64* extra_lo) {
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
                for (i64 b = warp; b < blocks; b += warps) {
                    i64 at = ((i64)t * blocks + b) * size + e;
                    sum = wide_add(sum, Wide{partial_hi[at], partial_lo[at]});
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
                    i64 c = (i64)(t % tiles_k) * tile_k + e / tile_e;
                    i64 entry = (i64)(t / tiles_k) * tile_e + e % tile_e;
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

#ifdef ALONE
#define INSTANTIATE(MODE, LABEL)                                                                                       \
    template __global__ void assign_rows<MODE, LABEL>(                                                                 \
        const float*, const WeightOf<MODE>::type*, i64, i64, const float*, i32, i32, const double*, const i64*, i32,   \
        i32, i32, i32, i64, LABEL*, float*, i64*, u64*, u32*);                                                         \
    template __global__ void assign_labels<MODE, LABEL>(                                                               \
        const float*, const WeightOf<MODE>::type*, i64, i64, i32, const float*, i32, i32, i32, i32, i32, i64,          \
        const LABEL*, i64, LABEL*, i64, float*, i64*, u64*, u32*);                                                     \
    template __global__ void assign_sums<MODE, LABEL>(                                                                 \
        const float*, const WeightOf<MODE>::type*, i64, i64, i32, i32, const double*, i32, i32, i32, i32, i32, i32,    \
        i64, const LABEL*, i64, const LABEL*, i64, i64*, u64*, u32*);
INSTANTIATE(NONE, u8)
INSTANTIATE(INTEGER, u8)
INSTANTIATE(REAL, u8)
template __global__ void adopt_labels<u8>(const u8*, i64, u8*, i64);
#endif
