"""Worker processes for tests: one cluster of each size a session, on the loopback, without a dashboard."""

from __future__ import annotations

import contextlib

TIMEOUT = 60

_running = {}


def cluster(n_workers: int):
    """The session's cluster of this size; :func:`close` ends it."""
    from distributed import LocalCluster

    if n_workers not in _running:
        _running[n_workers] = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=2 if n_workers == 1 else 1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any port: a server without pages
            scheduler_kwargs={"dashboard": False},
            memory_limit="2GiB",
            silence_logs=50,  # a killed worker is no news here
        )
    return _running[n_workers]


@contextlib.contextmanager
def client(n_workers: int):
    """The current Dask client of the block, and of nothing else."""
    from distributed import Client

    with (
        Client(cluster(n_workers), set_as_default=False, timeout=TIMEOUT) as found,
        found.as_current(),
    ):
        found.wait_for_workers(n_workers, timeout=TIMEOUT)
        yield found


def close() -> None:
    """End every cluster that is running."""
    while _running:
        _running.popitem()[1].close(timeout=TIMEOUT)
