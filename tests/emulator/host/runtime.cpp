// runtime.cpp - runs the threads of a block as fibers on one processor, one block after another.
//
// A fiber runs until it waits (barrier, shuffle, vote) or returns. The scheduler takes the warps in the launch's order and
// runs each as far as it comes before it turns to the next: after a barrier one warp is far ahead of the others, so that
// a barrier that is missing behind it shows. A pass over all warps that finds nothing to resume is a deadlock, reported with
// the line at which a thread waits. Nothing preempts a fiber, so atomics are plain operations.
#include "hooks.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <sys/mman.h>
#include <utility>
#include <vector>

#ifndef __x86_64__
#error "the context switch below is for x86-64"
#endif

// Away from shared arrays, which lie in .bss: what reads beyond one must not find these.
#define GPUSEG_APART __attribute__((section(".data.launch")))
uint3 threadIdx GPUSEG_APART, blockIdx GPUSEG_APART;
dim3 blockDim GPUSEG_APART, gridDim GPUSEG_APART;

// Saves the registers that a call preserves and the stack, then takes up the other's.
extern "C" void gpuseg_switch(void** save, void* load);
asm(R"(
.text
.hidden gpuseg_switch
.globl gpuseg_switch
.type gpuseg_switch, @function
gpuseg_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size gpuseg_switch, .-gpuseg_switch
)");

