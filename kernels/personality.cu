// personality.cu - money by customer and category, of which styles of shopping are made.
//
// Computes   category_sums    sums[customer, category] += amount, for each record, modulo 2^64
// Inputs     customer int64 [m], category int32 [m], amount int64 [m]    records, in any order
// Outputs    sums     uint64 [n, c], added to: two's complement, so the host reads int64
//            tally    uint64 [4], records.cuh: records with a code outside the buffer are refused; the magnitude of what was
//                     added tells the host whether a sum may have left int64
// Launch     blocks of whole warps, 1-D over records, grid-stride; shared bytes: BLOCK_SUM_BYTES (512)
// Order      none that matters: integer sums, by 64-bit additions in global memory
// Bytes      20 m, and 8 read and written a record; records in order of their customers share sectors
// Limits     m < 2^32 (tallies of 32-bit parts)
#include "records.cuh"

extern "C" __global__ void category_sums(const i64* __restrict__ customer, const i32* __restrict__ category,
                                         const i64* __restrict__ amount, i64 m, i64 n, i64 categories, u64* sums,
                                         u64* tally) {
    Wide* scratch = (Wide*)shared_bytes();
    u64 magnitude_low = 0, magnitude_high = 0;
    for (i64 i = first_row(); i < m; i += row_step()) {
        i64 c = customer[i];
        i32 g = category[i];
        if (c < 0 || c >= n || g < 0 || g >= categories) {
            refuse(tally, i);
            continue;
        }
        i64 value = amount[i];
        u64 magnitude = magnitude_of(value);
        magnitude_low += (u32)magnitude;
        magnitude_high += magnitude >> 32;
        atomicAdd(sums + c * categories + g, (u64)value);
    }
    tally_block(tally, MAGNITUDE_LOW, magnitude_low, scratch);
    tally_block(tally, MAGNITUDE_HIGH, magnitude_high, scratch);
}
