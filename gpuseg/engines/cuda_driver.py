"""What the NVIDIA driver says, asked through ctypes (room: engines; for ``cuda`` and ``gpuseg doctor``).

No library of Python is needed, and no context is made on a device: looking costs milliseconds.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

OLDEST_ARCHITECTURE = 75
LEAST_MEMORY = 1 << 30
"""Bytes: contexts, compiled kernels and two tiles have to fit."""

_GIB = 1 << 30
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True)
class Card:
    """One device that the driver shows to this process.

    Parameters
    ----------
    name : str
        As the driver gives it.
    architecture : int
        Compute capability, 80 for 8.0.
    memory_bytes : int
        All of its memory.
    """

    name: str
    architecture: int
    memory_bytes: int

    @property
    def problem(self) -> str:
        """Why kernels cannot run on it, as the rest of a sentence; "" where they can."""
        if self.architecture < OLDEST_ARCHITECTURE:
            return f"is of compute capability {self.architecture / 10}"
        if self.memory_bytes < LEAST_MEMORY:
            return f"has {self.memory_bytes / _GIB:.1f} GiB of memory"
        return ""


@dataclass(frozen=True)
class Driver:
    """The driver and its devices.

    Parameters
    ----------
    version : int
        Newest CUDA that it supports, 13020 for 13.2; 0 where there is none.
    cards : tuple of Card
        Devices in the order of their numbers.
    problem : str
        Why there is no device, with the remedy; "" where there is one.
    """

    version: int
    cards: tuple[Card, ...]
    problem: str

    @property
    def usable(self) -> tuple[int, ...]:
        """Numbers of the devices on which kernels can run."""
        return tuple(number for number, card in enumerate(self.cards) if not card.problem)

    @property
    def unusable(self) -> str:
        """Why no device can be used, with the remedy; "" where one can."""
        if self.problem or self.usable:
            return self.problem
        found = ", ".join(f"{card.name} {card.problem}" for card in self.cards)
        least = f"compute capability {OLDEST_ARCHITECTURE / 10} or newer with {LEAST_MEMORY // _GIB} GiB"
        return f"{found}; a device of {least} is needed: let CUDA_VISIBLE_DEVICES show one"

    def __str__(self) -> str:
        return f"CUDA {self.version // 1000}.{self.version % 1000 // 10}"


def look() -> Driver:
    """Ask the driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        problem = "no NVIDIA driver (libcuda.so.1 is not found); install the driver of your GPU"
        return Driver(0, (), problem)
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    status = library.cuInit(0)
    if status not in {0, _NO_DEVICE}:
        problem = (
            f"the NVIDIA driver does not start (cuInit returned {status}); see what nvidia-smi says, and start "
            "new processes by spawn, not by fork"
        )
        return Driver(version.value, (), problem)
    count = ctypes.c_int()
    if status == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    cards = tuple(_card(library, ordinal) for ordinal in range(count.value))
    none = "the NVIDIA driver shows no device; unset CUDA_VISIBLE_DEVICES, or see what nvidia-smi says"
    return Driver(version.value, cards, "" if cards else none)


def _card(library: ctypes.CDLL, ordinal: int) -> Card:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    architecture = 10 * major.value + minor.value
    return Card(name.value.decode(errors="replace"), architecture, memory.value)
