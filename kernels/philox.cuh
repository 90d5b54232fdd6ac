// philox.cuh - Philox 4x32-10 by row identity: the same integers as gpuseg/core/philox.py.
//
// key = (seed low, seed high), counter = (identity low, identity high, index, stage), 32 bits each. Source: Salmon,
// Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "common.cuh"

struct Philox {
    u32 w0, w1, w2, w3;
};

__device__ inline Philox philox4x32(Philox counter, u32 key0, u32 key1) {
    for (i32 round = 0; round < 10; ++round) {
        u64 left = (u64)0xD2511F53u * counter.w0;
        u64 right = (u64)0xCD9E8D57u * counter.w2;
        counter = Philox{(u32)(right >> 32) ^ counter.w1 ^ key0, (u32)right, (u32)(left >> 32) ^ counter.w3 ^ key1, (u32)left};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// One random 64-bit integer of a row: gpuseg.core.philox.draw64.
__device__ inline u64 draw64(u64 seed, u32 stage, u64 identity, u32 index) {
    Philox words = philox4x32(Philox{(u32)identity, (u32)(identity >> 32), index, stage}, (u32)seed, (u32)(seed >> 32));
    return (u64)words.w0 | (u64)words.w1 << 32;
}

// Uniform in [0, 1): the upper 53 bits times 2^-53, exactly.
__device__ inline double uniform53(u64 bits) { return __dmul_rn((double)(bits >> 11), 1.0 / 9007199254740992.0); }

// A place for every lane whose row was drawn, from a counter that all blocks share; one addition a warp. All lanes of a
// warp call it together.
__device__ inline u64 claim_places(u64* counter, bool drawn) {
    u32 lane = threadIdx.x % WARP;
    u32 votes = __ballot_sync(FULL_WARP, drawn);
    u64 place = lane == 0 && votes != 0 ? atomicAdd(counter, (u64)__popc(votes)) : 0;
    return __shfl_sync(FULL_WARP, place, 0) + (u64)__popc(votes & ((1u << lane) - 1));
}
