// cohort.cu - activity bitmaps of customers, their first periods, and triangles of customers and money by age.
//
// Computes   bitmap_marks       bits[customer, period / 64] |= 1 << period % 64, for each record
//            first_active       first[c] = lowest period of customer c, -1 where there is none
//            triangle_counts    counts[p, a] += customers c with first[c] = p who are active in p + a, ages by bit scan
//            revenue_sums       money[p, a] += amounts in p + a of customers with first[c] = p, modulo 2^64
// Inputs     customer int64 [m], period int32 [m], amount int64 [m]     records, in any order
//            bits     uint64 [n, words]    period p is bit p % 64 of word p / 64
//            first    int32 [n]            a negative one leaves the customer out
// Outputs    counts, money   uint64 [P (P + 1) / 2], row p holding the ages 0 .. P - p - 1; added to, as bits are
//            tally           uint64 [4], records.cuh; triangle_counts refuses customers whose first period is P or more,
//            bitmap_marks and revenue_sums refuse records with a code outside their buffers
// Launch     blocks of whole warps, 1-D over records, customers (first_active) or words (triangle_counts), grid-stride.
//            <true> keeps a block's triangle in shared memory, 32-bit words: 4 bytes a cell (triangle_counts), or 512 and 8
//            a cell (revenue_sums; 512 with <false>); <false> adds to global memory. Both give the same sums.
// Order      none that matters: OR, minimum and integer sums. 64-bit sums in shared memory are two 32-bit words: the
//            carry out of the low one is seen by the thread that caused it, and as many are carried in any order.
// Bytes      bitmap_marks 12 m and a word a record; first_active up to 8 n words + 4 n; triangle_counts 8 n words + 4 n;
//            revenue_sums 20 m and a first period a record
// Limits     n, m < 2^32 (tallies of 32-bit parts; 32-bit counts of a block), n words < 2^35, P <= 2^16
#include "records.cuh"

extern "C" __global__ void bitmap_marks(const i64* __restrict__ customer, const i32* __restrict__ period, i64 m, i64 n,
                                        i64 words, u64* bits, u64* tally) {
    for (i64 i = first_row(); i < m; i += row_step()) {
        i64 c = customer[i];
        i32 p = period[i];
        if (c < 0 || c >= n || p < 0 || p >= 64 * words) {
            refuse(tally, i);
            continue;
        }
        atomicOr(bits + c * words + (p >> 6), 1ull << (p & 63));
    }
}

extern "C" __global__ void first_active(const u64* __restrict__ bits, i64 n, i64 words, i32* first) {
    for (i64 c = first_row(); c < n; c += row_step()) {
        i32 found = -1;
        for (i32 w = 0; w < words && found < 0; ++w) {
            u64 word = bits[c * words + w];
            if (word != 0) found = 64 * w + __ffsll((i64)word) - 1;
        }
        first[c] = found;
    }
}

// Cell of acquisition period p and age 0 in a packed triangle of P periods: the rows before it have P, P - 1 ... cells.
__device__ inline i64 row_begin(i64 p, i64 n_periods) { return p * (2 * n_periods - p + 1) / 2; }

// Bits of word `word` from period `start` on and before `n_periods`.
__device__ inline u64 window(u64 bits, i64 word, i64 start, i64 n_periods) {
    if (word == start >> 6) bits &= ~0ull << (start & 63);
    i64 left = n_periods - 64 * word;
    if (left < 64) bits &= left <= 0 ? 0ull : (1ull << left) - 1;
    return bits;
}

