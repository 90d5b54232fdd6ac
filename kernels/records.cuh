// records.cuh - what the kernels on coded records share: the tally of a pass, and sums that wrap as int64.
//
// A record is a line of a transaction table whose customer, period or category is a code 0, 1, 2 ... Kernels never stop at
// a bad code: they leave the record out and note the lowest number among those refused, so that the host can name it.
#pragma once

#include "common.cuh"

// Words of a tally, uint64; the host starts it with all ones and zeros (gpuseg.engines.device.records).
enum Tally {
    REFUSED = 0,         // lowest number of a refused record
    LEFT_OUT = 1,        // records that are fine but do not count
    MAGNITUDE_LOW = 2,   // sum of the low 32 bits of |amount| ...
    MAGNITUDE_HIGH = 3,  // ... and of the high 32 bits: below 2^63 together, no order of the records leaves int64
};

__device__ inline void refuse(u64* tally, i64 record) { atomicMin(tally + REFUSED, (u64)record); }

__device__ inline u64 magnitude_of(i64 amount) { return amount < 0 ? 0ull - (u64)amount : (u64)amount; }

// Adds a block's share of a word of the tally; every thread of the block takes part.
__device__ inline void tally_block(u64* tally, Tally word, u64 value, Wide* scratch) {
    Wide sum = block_sum(Wide{0, value}, scratch);
    if (threadIdx.x == 0 && sum.lo != 0) atomicAdd(tally + word, sum.lo);
}
