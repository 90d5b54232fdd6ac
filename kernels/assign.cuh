// assign.cuh - what the routes of one pass of Lloyd's algorithm share: models, exact sums, terms, chains.
//
// Routes     assign.cu: any number of models over one read of x, rows in registers (up to 64 features).
//            assign_staged.cu: any number of models over one read of x, a tile of rows in shared memory; any k and d.
//            assign_tiles.cu: x once more, for sums that find no room in shared memory beside it.
//            The host takes the first that fits (gpuseg.engines.device.assign_launch). assign_merge.cu adds up the blocks.
// Answer     label(i) = argmin_c d2(x_i, c), ties to the lowest c, with d2 the chain of ONE_ANSWER section 5: acc = 0;
//            for f ascending: t = x_f - c_f, acc = fma(t, t, acc), float32. And the integers of gpuseg.core.lloyd.ClusterSums:
//              NONE      total = sum x_q             mass = rows               inertia = exponent bins of d2
//              INTEGER   total = sum w x_q           mass = sum w              inertia = w times the bins of d2
//              REAL      total = sum rint(w x s)     mass = 32 bins of w       inertia = bins of float32(w d2)
//            x_q = rint(x s), half to even. A row of weight 0 gets a label and counts nowhere else. With remembered labels
//            and sums only rows whose label changed are added: plus to the new cluster, minus from the old one.
// Partials   int64 [gridDim.x, planes, entries]: what the rows of each block add to each entry; high halves of 128 bits
//            are a second plane, under INTEGER. Entries: for each cluster d totals and the mass, or some of these;
//            then for each model the rows that moved and, under WANT_INERTIA, 32 bins.
// Order      none that matters: integer sums. No 64-bit and no floating-point atomics, no global ones but the error word.
// Limits     n < 2^40; |x s| and |w x s| below 2^40; integral w < 2^31, sum w < 2^47; at most 2^22 rows a block, so that
//            terms of 40 bits add up in 64.
#pragma once

#include "common.cuh"

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

__device__ inline i32 extras_of(i32 wants) { return wants & WANT_INERTIA ? 1 + N_BINS : 1; }

// Doubles in front of a ledger, which wants 16-byte alignment.
__device__ inline i32 even(i32 count) { return (count + 1) & ~1; }

// Rows, clusters and copies are block-uniform everywhere below: every thread of a block comes to every barrier.

// The sums of a block, one wide sum an entry. The first `owned` of them are added to by the one thread that owns them;
// to the others any thread adds: a term is cut into parts of 20 bits, each added with a 32-bit atomic (`copies` of them, a
// few lanes each, keep lanes apart) and carried to the wide sum before `window` <= 2047 rows have passed.
template <i32 MODE> struct Ledger {
    typedef typename TermOf<MODE>::type Term;
    enum { PARTS = MODE == INTEGER ? 4 : 2, PART_BITS = 20, PLANES = MODE == INTEGER ? 2 : 1 };
    enum : u32 { PART_MASK = (1u << PART_BITS) - 1u };

    Term* full;
    i32* parts;  // [PARTS, copies, entries]
    i32 owned, entries, copies;
    i32 window;  // rows that the parts take, at most 2047: 2047 * 2^20 < 2^31
    i32 in_parts;

    __device__ void begin(void* memory, i32 n_owned, i32 n_entries, i32 n_copies, i32 n_window) {
        full = (Term*)memory;
        parts = (i32*)(full + n_owned + n_entries);
        owned = n_owned, entries = n_entries, copies = n_copies, window = n_window;
        in_parts = 0;
        for (i32 e = threadIdx.x; e < owned + entries; e += blockDim.x) full[e] = Term{};
        for (i32 p = threadIdx.x; p < PARTS * copies * entries; p += blockDim.x) parts[p] = 0;
    }

    // What lies behind it.
    __device__ void* end() const { return parts + PARTS * copies * entries; }

    // This thread's copy of the first entry that has parts.
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
    __device__ void make_room(i32 rows) {
        if (in_parts + rows > window) carry();
        in_parts += rows;
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
            add_parts(full[owned + e], sum);
        }
        __syncthreads();
        in_parts = 0;
    }
    __device__ static void add_parts(i64& to, const i64* sum) { to += sum[0] + sum[1] * (1 << PART_BITS); }
    __device__ static void add_parts(Wide& to, const i64* sum) {
        for (i32 p = 0; p < PARTS; ++p) to = wide_add(to, wide(sum[p], PART_BITS * p));
    }

    // Wide sums into this block's partials of a group.
    __device__ void close(i64* partial, i32 group = 0) {
        carry();
        partial += partial_at(group) * (PLANES * (owned + entries));
        for (i32 e = threadIdx.x; e < owned + entries; e += blockDim.x) write(partial + e, full[e]);
    }
    __device__ void write(i64* to, i64 sum) const { *to = sum; }
    __device__ void write(i64* to, Wide sum) const { *to = (i64)sum.lo, to[owned + entries] = sum.hi; }
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
        if (to) ledger.put(to + one.bin, one.part);
        if (from) ledger.put(from + one.bin, negative(one.part));
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
    Wide term = Wide{0, one.part};
    if constexpr (MODE == INTEGER) term = wide_product(one.part, w);
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

// One feature of a row against TILE centres that lie side by side, 16-byte aligned.
template <i32 TILE> __device__ inline void chain_tile(float x, const float* centres, float* acc) {
    static_assert(TILE % 4 == 0, "centres are loaded four at a time");
#pragma unroll
    for (i32 t = 0; t < TILE; t += 4) {
        float4 c = *(const float4*)(centres + t);
        acc[t] = chain(x, c.x, acc[t]);
        acc[t + 1] = chain(x, c.y, acc[t + 1]);
        acc[t + 2] = chain(x, c.z, acc[t + 2]);
        acc[t + 3] = chain(x, c.w, acc[t + 3]);
    }
}

// Running minimum over TILE centres, ascending; strict.
template <i32 TILE> __device__ inline void nearest_of(const float* acc, i32 first, float& best, i32& label) {
#pragma unroll
    for (i32 t = 0; t < TILE; ++t)
        if (acc[t] < best) best = acc[t], label = first + t;
}

template <class T> __device__ inline void copy_to_shared(T* to, const T* __restrict__ from, i32 count) {
    for (i32 j = threadIdx.x; j < count; j += blockDim.x) to[j] = from[j];
}
