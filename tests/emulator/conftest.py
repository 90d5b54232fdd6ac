"""Fixtures of this folder."""

from __future__ import annotations

from tests.emulator.plugin import emulated_device, make_device

__all__ = ["emulated_device", "make_device"]
