// check.cpp - answers the call-outs of gcc -fsanitize=thread,bounds,object-size in place of libtsan and libubsan: one a
// load or store of a kernel.
//
// Finds   an address outside the arrays of the launch and its shared memory, to the byte; an index outside a local array;
//         a store through an array that the kernel takes as const; a misaligned address; a load of memory that nothing has
//         written; and data races: two threads touch the same bytes, one of them writes, not both atomically, and nothing
//         orders them. Barriers order a block, __syncwarp the lanes that meet, nothing orders two blocks. Shuffles and
//         votes order no memory.
// Counts  (launch.count) a source line: warp requests, 32-byte sectors, wavefronts of shared memory, the bytes that miss
//         a cache of 16 KiB a block (its warps one after the other), and those of sectors that the launch had not touched
//         before: what a cache that holds everything would miss. Atomics on one word of shared memory wait for each other.
//         The k-th time a lane comes to a line since its warp last met goes with the k-th time of the other lanes.
// Left    pointers into a fiber's own stack are AddressSanitizer's business. A third unordered reader of one word may be
//         forgotten.
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hooks.h"

extern "C" const char __ehdr_start __attribute__((visibility("hidden")));
extern "C" const char __bss_start __attribute__((visibility("hidden")));
extern "C" const char etext __attribute__((visibility("hidden")));

namespace gpuseg_host {

namespace {

typedef std::uintptr_t Address;

constexpr unsigned LANES = 32;
constexpr unsigned SECTOR = 32, WORD = 4, BANKS = 32;
constexpr std::size_t CACHED_SECTORS = (16 << 10) / SECTOR;

enum Kind : unsigned { READ = 0, WRITE = 1, ATOMIC = 2 };
enum Space : unsigned { GLOBAL = 0, SHARED = 1 };
const char* const VERBS[] = {"reads", "writes", "changes"};
const char* const SPACES[] = {"global", "shared"};

// --- who touched a word last

struct Stamp {
    unsigned block;  // 0: nobody
    unsigned epoch, clock, pc;
    unsigned thread;
    bool atomic;
};

template <class T> struct Zeroed {
    std::unique_ptr<T, void (*)(void*)> items{nullptr, std::free};
    void make(std::size_t count) {
        if (!items) items.reset(static_cast<T*>(std::calloc(std::max<std::size_t>(count, 1), sizeof(T))));
    }
    T& operator[](std::size_t i) const { return items.get()[i]; }
    explicit operator bool() const { return items != nullptr; }
};

// One writer and two readers a cell. Pages that nothing touches cost nothing.
struct Cells {
    Zeroed<Stamp> writer, first_reader, second_reader;
    void make(std::size_t count) {
        writer.make(count);
        first_reader.make(count);
        second_reader.make(count);
    }
};

struct Memory {
    Address start, end;
    Space space;
    bool writable;
    unsigned char* written;  // one a byte
    Cells words, bytes;      // bytes: of words that were ever touched in part
    Zeroed<unsigned char> in_part;
    Zeroed<unsigned char> own_written;
};

// --- traffic

struct Group {
    unsigned lanes, order;
    Address address[LANES];
};

struct Cache {
    std::list<Address> by_use;
    std::unordered_map<Address, std::list<Address>::iterator> where;