namespace gpuseg_host {

namespace {

constexpr std::size_t STACK_BYTES = 256 << 10;
constexpr std::size_t GUARD_BYTES = 4096;
constexpr unsigned LANES = 32;
constexpr unsigned char POISON = 0xff;  // NaN as a float, -1 as an integer

enum class State : unsigned char { ready, at_barrier, at_meeting, returned };

struct Fiber {
    void* stack_pointer;
    unsigned char* stack;
    uint3 index;
    unsigned number;
    State state;
    Site site;
    Meeting* meeting;
    void* left;  // AddressSanitizer's
};

struct Warp {
    unsigned returned;  // lanes that have returned or never existed
    std::vector<Meeting*> meetings;
};

struct Range {
    unsigned char* address;
    unsigned long long size;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<Range> static_shared;
std::vector<unsigned char> shared_buffer;
unsigned char* shared_start;
std::size_t shared_bytes_asked;
Fiber* current;
void* scheduler_stack;
const void* scheduler_start;
std::size_t scheduler_bytes;
unsigned running, waiting;
std::uint64_t random_state;
Body launch_body;
void* launch_function;
void** launch_arguments;
bool strict;
bool failed;
char message[2048];

// splitmix64
std::uint64_t draw() {
    std::uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void arrange(std::vector<std::uint64_t>& order, int how) {
    if (how == RANDOM)
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw() % i]);
}

std::vector<std::uint64_t> first_order(std::uint64_t count, int how) {
    std::vector<std::uint64_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    if (how == REVERSE)
        for (std::uint64_t i = 0; i < count; ++i) order[i] = count - 1 - i;
    arrange(order, how);
    return order;
}

// To the scheduler; comes back when the fiber is resumed.
void pause() {
    fiber_stops();
    leave_stack(&current->left, scheduler_start, scheduler_bytes);
    gpuseg_switch(&current->stack_pointer, scheduler_stack);
    enter_stack(current->left, &scheduler_start, &scheduler_bytes);
}

// To the scheduler for good.
[[noreturn]] void abandon() {
    fiber_stops();
    leave_stack(nullptr, scheduler_start, scheduler_bytes);
    void* abandoned;
    gpuseg_switch(&abandoned, scheduler_stack);
    __builtin_trap();
}

void resume(Fiber& fiber) {
    void* left;
    current = &fiber;
    threadIdx = fiber.index;
    fiber_resumes(fiber.number, fiber.stack + GUARD_BYTES, STACK_BYTES);
    leave_stack(&left, fiber.stack + GUARD_BYTES, STACK_BYTES);
    gpuseg_switch(&scheduler_stack, fiber.stack_pointer);
    enter_stack(left, nullptr, nullptr);
}

void wait_as(State state, Site site) {
    current->state = state;
    current->site = site;
    pause();
}

Warp& warp_of(const Fiber& fiber) { return warps[fiber.number / LANES]; }

void release_barrier() {
    if (waiting == 0) return;
    if (strict && running < fibers.size()) {
        for (const Fiber& fiber : fibers)
            if (fiber.state == State::at_barrier)
                fail(fiber.site, "a thread returns before this barrier, at which others wait");
    }
    if (waiting < running) return;
    Site first{nullptr, 0};
    for (const Fiber& fiber : fibers) {
        if (fiber.state != State::at_barrier) continue;
        if (first.file == nullptr) first = fiber.site;
        if (fiber.site.line != first.line || std::strcmp(fiber.site.file, first.file) != 0)
            fail(fiber.site, "the block meets at two barriers: other threads wait at %s:%d", first.file, first.line);
    }
    for (Fiber& fiber : fibers)
        if (fiber.state == State::at_barrier) fiber.state = State::ready;
    waiting = 0;
    barrier_opens();
}

void complete_if_all_arrived(Warp& warp, Meeting* meeting) {
    if (!meeting->open || meeting->arrived == 0 || meeting->arrived != (meeting->mask & ~warp.returned)) return;
    meeting->open = false;
    meeting->readers = __builtin_popcount(meeting->arrived);
    std::size_t number = static_cast<std::size_t>(&warp - warps.data());
    std::size_t first = number * LANES;
    lanes_meet(static_cast<unsigned>(number), meeting->arrived, meeting->arrived == ~warp.returned,
               std::strcmp(meeting->operation, "__syncwarp") == 0);
    for (std::size_t i = first; i < fibers.size() && i < first + LANES; ++i)
        if (fibers[i].state == State::at_meeting && fibers[i].meeting == meeting) fibers[i].state = State::ready;
}

void return_current() {
    current->state = State::returned;
    --running;
    Warp& warp = warp_of(*current);
    warp.returned |= 1u << lane();
    for (Meeting* meeting : warp.meetings) complete_if_all_arrived(warp, meeting);
    release_barrier();
}

void fiber_main() {
    enter_stack(nullptr, &scheduler_start, &scheduler_bytes);
    launch_body(launch_function, launch_arguments);
    return_current();
    abandon();
}

// A fresh stack: six registers, the address that the first switch returns to, and a null return address above it.
void prepare(Fiber& fiber) {
    void** top = reinterpret_cast<void**>(fiber.stack + GUARD_BYTES + STACK_BYTES);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
    forget_stack(fiber.stack + GUARD_BYTES, STACK_BYTES);
    fiber.state = State::ready;
}

bool make_fibers(unsigned count) {
    while (fibers.size() > count) {
        munmap(fibers.back().stack, GUARD_BYTES + STACK_BYTES);
        fibers.pop_back();
    }
    while (fibers.size() < count) {
        void* stack = mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) return false;
        mprotect(stack, GUARD_BYTES, PROT_NONE);
        Fiber fiber{};
        fiber.stack = static_cast<unsigned char*>(stack);
        fibers.push_back(fiber);
    }
    return true;
}

void begin_block(unsigned count) {
    warps.resize((count + LANES - 1) / LANES);
    for (Warp& warp : warps) {
        for (Meeting* meeting : warp.meetings) delete meeting;
        warp.meetings.clear();
        warp.returned = 0;
    }
    if (count % LANES != 0) warps.back().returned = ~0u << (count % LANES);
    for (unsigned i = 0; i < count; ++i) {
        Fiber& fiber = fibers[i];
        fiber.number = i;
        fiber.index = uint3{i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        prepare(fiber);
    }
    running = count;
    waiting = 0;
    std::memset(shared_start, POISON, shared_bytes_asked);
    for (const Range& range : static_shared) std::memset(range.address, POISON, range.size);
}

void record(const char* where, uint3 thread, const char* format, std::va_list list) {
    char text[1536];
    std::vsnprintf(text, sizeof text, format, list);
    std::snprintf(message, sizeof message, "%s: %s (block %u,%u,%u thread %u,%u,%u)", where, text, blockIdx.x, blockIdx.y,
                  blockIdx.z, thread.x, thread.y, thread.z);
    failed = true;
}

void record(Site site, uint3 thread, const char* format, std::va_list list) {
    char where[256];
    std::snprintf(where, sizeof where, "%s:%d", site.file, site.line);
    record(where, thread, format, list);
}

void record_deadlock(const Fiber& fiber, const char* format, ...) __attribute__((format(printf, 2, 3)));
void record_deadlock(const Fiber& fiber, const char* format, ...) {
    std::va_list list;
    va_start(list, format);
    record(fiber.site, fiber.index, format, list);
    va_end(list);
}

// Names the first thread whose wait cannot end.
void report_deadlock() {
    for (const Fiber& fiber : fibers) {
        if (fiber.state == State::at_meeting)
            return record_deadlock(fiber, "deadlock: lane waits in %s for the lanes %08x", fiber.meeting->operation,
                                   fiber.meeting->mask & ~fiber.meeting->arrived);
        if (fiber.state == State::at_barrier)
            return record_deadlock(fiber, "deadlock: thread waits at a barrier for %u others", running - waiting);
    }
}

// Resumes every ready lane of a warp once; returns whether there was one.
bool pass_over(const std::vector<std::uint64_t>& lanes, std::uint64_t warp) {
    bool moved = false;
    for (std::uint64_t lane : lanes) {
        std::uint64_t number = warp * LANES + lane;
        if (number >= fibers.size() || fibers[number].state != State::ready) continue;
        moved = true;
        resume(fibers[number]);
        if (failed) break;
    }
    return moved;
}

void run_block(int how) {
    std::vector<std::uint64_t> warp_order = first_order(warps.size(), how);
    std::vector<std::uint64_t> lanes = first_order(LANES, how);
    while (running > 0 && !failed) {
        bool moved = false;
        for (std::uint64_t warp : warp_order) {
            while (!failed && pass_over(lanes, warp)) {
                moved = true;
                arrange(lanes, how);
            }
            warp_stops();
        }
        if (!moved && !failed) report_deadlock();
        arrange(warp_order, how);
    }
}

}  // namespace

unsigned lane() { return current->number % LANES; }

void fail(Site site, const char* format, ...) {
    std::va_list list;
    va_start(list, format);
    record(site, threadIdx, format, list);
    va_end(list);
    abandon();
}

void fail_at(unsigned pc, const char* format, ...) {
    char where[32];
    std::snprintf(where, sizeof where, "<pc %x>", pc);
    std::va_list list;
    va_start(list, format);
    record(where, threadIdx, format, list);
    va_end(list);
    abandon();
}

#ifdef GPUSEG_ASAN
void stop_with(const char* report) {
    if (!failed) std::snprintf(message, sizeof message, "%s", report);
    failed = true;
}
#endif

void barrier(Site site) {
    ++waiting;
    current->state = State::at_barrier;
    current->site = site;
    release_barrier();
    if (current->state == State::at_barrier) wait_as(State::at_barrier, site);
}

Meeting* meet(Site site, const char* operation, unsigned mask, unsigned long long value) {
    Warp& warp = warp_of(*current);
    unsigned mine = 1u << lane();
    if ((mask & mine) == 0) fail(site, "lane %u calls %s with the mask %08x, which leaves it out", lane(), operation, mask);
    Meeting* meeting = nullptr;
    for (Meeting* other : warp.meetings)
        if (other->open && other->mask == mask) meeting = other;
    if (meeting == nullptr) {
        for (Meeting* other : warp.meetings)
            if (!other->open && other->readers == 0) meeting = other;
        if (meeting == nullptr) warp.meetings.push_back(meeting = new Meeting);
        std::memset(meeting->values, POISON, sizeof meeting->values);
        meeting->operation = operation;
        meeting->site = site;
        meeting->mask = mask;
        meeting->arrived = 0;
        meeting->open = true;
    }
    if (std::strcmp(meeting->operation, operation) != 0 || meeting->site.line != site.line)
        fail(site, "lane %u calls %s while other lanes of its mask are in %s at %s:%d", lane(), operation,
             meeting->operation, meeting->site.file, meeting->site.line);
    meeting->values[lane()] = value;
    meeting->arrived |= mine;
    complete_if_all_arrived(warp, meeting);
    if (meeting->open) {
        current->meeting = meeting;
        wait_as(State::at_meeting, site);
    }
    return meeting;
}

void leave(Meeting* meeting) { --meeting->readers; }

void poison_before_blocks(unsigned char* address, unsigned long long size) {
    static_shared.push_back({address, size});
    static_shared_array(address, size);
}

const char* run(const Launch* launch, Body body, void* function, void** arguments) {
    gridDim = dim3{launch->grid[0], launch->grid[1], launch->grid[2]};
    blockDim = dim3{launch->block[0], launch->block[1], launch->block[2]};
    launch_body = body;
    launch_function = function;
    launch_arguments = arguments;
    random_state = launch->seed;
    strict = launch->strict != 0;
    failed = false;
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    if (!make_fibers(count)) return "no memory for the stacks of a block";
    shared_buffer.assign(launch->shared + 512, 0);
    std::uintptr_t start = reinterpret_cast<std::uintptr_t>(shared_buffer.data());
    shared_start = shared_buffer.data() + (256 - start % 256) % 256;

    shared_bytes_asked = launch->shared;
    launch_begins(*launch, count, shared_start);
    std::uint64_t blocks = std::uint64_t(gridDim.x) * gridDim.y * gridDim.z;
    for (std::uint64_t block : first_order(blocks, launch->order)) {
        blockIdx = uint3{unsigned(block % gridDim.x), unsigned(block / gridDim.x % gridDim.y),
                         unsigned(block / gridDim.x / gridDim.y)};
        begin_block(count);
        block_begins();
        run_block(launch->order);
        if (failed) break;
    }
    launch_ends();
    return failed ? message : nullptr;
}

}  // namespace gpuseg_host

unsigned char* shared_bytes() { return gpuseg_host::shared_start; }
