"""The CPU engine's room (engines): ``engine`` has the verbs, the other modules the numba kernels that they run."""
