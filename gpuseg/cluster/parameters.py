"""Parameters of an estimator (cluster): refused before any data is read, random states turned into one 64-bit seed."""

from __future__ import annotations

import numbers
import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import LARGEST
from gpuseg.errors import InputError

SEEDINGS = ("k-means++", "k-means||")
"""Names that ``init`` takes."""

DEFAULT_ROUNDS = 5
"""Rounds of k-means|| at most, where nobody says."""

ALGORITHMS = ("lloyd", "elkan", "auto", "full")
"""Names that scikit-learn and dask-ml know for one algorithm: they differ in which distances are spared."""

_SEED_LIMIT = 1 << 64
_LARGEST_FACTOR = 1 << 20
_MOST_ROUNDS = 1000


def check_parameters(
    *,
    n_clusters: Any,
    init: Any,
    n_init: Any,
    max_iter: Any,
    tol: Any,
    oversampling_factor: Any,
    init_max_iter: Any,
    min_cluster_size: Any,
) -> None:
    """Refuse parameters of KMeans that have no meaning: those that its answer depends on.

    Raises
    ------
    InputError
        Names the value and what is allowed.
    """
    if not is_whole(n_clusters) or n_clusters < 1:
        msg = f"n_clusters={n_clusters!r} must be a whole number >= 1"
        raise InputError(msg)
    if not is_whole(max_iter) or max_iter < 1:
        msg = f"max_iter={max_iter!r} must be a whole number >= 1"
        raise InputError(msg)
    if not is_number(tol) or not 0 <= tol < np.inf:
        msg = f"tol={tol!r} must be a finite number >= 0"
        raise InputError(msg)
    automatic = isinstance(n_init, str) and n_init == "auto"
    if not automatic and not (is_whole(n_init) and n_init >= 1):
        msg = f"n_init={n_init!r} must be 'auto' or a whole number >= 1"
        raise InputError(msg)
    if callable(init) or (isinstance(init, str) and init not in SEEDINGS):
        names = ", ".join(map(repr, SEEDINGS))
        msg = f"init={init!r} is not known; use {names} or an array of {n_clusters} centres"
        raise InputError(msg)
    if not is_number(oversampling_factor) or not 0 < oversampling_factor <= _LARGEST_FACTOR:
        msg = f"oversampling_factor={oversampling_factor!r} must be a number above 0, at most 2**20"
        raise InputError(msg)
    rounds = n_rounds(init_max_iter)
    if not is_whole(rounds) or not 1 <= rounds <= _MOST_ROUNDS:
        msg = f"init_max_iter={init_max_iter!r} must be a whole number from 1 to {_MOST_ROUNDS}, or None"
        raise InputError(msg)
    if not is_whole(min_cluster_size) or min_cluster_size < 0:
        msg = f"min_cluster_size={min_cluster_size!r} must be a whole number of rows, 0 for no minimum"
        raise InputError(msg)


def check_manners(
    *,
    verbose: Any,
    callback: Any,
    n_jobs: Any,
    algorithm: Any,
    copy_x: Any,
    precompute_distances: Any,
    persist: Any = "auto",
) -> None:
    """Refuse parameters without a meaning that its answer does not depend on.

    Raises
    ------
    InputError
        Names the value and what is allowed.
    """
    if n_jobs is not None and not is_whole(n_jobs):
        msg = f"n_jobs={n_jobs!r} must be a whole number, -1 for all CPUs, or None"
        raise InputError(msg)
    if not (isinstance(verbose, bool | np.bool_) or (is_whole(verbose) and verbose >= 0)):
        msg = f"verbose={verbose!r} must be True, False or a whole number >= 0"
        raise InputError(msg)
    if callback is not None and not callable(callback):
        msg = f"callback={callback!r} must be a function of (iteration, inertia, n_moved, centers), or None"
        raise InputError(msg)
    if not (isinstance(algorithm, str) and algorithm in ALGORITHMS):
        msg = f"algorithm={algorithm!r} is not known; use one of {', '.join(map(repr, ALGORITHMS))}"
        raise InputError(msg)
    if not isinstance(copy_x, bool | np.bool_):
        msg = f"copy_x={copy_x!r} must be True or False"
        raise InputError(msg)
    for name, value in (("precompute_distances", precompute_distances), ("persist", persist)):
        automatic = isinstance(value, str) and value == "auto"
        if not automatic and not isinstance(value, bool | np.bool_):
            msg = f"{name}={value!r} must be 'auto', True or False"
            raise InputError(msg)


def n_rounds(init_max_iter: Any) -> Any:
    """Rounds of k-means|| at most; None, dask-ml's default, stands for ours."""
    return DEFAULT_ROUNDS if init_max_iter is None else init_max_iter


def check_reach(reach: Any) -> None:
    """Refuse a reach of a stream that is neither None nor made of positive numbers that values may have.

    Raises
    ------
    InputError
        Names the value and what is allowed.
    """
    if reach is None:
        return
    try:
        given = np.asarray(reach, np.float64)
    except (TypeError, ValueError):
        given = np.full(1, np.nan)
    if not ((given > 0) & (given <= LARGEST)).all():
        msg = f"reach={reach!r} must be above 0 and at most 2**50, or so for each feature; None: by the first batch"
        raise InputError(msg)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer of any kind; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def seed_of(random_state: Any) -> int:
    """64 bits from any ``random_state`` that scikit-learn accepts.

    Raises
    ------
    InputError
        If it is none, or an integer outside 0 .. 2**64 - 1.
    """
    if random_state is None:
        return secrets.randbits(64)
    if is_whole(random_state):
        if not 0 <= int(random_state) < _SEED_LIMIT:
            msg = f"random_state={random_state} must be in 0 .. 2**64 - 1"
            raise InputError(msg)
        return int(random_state)
    if hasattr(random_state, "integers"):
        return int(random_state.integers(_SEED_LIMIT - 1, dtype=np.uint64, endpoint=True))
    if hasattr(random_state, "randint"):
        return int(random_state.randint(0, 1 << 32, dtype=np.uint64)) << 32 | int(
            random_state.randint(0, 1 << 32, dtype=np.uint64)
        )
    msg = f"random_state={random_state!r} cannot be used; give an int, a RandomState, a Generator or None"
    raise InputError(msg)


def centre_array(init: Any, n_clusters: int, n_features: int) -> npt.NDArray[np.float64]:
    """``init`` as float64, shape (n_clusters, n_features).

    Raises
    ------
    InputError
        If it is not numeric, of another shape, or not finite.
    """
    try:
        given = np.asarray(init)
        if given.dtype.kind == "c":
            msg = "complex numbers"
            raise TypeError(msg)  # noqa: TRY301 (one message for whatever is not a number)
        given = given if given.dtype.kind in "fiu" else given.astype(np.float64)
    except (TypeError, ValueError) as error:
        msg = f"init is not an array of numbers ({error}); give n_clusters x features"
        raise InputError(msg) from error
    if given.shape != (n_clusters, n_features):
        msg = (
            f"The shape of the initial centers {given.shape} does not match n_clusters={n_clusters} "
            f"and the {n_features} features of X"
        )
        raise InputError(msg)
    centres = given.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(centres)))
    if bad:
        msg = f"init has {bad} NaN or infinite values; give finite centres"
        raise InputError(msg)
    return centres
