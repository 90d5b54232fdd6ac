"""One worker a device: which devices, and what each worker is told. They are started in tests/emulator/test_fits."""

from __future__ import annotations

import pytest

from gpuseg import graph
from gpuseg.engines import cuda_driver
from gpuseg.engines.cuda_driver import Card, Driver
from gpuseg.errors import EngineUnavailableError, InputError
from gpuseg.graph.cuda_workers import cuda_workers, plan_workers, visible_devices


def shown(monkeypatch, count, chosen=None):
    cards = tuple(Card(f"Card {i}", 80, 1 << 34) for i in range(count))
    driver = Driver(13_000, cards, "" if count else "no driver; get one")
    monkeypatch.setattr(cuda_driver, "look", lambda: driver)
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)


@pytest.mark.parametrize(
    ("count", "chosen", "wanted"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "3,1", ["3", "1"]),
        (2, "GPU-a, GPU-b", ["GPU-a", "GPU-b"]),
        (1, "2,-1,3", ["2"]),
    ],
)
def test_devices_that_are_shown(monkeypatch, count, chosen, wanted):
    shown(monkeypatch, count, chosen)
    assert visible_devices() == wanted


@pytest.mark.parametrize(("chosen", "wanted"), [(None, ["1", "3"]), ("7,GPU-b,5,GPU-c", ["GPU-b", "GPU-c"])])
def test_devices_that_cannot_be_used_get_no_worker(monkeypatch, caplog, chosen, wanted):
    shown(monkeypatch, 4, chosen)
    good, old, small = Card("Good", 90, 1 << 36), Card("Old", 70, 1 << 36), Card("Small", 90, 1 << 20)
    monkeypatch.setattr(cuda_driver, "look", lambda: Driver(13_000, (old, good, small, good), ""))
    with caplog.at_level("INFO", "gpuseg.graph"):
        assert visible_devices() == wanted
    assert "Old is of compute capability 7.0" in caplog.text
    assert "Small has 0.0 GiB of memory" in caplog.text
    monkeypatch.setattr(cuda_driver, "look", lambda: Driver(13_000, (old, small), ""))
    with pytest.raises(EngineUnavailableError, match=r"no GPU to start a worker on: Old is of .*, Small has"):
        visible_devices()


def test_no_device(monkeypatch):
    shown(monkeypatch, 0)
    with pytest.raises(EngineUnavailableError, match="no GPU to start a worker on: no driver; get one"):
        cuda_workers()


def test_what_a_worker_is_told():
    first, second = plan_workers(["4", "GPU-b"], 50)
    assert first["env"] == {"CUDA_VISIBLE_DEVICES": "4", "CUPY_GPU_MEMORY_LIMIT": "50%"}
    assert second["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert (first["nthreads"], first["resources"], first["name"]) == (1, {"GPU": 1}, "gpu-4")
    assert first["memory_limit"] == second["memory_limit"] > 0
    [alone] = plan_workers(["0"], memory_limit="3GiB")
    assert alone["memory_limit"] == "3GiB"
    assert plan_workers(["0"])[0]["memory_limit"] == pytest.approx(2 * first["memory_limit"], abs=2)


@pytest.mark.parametrize(
    ("devices", "percent", "message"),
    [
        ([], 90, "at least one device"),
        (["1", "1"], 90, "none of them twice"),
        (["1"], 0, "between 1 and 100"),
    ],
)
def test_what_cannot_be(devices, percent, message):
    with pytest.raises(InputError, match=message):
        plan_workers(devices, percent)


def test_the_room_offers_it():
    assert graph.cuda_workers is cuda_workers