    void clear() {
        by_use.clear();
        where.clear();
    }
    // Whether the sector had to be fetched.
    bool misses(Address sector) {
        auto found = where.find(sector);
        if (found != where.end()) {
            by_use.splice(by_use.begin(), by_use, found->second);
            return false;
        }
        by_use.push_front(sector);
        where[sector] = by_use.begin();
        if (by_use.size() > CACHED_SECTORS) {
            where.erase(by_use.back());
            by_use.pop_back();
        }
        return true;
    }
};

}  // namespace

// As tests/emulator/device.py reads it.
struct LineCount {
    unsigned pc, kind, space, size;
    unsigned long long requests, accesses, sectors, moved, first, wavefronts, least;
};

namespace {

struct Line {
    LineCount count;
    std::vector<Group> groups;
    unsigned times[LANES];
};

std::vector<Memory> memories;
std::vector<std::pair<unsigned char*, unsigned long long>> static_arrays;
std::size_t last_hit;
std::vector<std::vector<unsigned>> seen;  // [thread][lane]: how much of the lane's past the thread has met
bool active;
unsigned block, epoch, thread;
const unsigned char* stack_start;
std::size_t stack_size;

bool counting;
std::vector<Line> lines;
std::vector<int> line_of;  // [pc * 2 + space] -> index into lines, or -1
std::vector<unsigned> lines_in_use;
unsigned times_of_lane[LANES];
Cache fetched, stored;
std::unordered_set<Address> ever_fetched, ever_stored;  // in this launch

unsigned offset_of(const void* pc) { return static_cast<unsigned>(static_cast<const char*>(pc) - &__ehdr_start); }

bool comes_before_now(const Memory& memory, const Stamp& past) {
    if (past.block == 0) return true;
    if (past.block != block) return memory.space == SHARED;
    if (past.thread == thread || past.epoch < epoch) return true;
    return past.thread / LANES == thread / LANES && seen[thread][past.thread % LANES] >= past.clock;
}

void require_order(const Memory& memory, const Stamp& past, const char* did, Kind kind, Address address, unsigned pc) {
    if (comes_before_now(memory, past) || (kind == ATOMIC && past.atomic)) return;
    fail_at(pc, "data race: thread %u %s byte %llu of %s memory, thread %u of %s block %s it at <pc %x> and nothing orders them",
            thread, VERBS[kind], static_cast<unsigned long long>(address - memory.start), SPACES[memory.space], past.thread,
            past.block == block ? "the same" : "another", did, past.pc);
}

void require_order(const Memory& memory, const Cells& cells, std::size_t i, Kind kind, Address address, unsigned pc) {
    require_order(memory, cells.writer[i], "wrote", kind, address, pc);
    if (kind == READ) return;
    require_order(memory, cells.first_reader[i], "read", kind, address, pc);
    require_order(memory, cells.second_reader[i], "read", kind, address, pc);
}

void leave_stamp(const Memory& memory, const Cells& cells, std::size_t i, Kind kind, unsigned pc) {
    Stamp now{block, epoch, seen[thread][thread % LANES], pc, thread, kind == ATOMIC};
    if (kind != READ)
        cells.writer[i] = now;
    else if (comes_before_now(memory, cells.first_reader[i]))
        cells.first_reader[i] = now;
    else if (comes_before_now(memory, cells.second_reader[i]))
        cells.second_reader[i] = now;
}

void check_races(Memory& memory, Address address, std::size_t size, Kind kind, unsigned pc) {
    std::size_t offset = address - memory.start;
    if (offset % WORD == 0 && size % WORD == 0) {
        for (std::size_t word = offset / WORD; word < (offset + size) / WORD; ++word) {
            require_order(memory, memory.words, word, kind, address, pc);
            if (memory.in_part && memory.in_part[word])
                for (std::size_t i = word * WORD; i < (word + 1) * WORD; ++i)
                    require_order(memory, memory.bytes, i, kind, memory.start + i, pc);
            leave_stamp(memory, memory.words, word, kind, pc);
        }
        return;
    }
    memory.bytes.make(memory.end - memory.start);
    memory.in_part.make((memory.end - memory.start) / WORD + 1);
    for (std::size_t i = offset; i < offset + size; ++i) {
        memory.in_part[i / WORD] = 1;
        require_order(memory, memory.words, i / WORD, kind, memory.start + i, pc);
        require_order(memory, memory.bytes, i, kind, memory.start + i, pc);
        leave_stamp(memory, memory.bytes, i, kind, pc);
    }
}

void count(Space space, Address address, unsigned size, Kind kind, unsigned pc) {
    int& index = line_of[2 * pc + space];
    if (index < 0) {
        index = static_cast<int>(lines.size());
        lines.push_back(Line{LineCount{pc, kind, space, size, 0, 0, 0, 0, 0, 0, 0}, {}, {}});
    }
    Line& line = lines[index];
    if (line.groups.empty()) lines_in_use.push_back(static_cast<unsigned>(index));
    unsigned lane = thread % LANES;
    unsigned order = times_of_lane[lane]++;
    unsigned time = line.times[lane]++;
    if (time == line.groups.size()) line.groups.push_back(Group{0, order, {}});
    Group& group = line.groups[time];
    group.lanes |= 1u << lane;
    group.order = std::min(group.order, order);
    group.address[lane] = address;
}

// Distinct words a bank, the most of any bank.
unsigned depth(const std::vector<Address>& words) {
    unsigned a_bank[BANKS] = {}, most = 0;
    for (Address word : words) most = std::max(most, ++a_bank[word % BANKS]);
    return most;
}

std::vector<Address> distinct(std::vector<Address> items) {
    std::sort(items.begin(), items.end());
    items.erase(std::unique(items.begin(), items.end()), items.end());
    return items;
}

// Shared memory serves 32 banks of 4 bytes at a time: 8-byte accesses by half warps, 16-byte ones by quarters, together
// where no bank has two words.
void count_wavefronts(LineCount& total, const Group& group) {
    unsigned lanes_a_time = total.size <= WORD ? LANES : LANES * WORD / total.size;
    std::vector<Address> all, together;
    for (unsigned first = 0; first < LANES; first += std::max(lanes_a_time, 1u)) {
        std::vector<Address> words;
        for (unsigned lane = first; lane < first + lanes_a_time; ++lane)
            if (group.lanes >> lane & 1)
                for (Address byte = group.address[lane]; byte < group.address[lane] + total.size; byte += WORD)
                    words.push_back(byte / WORD);
        all.insert(all.end(), words.begin(), words.end());
        if (total.kind == ATOMIC) {
            total.wavefronts += depth(words);
            continue;
        }
        words = distinct(words);
        std::vector<Address> with = words;
        with.insert(with.end(), together.begin(), together.end());
        with = distinct(with);
        if (depth(with) > 1) {
            total.wavefronts += depth(together);
            together = words;
        } else {
            together = with;
        }
    }
    total.wavefronts += depth(together);
    total.least += (distinct(all).size() + BANKS - 1) / BANKS;
}

void count_sector(LineCount& total, Address sector, Cache& cache, std::unordered_set<Address>& ever) {
    if (cache.misses(sector)) total.moved += SECTOR;
    if (ever.insert(sector).second) total.first += SECTOR;
}

// What is changed is fetched and stored.
void count_sectors(LineCount& total, const Group& group) {
    std::vector<Address> sectors;
    for (unsigned lane = 0; lane < LANES; ++lane)
        if (group.lanes >> lane & 1)
            for (Address sector = group.address[lane] / SECTOR; sector <= (group.address[lane] + total.size - 1) / SECTOR; ++sector)
                sectors.push_back(sector);
    for (Address sector : distinct(sectors)) {
        ++total.sectors;
        if (total.kind != WRITE) count_sector(total, sector, fetched, ever_fetched);
        if (total.kind != READ) count_sector(total, sector, stored, ever_stored);
    }
}

// The accesses of a warp since it last stood still, in the order of the program.
void settle_counts() {
    if (lines_in_use.empty()) return;
    struct Entry {
        unsigned order, line, group;
    };
    std::vector<Entry> entries;
    for (unsigned line : lines_in_use)
        for (unsigned group = 0; group < lines[line].groups.size(); ++group)
            entries.push_back({lines[line].groups[group].order, line, group});
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.order < b.order; });
    for (const Entry& entry : entries) {
        LineCount& total = lines[entry.line].count;
        const Group& group = lines[entry.line].groups[entry.group];
        ++total.requests;
        total.accesses += static_cast<unsigned>(__builtin_popcount(group.lanes));
        if (total.space == SHARED)
            count_wavefronts(total, group);
        else
            count_sectors(total, group);
    }
    for (unsigned line : lines_in_use) {
        lines[line].groups.clear();
        std::fill(std::begin(lines[line].times), std::end(lines[line].times), 0);
    }
    lines_in_use.clear();
    std::fill(std::begin(times_of_lane), std::end(times_of_lane), 0);
}

