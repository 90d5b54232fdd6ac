"""Which engine a parameter names, what it costs to ask for one that cannot run, and what is said once."""

from __future__ import annotations

import logging
import pickle

import pytest

from gpuseg import KMeans
from gpuseg.engines import choose, cuda
from gpuseg.engines.choose import EngineChoice, EngineKind, choose_engine, register_engine, resource_of
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import EngineUnavailableError, InputError

REASON = "the fan is off; switch it on"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(choose, "_KINDS", dict(choose._KINDS))
    choose.say_once.cache_clear()
    yield
    choose.say_once.cache_clear()


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(cuda, "unavailable", lambda: REASON)


class Other(CpuEngine):
    name = "other"


def test_cuda_without_a_device_says_why_and_what_to_do(no_cuda):
    wanted = rf"engine='cuda' cannot run here: {REASON}; or use engine='cpu', which gives the same answer"
    with pytest.raises(EngineUnavailableError, match=wanted):
        choose_engine("cuda")
    with pytest.raises(EngineUnavailableError, match=wanted):
        KMeans(2, engine="cuda").fit([[0.0], [1.0], [2.0]])


def test_auto_takes_the_cpu_and_says_so_once(no_cuda, caplog):
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        choices = [choose_engine("auto", 2) for _ in range(3)]
    assert choices == [EngineChoice("cpu", REASON, 2)] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"engine='auto' takes the CPU engine: {REASON}"
    ]
    assert repr(choices[0].build()) == "CpuEngine(n_jobs=2)"


def test_auto_takes_the_device_where_there_is_one(monkeypatch):
    monkeypatch.setattr(cuda, "unavailable", lambda: None)
    monkeypatch.setattr(cuda, "cuda_engine", lambda: Other(1))
    choice = choose_engine()
    assert choice == EngineChoice("cuda", "a device is here", required=False)
    assert choice.build().name == "other"
    assert str(choice.here()) == "cuda (a device is here)"
    asked = choose_engine("cuda")
    assert asked == EngineChoice("cuda", "asked for")
    # Work of this process asks no worker for anything.
    assert asked.resource == choice.resource == ""
    assert (resource_of("cuda"), resource_of("auto"), resource_of("cpu")) == ("GPU", "GPU", "")


def test_on_a_worker_without_a_device(no_cuda, caplog):
    """What auto chose elsewhere becomes the CPU engine; what was asked for by name is refused."""
    by_auto = pickle.loads(pickle.dumps(EngineChoice("cuda", "a device is here", 1, required=False)))
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        assert repr(by_auto.build()) == "CpuEngine(n_jobs=1)"
        assert by_auto.build().name == "cpu"
        assert str(by_auto.here()) == f"cpu ({REASON})"
    assert caplog.text.count(REASON) == 1
    with pytest.raises(EngineUnavailableError, match=REASON):
        EngineChoice("cuda", "asked for").build()
    with pytest.raises(EngineUnavailableError, match=REASON):
        EngineChoice("cuda", "asked for").here()


def test_the_driver_does_its_own_work_with_what_it_has(no_cuda, monkeypatch):
    asked = EngineChoice("cuda", "asked for", 1, resource="GPU")
    assert repr(asked.on_driver().build()) == "CpuEngine(n_jobs=1)"
    monkeypatch.setattr(cuda, "unavailable", lambda: None)
    monkeypatch.setattr(cuda, "cuda_engine", lambda: Other(1))
    assert asked.on_driver().build().name == "other"


def test_an_engine_of_somebody_else():
    with pytest.raises(InputError, match="engine='other' is not known; use one of 'auto', 'cpu', 'cuda'"):
        choose_engine("other")
    with pytest.raises(EngineUnavailableError, match="no engine 'other' is known in this process"):
        EngineChoice("other", "asked for").build()
    register_engine("other", EngineKind(Other, lambda: None, resource="FAN"))
    choice = choose_engine("other", 3)
    assert repr(choice.build()) == "CpuEngine(n_jobs=3)"
    assert choice.build().name == "other"
    assert resource_of("other") == "FAN"
