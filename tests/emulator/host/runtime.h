// runtime.h - one fiber a CUDA thread: what the dialect asks of the runtime (runtime.cpp), and the launcher's side.
#pragma once

#include <cstddef>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

unsigned char* shared_bytes();

namespace gpuseg_host {

// Where a kernel calls: `Site site = Site::here()` as a default argument is the line of the call. (gcc 12 gives the line
// of the default argument itself when the built-ins stand in braces.)
struct Site {
    const char* file;
    int line;
    static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// Stops the launch; the message reaches Python. Does not return.
[[noreturn]] void fail(Site site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// __syncthreads: until every thread of the block that has not returned is here.
void barrier(Site site);

// What the lanes of one warp brought to a shuffle or vote; `arrived` says which lanes did.
struct Meeting {
    unsigned long long values[32];
    const char* operation;
    Site site;
    unsigned mask, arrived;
    int readers;
    bool open;
};

// Until every lane of `mask` that has not returned brings its value under the same mask and at the same line.
Meeting* meet(Site site, const char* operation, unsigned mask, unsigned long long value);
void leave(Meeting* meeting);

unsigned lane();

// How a launch runs; the order of threads and blocks is part of it.
enum Order { FORWARD = 0, REVERSE = 1, RANDOM = 2 };
// An array that the launch was given.
struct Region {
    unsigned long long address, size;
    unsigned char* written;  // one a byte: whether anything has written it; the check build only
    int writable;            // some parameter takes it as not const
};
struct Launch {
    unsigned grid[3], block[3];
    unsigned long long shared, seed;
    int order;
    int strict;  // a thread that returns before a barrier is an error
    int count;   // the check build counts traffic
    unsigned region_count;
    const Region* regions;
};
typedef void (*Body)(void* function, void** arguments);

// Runs all blocks. Returns null, or what went wrong.
const char* run(const Launch* launch, Body body, void* function, void** arguments);

// An atomic operation, before it takes place.
#ifdef GPUSEG_CHECK
void atomic_access(const void* address, std::size_t size, const void* from);
#else
inline void atomic_access(const void*, std::size_t, const void*) {}
#endif

// Static shared arrays of the module, poisoned before every block.
void poison_before_blocks(unsigned char* address, unsigned long long size);

}  // namespace gpuseg_host