Memory* memory_at(Address address, std::size_t size) {
    if (last_hit < memories.size() && memories[last_hit].start <= address && address + size <= memories[last_hit].end)
        return &memories[last_hit];
    for (last_hit = 0; last_hit < memories.size(); ++last_hit)
        if (memories[last_hit].start <= address && address + size <= memories[last_hit].end) return &memories[last_hit];
    return nullptr;
}

template <class T> bool lies_in(Address address, const T& variable) {
    return address - reinterpret_cast<Address>(&variable) < sizeof variable;
}

// Indices and sizes of the launch, and constants of the module.
bool is_readable_by_all(Address address) {
    if (lies_in(address, threadIdx) || lies_in(address, blockIdx) || lies_in(address, blockDim) || lies_in(address, gridDim))
        return true;
    return reinterpret_cast<Address>(&__ehdr_start) <= address && address < reinterpret_cast<Address>(&__bss_start);
}

[[noreturn]] void fail_outside(Address address, std::size_t size, Kind kind, unsigned pc) {
    const Memory* nearest = nullptr;
    Address distance = ~Address(0);
    for (const Memory& memory : memories) {
        Address away = address < memory.start ? memory.start - address : address - memory.start;
        if (away < distance) distance = away, nearest = &memory;
    }
    if (nearest == nullptr) fail_at(pc, "out of bounds: thread %u %s %zu bytes, the launch has no memory", thread, VERBS[kind], size);
    fail_at(pc, "out of bounds: thread %u %s %zu bytes at byte %lld of %s memory of %llu bytes", thread, VERBS[kind], size,
            static_cast<long long>(address - nearest->start), SPACES[nearest->space],
            static_cast<unsigned long long>(nearest->end - nearest->start));
}

