"""CUDA C++ only: installs as ``gpuseg.kernels``, for ``gpuseg.engines.launch`` to read; never as ``kernels``."""