template <bool PRIVATE>
__global__ void triangle_counts(const u64* __restrict__ bits, const i32* __restrict__ first, i64 n, i64 words,
                                i64 n_periods, u64* counts, u64* tally) {
    u32* mine = (u32*)shared_bytes();
    i64 cells = row_begin(n_periods, n_periods);
    if (PRIVATE) {
        for (u32 cell = threadIdx.x; cell < cells; cell += blockDim.x) mine[cell] = 0;
        __syncthreads();
    }

    // A thread takes a word: neighbours read neighbouring words. Words are counted on, for want of a cheap division.
    i64 c = first_row() / words, c_step = row_step() / words;
    i64 w = first_row() % words, w_step = row_step() % words;
    for (; c < n; c += c_step + (w + w_step >= words), w += w + w_step >= words ? w_step - words : w_step) {
        i32 start = first[c];
        if (start >= n_periods) refuse(tally, c);
        if (start >= n_periods || start < 0 || w < start >> 6) continue;
        u64 active = window(bits[c * words + w], w, start, n_periods);
        i64 cell = row_begin(start, n_periods) + 64 * w - start;
        for (; active != 0; active &= active - 1) {
            i64 at = cell + __ffsll((i64)active) - 1;
            if (PRIVATE)
                atomicAdd(mine + at, 1u);
            else
                atomicAdd(counts + at, 1ull);
        }
    }

    if (PRIVATE) {
        __syncthreads();
        for (u32 cell = threadIdx.x; cell < cells; cell += blockDim.x)
            if (mine[cell] != 0) atomicAdd(counts + cell, (u64)mine[cell]);
    }
}

template __global__ void triangle_counts<true>(const u64*, const i32*, i64, i64, i64, u64*, u64*);
template __global__ void triangle_counts<false>(const u64*, const i32*, i64, i64, i64, u64*, u64*);

template <bool PRIVATE>
__global__ void revenue_sums(const i64* __restrict__ customer, const i32* __restrict__ period,
                             const i64* __restrict__ amount, const i32* __restrict__ first, i64 m, i64 n, i64 n_periods,
                             u64* money, u64* tally) {
    Wide* scratch = (Wide*)shared_bytes();
    i64 cells = row_begin(n_periods, n_periods);
    u32* low = (u32*)(shared_bytes() + BLOCK_SUM_BYTES);
    u32* high = low + cells;
    if (PRIVATE) {
        for (u32 cell = threadIdx.x; cell < cells; cell += blockDim.x) low[cell] = 0, high[cell] = 0;
        __syncthreads();
    }

    u64 left_out = 0, magnitude_low = 0, magnitude_high = 0;
    for (i64 i = first_row(); i < m; i += row_step()) {
        i64 c = customer[i];
        i32 p = period[i];
        i64 start = c < 0 || c >= n ? n_periods : first[c];
        if (p < 0 || p >= n_periods || start >= n_periods) {
            refuse(tally, i);
            continue;
        }
        if (start < 0 || p < start) {
            left_out += 1;
            continue;
        }
        u64 value = (u64)amount[i];
        u64 magnitude = magnitude_of((i64)value);
        magnitude_low += (u32)magnitude;
        magnitude_high += magnitude >> 32;
        i64 cell = row_begin(start, n_periods) + p - start;
        if (PRIVATE) {
            u32 old = atomicAdd(low + cell, (u32)value);
            u32 carried = (u32)(value >> 32) + (old + (u32)value < old ? 1u : 0u);
            if (carried != 0) atomicAdd(high + cell, carried);
        } else {
            atomicAdd(money + cell, value);
        }
    }

    tally_block(tally, LEFT_OUT, left_out, scratch);
    tally_block(tally, MAGNITUDE_LOW, magnitude_low, scratch);
    tally_block(tally, MAGNITUDE_HIGH, magnitude_high, scratch);  // its barriers end the adding, too
    if (PRIVATE) {
        for (u32 cell = threadIdx.x; cell < cells; cell += blockDim.x) {
            u64 sum = (u64)high[cell] << 32 | low[cell];
            if (sum != 0) atomicAdd(money + cell, sum);
        }
    }
}

template __global__ void revenue_sums<true>(const i64*, const i32*, const i64*, const i32*, i64, i64, i64, u64*, u64*);
template __global__ void revenue_sums<false>(const i64*, const i32*, const i64*, const i32*, i64, i64, i64, u64*, u64*);
