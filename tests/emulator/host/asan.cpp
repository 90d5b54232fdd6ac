// asan.cpp - AddressSanitizer and fibers; UndefinedBehaviorSanitizer's call-outs, which end the launch at their line.
//
// libasan must be preloaded (LD_PRELOAD). It reports and goes on (-fsanitize-recover=address): the report becomes the
// launch's error. Redzones lie around local arrays, static shared arrays outside templates, dynamic shared memory and the
// arrays of the device.
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#include "hooks.h"

namespace gpuseg_host {

namespace {
unsigned char* guarded;  // the bytes after dynamic shared memory
constexpr std::size_t GUARD = 256;
}  // namespace

void launch_begins(const Launch& launch, unsigned, unsigned char* shared) {
    __asan_set_error_report_callback(stop_with);
    guarded = shared + launch.shared;
    __asan_poison_memory_region(guarded, GUARD);
}

void launch_ends() { __asan_unpoison_memory_region(guarded, GUARD); }

void leave_stack(void** save, const void* stack, std::size_t stack_bytes) {
    __sanitizer_start_switch_fiber(save, stack, stack_bytes);
}
void enter_stack(void* save, const void** stack, std::size_t* stack_bytes) {
    __sanitizer_finish_switch_fiber(save, stack, stack_bytes);
}
// A fiber that was left in the middle leaves its redzones behind.
void forget_stack(const void* stack, std::size_t stack_bytes) { __asan_unpoison_memory_region(stack, stack_bytes); }

}  // namespace gpuseg_host

// The first member of what each call-out is given.
struct Place {
    const char* file;
    unsigned line, column;
};

#define GPUSEG_UNDEFINED(name, what)                                                                  \
    extern "C" void __ubsan_handle_##name(Place* place) {                                             \
        gpuseg_host::fail(gpuseg_host::Site{place->file, static_cast<int>(place->line)}, "%s", what); \
    }
GPUSEG_UNDEFINED(add_overflow, "undefined: signed overflow of +")
GPUSEG_UNDEFINED(sub_overflow, "undefined: signed overflow of -")
GPUSEG_UNDEFINED(mul_overflow, "undefined: signed overflow of *")
GPUSEG_UNDEFINED(negate_overflow, "undefined: signed overflow of unary -")
GPUSEG_UNDEFINED(divrem_overflow, "undefined: division by zero, or overflow of /")
GPUSEG_UNDEFINED(shift_out_of_bounds, "undefined: shift by a negative amount or by the width of the type or more")
GPUSEG_UNDEFINED(out_of_bounds, "undefined: index outside its array")
GPUSEG_UNDEFINED(type_mismatch_v1, "undefined: null or misaligned pointer")
GPUSEG_UNDEFINED(pointer_overflow, "undefined: overflow of a pointer")
GPUSEG_UNDEFINED(load_invalid_value, "undefined: a bool or an enumeration holds no value of its type")
GPUSEG_UNDEFINED(float_cast_overflow, "undefined: a number does not fit the integer it is cast to")
GPUSEG_UNDEFINED(missing_return, "undefined: the end of a function that returns a value")
GPUSEG_UNDEFINED(builtin_unreachable, "undefined: unreachable code is reached")
