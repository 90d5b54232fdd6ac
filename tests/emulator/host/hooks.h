// hooks.h - what the runtime tells the checkers: nothing in the plain build, check.cpp and asan.cpp in the others.
#pragma once

#include <cstddef>

#include "runtime.h"

namespace gpuseg_host {

// Stops the launch at a machine address of this module; Python turns <pc ...> into file:line.
[[noreturn]] void fail_at(unsigned pc, const char* format, ...) __attribute__((format(printf, 2, 3)));

#ifdef GPUSEG_CHECK
void launch_begins(const Launch& launch, unsigned threads, unsigned char* shared);
void block_begins();
void fiber_resumes(unsigned thread, const unsigned char* stack, std::size_t stack_bytes);
void fiber_stops();
void barrier_opens();
// Lanes of one warp have met; `all`: every lane that has not returned; __syncwarp alone orders memory.
void lanes_meet(unsigned warp, unsigned lanes, bool all, bool orders_memory);
// No lane of the warp that ran last can go on.
void warp_stops();
void static_shared_array(unsigned char* address, unsigned long long size);
#else
inline void block_begins() {}
inline void fiber_resumes(unsigned, const unsigned char*, std::size_t) {}
inline void fiber_stops() {}
inline void barrier_opens() {}
inline void lanes_meet(unsigned, unsigned, bool, bool) {}
inline void warp_stops() {}
inline void static_shared_array(unsigned char*, unsigned long long) {}
#ifndef GPUSEG_ASAN
inline void launch_begins(const Launch&, unsigned, unsigned char*) {}
#endif
#endif

#ifdef GPUSEG_ASAN
void launch_begins(const Launch& launch, unsigned threads, unsigned char* shared);
void launch_ends();
// AddressSanitizer follows the stack pointer: `save` is the side that is left, `stack` where it goes on.
void leave_stack(void** save, const void* stack, std::size_t stack_bytes);
void enter_stack(void* save, const void** stack, std::size_t* stack_bytes);
void forget_stack(const void* stack, std::size_t stack_bytes);
// A report of AddressSanitizer, which cannot be left by a switch: the launch stops at the next one.
void stop_with(const char* report);
#else
inline void launch_ends() {}
inline void leave_stack(void**, const void*, std::size_t) {}
inline void enter_stack(void*, const void**, std::size_t*) {}
inline void forget_stack(const void*, std::size_t) {}
#endif

}  // namespace gpuseg_host
