// launcher.h - included after the source of a kernel: calls it with its real parameter types, and states them.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace gpuseg_host {

// "f4", "i8", "u1" ... as numpy writes them; "*" for a pointer, "*c" for a pointer to const; "s<bytes>" for the rest.
template <class T> std::string code_of() {
    using Plain = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<Plain>) {
        using To = std::remove_pointer_t<Plain>;
        return std::string(std::is_const_v<To> ? "*c" : "*") + code_of<To>();
    } else {
        const char* kind = std::is_same_v<Plain, bool>        ? "b"
                           : std::is_floating_point_v<Plain>  ? "f"
                           : !std::is_integral_v<Plain>       ? "s"
                           : std::is_signed_v<Plain>          ? "i"
                                                              : "u";
        return kind + std::to_string(sizeof(Plain));
    }
}

struct Kernel {
    std::string signature;
    Body body;
    void* function;
};

template <class... P> struct Caller {
    template <std::size_t... I>
    GPUSEG_UNCHECKED static void spread(void (*function)(P...), void** arguments, std::index_sequence<I...>) {
        function(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
    }
    static void body(void* function, void** arguments) {
        spread(reinterpret_cast<void (*)(P...)>(function), arguments, std::index_sequence_for<P...>{});
    }
};

template <class... P> Kernel kernel_of(void (*function)(P...)) {
    std::string signature;
    ((signature += (signature.empty() ? "" : " ") + code_of<P>()), ...);
    return Kernel{signature, &Caller<P...>::body, reinterpret_cast<void*>(function)};
}

}  // namespace gpuseg_host

#define GPUSEG_EXPORT extern "C" __attribute__((visibility("default")))

// The table that the build appends: GPUSEG_KERNELS(kernel_of(&a), kernel_of(&b<1>) ...)
#define GPUSEG_KERNELS(...)                                                                                          \
    static gpuseg_host::Kernel gpuseg_kernels[] = {__VA_ARGS__};                                                     \
    GPUSEG_EXPORT const char* gpuseg_signature(int kernel) { return gpuseg_kernels[kernel].signature.c_str(); }      \
    GPUSEG_EXPORT const char* gpuseg_launch(int kernel, const gpuseg_host::Launch* launch, void** arguments) {       \
        return gpuseg_host::run(launch, gpuseg_kernels[kernel].body, gpuseg_kernels[kernel].function, arguments);    \
    }                                                                                                                \
    GPUSEG_EXPORT void gpuseg_poison(long offset, unsigned long long size) {                                         \
        gpuseg_host::poison_before_blocks(reinterpret_cast<unsigned char*>(&gpuseg_launch) + offset, size);          \
    }
