"""Engines: who does one partition's work. ``base`` says what an engine must do, ``cpu`` does it with numba."""