void access(const void* where, std::size_t size, Kind kind, const void* from, bool aligned) {
    if (!active) return;
    Address address = reinterpret_cast<Address>(where);
    if (address - reinterpret_cast<Address>(stack_start) < stack_size) return;
    unsigned pc = offset_of(from) - 1;  // the call, not what follows it
    Memory* memory = memory_at(address, size);
    if (memory == nullptr) {
        if (kind == READ && is_readable_by_all(address)) return;
        fail_outside(address, size, kind, pc);
    }
    // gcc calls a structure of 16 bytes aligned when it is to 8; AddressSanitizer's build knows the type.
    if (aligned && address % std::min<std::size_t>(size, 8) != 0)
        fail_at(pc, "misaligned: thread %u %s %zu bytes at byte %llu of %s memory", thread, VERBS[kind], size,
                static_cast<unsigned long long>(address - memory->start), SPACES[memory->space]);
    if (kind != READ && !memory->writable)
        fail_at(pc, "write through const: thread %u %s byte %llu of an array that the kernel takes as const", thread,
                VERBS[kind], static_cast<unsigned long long>(address - memory->start));
    unsigned char* written = memory->written + (address - memory->start);
    if (kind != WRITE && std::memchr(written, 0, size) != nullptr)
        fail_at(pc, "never written: thread %u %s byte %llu of %s memory", thread, VERBS[kind],
                static_cast<unsigned long long>(address - memory->start), SPACES[memory->space]);
    if (memory->writable) check_races(*memory, address, size, kind, pc);
    if (kind != READ) std::memset(written, 1, size);
    if (counting) count(memory->space, address, static_cast<unsigned>(size), kind, pc);
}

void add_shared(unsigned char* address, unsigned long long size) {
    Memory memory{};
    memory.start = reinterpret_cast<Address>(address);
    memory.end = memory.start + size;
    memory.space = SHARED;
    memory.writable = true;
    memory.own_written.make(size);
    memory.written = &memory.own_written[0];
    memory.words.make(size / WORD + 1);
    memories.push_back(std::move(memory));
}

void add_global(const Region& region) {
    Memory memory{};
    memory.start = region.address;
    memory.end = memory.start + region.size;
    memory.space = GLOBAL;
    memory.writable = region.writable != 0;
    memory.written = region.written;
    if (memory.writable) memory.words.make(region.size / WORD + 1);
    memories.push_back(std::move(memory));
}

}  // namespace

void static_shared_array(unsigned char* address, unsigned long long size) { static_arrays.emplace_back(address, size); }

void launch_begins(const Launch& launch, unsigned threads, unsigned char* shared) {
    memories.clear();
    for (unsigned i = 0; i < launch.region_count; ++i) add_global(launch.regions[i]);
    if (launch.shared > 0) add_shared(shared, launch.shared);
    for (auto& [address, size] : static_arrays) add_shared(address, size);
    last_hit = 0;
    seen.assign(threads, std::vector<unsigned>(LANES));
    active = false;
    block = 0;
    counting = launch.count != 0;
    lines.clear();
    ever_fetched.clear();
    ever_stored.clear();
    lines_in_use.clear();
    std::fill(std::begin(times_of_lane), std::end(times_of_lane), 0);
    if (counting) line_of.assign(2 * static_cast<std::size_t>(&etext - &__ehdr_start), -1);
}

