"""How numba kernels are compiled and cached (engines, private): the ``kernel`` decorator.

numba's own cache does not notice an edit in a jitted function of *another* file, so the cache key here contains a
hash of every source file of this room. Without a writable cache folder kernels are compiled anew in each process,
and one log line says so.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

logger = logging.getLogger("gpuseg.engines")


@cache
def sources_digest() -> str:
    """SHA-256 over the Python sources of this room: part of every cache key."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _SourceKeyedCache(FunctionCache):  # type: ignore[misc]
    """numba's file cache, keyed by the sources of the whole room as well."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # numba unpickles an index before it asks how old it is; one of another release may name what is gone.
        file = self._cache_file
        file._version = f"{file._version} {sources_digest()}"  # noqa: SLF001 (numba has no public hook for it)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), sources_digest())

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel; a folder that is full or gone costs the next process time, not this one its run."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_no_cache()
            logger.debug("not kept: %s", error)


@cache
def _say_no_cache() -> None:
    logger.info(
        "compiled kernels cannot be kept on disk, so each process compiles them anew; set NUMBA_CACHE_DIR to a folder "
        "that can be written to"
    )


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, without fastmath, and cache it on disk.

    Division follows IEEE (``error_model="numpy"``); there is no ``prange``: threads are the engine's business.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = _SourceKeyedCache(function)  # noqa: SLF001 (numba has no public hook for the key)
    except RuntimeError as error:  # no locator: read-only install and no user cache folder
        _say_no_cache()
        logger.debug("not kept: %s", error)
    return dispatcher
