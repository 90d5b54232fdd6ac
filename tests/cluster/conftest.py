"""Worker processes for this room's tests."""

from __future__ import annotations

import pytest

from tests.graph import workers


@pytest.fixture(scope="session", autouse=True)
def _clusters():
    """Whatever cluster the session started ends with it."""
    yield
    workers.close()


@pytest.fixture(params=[1, 3], ids=["1 process", "3 processes"])
def processes(request):
    """A client of one worker process with two threads, and of three with one each."""
    with workers.client(request.param) as client:
        yield client


@pytest.fixture
def three():
    """A client of three worker processes."""
    with workers.client(3) as client:
        yield client