void block_begins() {
    ++block;
    epoch = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        std::fill(seen[i].begin(), seen[i].end(), 0);
        seen[i][i % LANES] = 1;
    }
    for (Memory& memory : memories)
        if (memory.space == SHARED) std::memset(memory.written, 0, memory.end - memory.start);
    fetched.clear();
    stored.clear();
}

void fiber_resumes(unsigned number, const unsigned char* stack, std::size_t stack_bytes) {
    thread = number;
    stack_start = stack;
    stack_size = stack_bytes;
    active = true;
}

void fiber_stops() { active = false; }

void barrier_opens() { ++epoch; }

void lanes_meet(unsigned warp, unsigned lanes, bool all, bool orders_memory) {
    if (all && counting) settle_counts();
    if (!orders_memory) return;
    std::vector<unsigned> together(LANES, 0);
    for (unsigned lane = 0; lane < LANES; ++lane)
        if (lanes >> lane & 1)
            for (unsigned i = 0; i < LANES; ++i) together[i] = std::max(together[i], seen[warp * LANES + lane][i]);
    for (unsigned lane = 0; lane < LANES; ++lane)
        if (lanes >> lane & 1) {
            seen[warp * LANES + lane] = together;
            ++seen[warp * LANES + lane][lane];
        }
}

void warp_stops() {
    if (counting) settle_counts();
}

void atomic_access(const void* address, std::size_t size, const void* from) { access(address, size, ATOMIC, from, true); }

}  // namespace gpuseg_host

extern "C" {

// What the last launch counted, at most `room` lines; returns how many there are.
__attribute__((visibility("default"))) unsigned gpuseg_lines(gpuseg_host::LineCount* into, unsigned room) {
    for (unsigned i = 0; i < gpuseg_host::lines.size() && i < room; ++i) into[i] = gpuseg_host::lines[i].count;
    return static_cast<unsigned>(gpuseg_host::lines.size());
}

#define GPUSEG_ACCESS(name, bytes, kind, aligned)                                                                 \
    void __tsan_##name(void* address) {                                                                           \
        gpuseg_host::access(address, bytes, gpuseg_host::kind, __builtin_return_address(0), aligned);             \
    }
GPUSEG_ACCESS(read1, 1, READ, true)
GPUSEG_ACCESS(read2, 2, READ, true)
GPUSEG_ACCESS(read4, 4, READ, true)
GPUSEG_ACCESS(read8, 8, READ, true)
GPUSEG_ACCESS(read16, 16, READ, true)
GPUSEG_ACCESS(write1, 1, WRITE, true)
GPUSEG_ACCESS(write2, 2, WRITE, true)
GPUSEG_ACCESS(write4, 4, WRITE, true)
GPUSEG_ACCESS(write8, 8, WRITE, true)
GPUSEG_ACCESS(write16, 16, WRITE, true)
GPUSEG_ACCESS(unaligned_read2, 2, READ, false)
GPUSEG_ACCESS(unaligned_read4, 4, READ, false)
GPUSEG_ACCESS(unaligned_read8, 8, READ, false)
GPUSEG_ACCESS(unaligned_read16, 16, READ, false)
GPUSEG_ACCESS(unaligned_write2, 2, WRITE, false)
GPUSEG_ACCESS(unaligned_write4, 4, WRITE, false)
GPUSEG_ACCESS(unaligned_write8, 8, WRITE, false)
GPUSEG_ACCESS(unaligned_write16, 16, WRITE, false)
void __tsan_read_range(void* address, unsigned long size) {
    gpuseg_host::access(address, size, gpuseg_host::READ, __builtin_return_address(0), false);
}
void __tsan_write_range(void* address, unsigned long size) {
    gpuseg_host::access(address, size, gpuseg_host::WRITE, __builtin_return_address(0), false);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

struct Place {
    const char* file;
    unsigned line, column;
};
void __ubsan_handle_out_of_bounds(Place* place) {
    gpuseg_host::fail({place->file, static_cast<int>(place->line)}, "undefined: index outside its array");
}
void __ubsan_handle_type_mismatch_v1(Place* place) {
    gpuseg_host::fail({place->file, static_cast<int>(place->line)}, "out of bounds: past the end of the object");
}
}
