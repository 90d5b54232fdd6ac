"""The benchmarks run at tiny sizes, so that they cannot rot; what they compare is the same work."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "asv_benchmarks"
SUITES = sorted(path.stem for path in (FOLDER / "benchmarks").glob("[a-z]*.py") if path.stem != "data")
TINY = {"shape": [(600, 3, 4)]}
"""Sizes that replace a suite's own, by parameter name."""
KERNEL = re.compile(r"__global__ (?:\S+ )?void (?:\S+ )?(\w+)\(")
"""A kernel where it is defined; an instantiation has its arguments between."""


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def classes(suite: str) -> list[type]:
    """Those that asv finds: a name with an underscore is shared code."""
    module = importlib.import_module(f"benchmarks.{suite}")
    return [
        value
        for name, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]


@pytest.mark.parametrize("suite", SUITES)
def test_suites_run_tiny(suite):
    for benchmark in classes(suite):
        assert benchmark.__doc__.splitlines()[0].endswith("?"), (
            f"{benchmark.__name__}: the docstring is the question"
        )
        sizes = [
            TINY.get(name, values)
            for name, values in zip(benchmark.param_names, benchmark.params, strict=True)
        ]
        for case in itertools.product(*sizes):
            instance = benchmark()
            instance.setup(*case)
            try:
                for name, method in inspect.getmembers(instance, inspect.ismethod):
                    if name.startswith(("time_", "track_", "peakmem_")):
                        method(*case)
            finally:
                if hasattr(instance, "teardown"):
                    instance.teardown(*case)


def test_asv_finds_the_suites():
    settings = json.loads((FOLDER / "asv.conf.json").read_text(encoding="utf-8"))
    assert (FOLDER / settings["benchmark_dir"]).is_dir()
    assert "kmeans" in SUITES


def run_peers(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "peers.py", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment)


def test_peers_run_tiny(tmp_path):
    report = tmp_path / "peers.json"
    sizes = ("--n", "3000", "--d", "4", "--k", "5", "--iterations", "3", "--rounds", "2", "--pause", "0")
    done = run_peers("kmeans", *sizes, "--json", str(report), OPENBLAS_CORETYPE="Haswell")
    assert done.returncode == 0, done.stderr
    assert "starting again without OPENBLAS_CORETYPE" in done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["machine"]["cpus_allowed"] >= 1
    assert [comparison["data"] for comparison in found["comparisons"]] == ["blobs", "overlapping"]
    for comparison in found["comparisons"]:
        results = {result["peer"]: result for result in comparison["results"]}
        assert {"gpuseg", "scikit-learn"} <= set(results), found["missing"]
        assert set(results) | set(found["missing"]) == {
            "gpuseg",
            "scikit-learn",
            "oneDAL",
            "faiss",
            "dask-ml",
        }
        assert results["gpuseg"]["ratio"] == 1.0
        for name, result in results.items():
            assert result["peer"] in done.stdout
            assert len(result["seconds"]) == 2
            assert result["iterations"] == 3, "three iterations do not converge on these data"
            # The same work: the same local optimum, up to the rounding of another library.
            assert result["inertia"] == pytest.approx(results["gpuseg"]["inertia"], rel=1e-4), name
        ours = results["gpuseg"]
        assert ours["reported_inertia"] == pytest.approx(ours["inertia"], rel=1e-6)


def run_floor(report: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    sizes = ("--mebibytes", "1", "--turns", "1000", "--side", "32", "--rounds", "2")
    command = [sys.executable, FOLDER / "floor.py", *sizes, "--json", report, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment)


def test_the_floor_is_of_the_ceilings_of_the_same_round(tmp_path):
    report = tmp_path / "floor.json"
    done = run_floor(report, "--shapes", "3000x3x4", "5000x2x30", OPENBLAS_L2_SIZE="512")
    assert done.returncode == 0, done.stderr
    assert "starting again without OPENBLAS_L2_SIZE" in done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    small, wide = found["passes"]
    assert (small["bytes_a_row"], small["fma_a_row"]) == (4 * 3 + 1, 3 * 4)
    assert (wide["bytes_a_row"], wide["fma_a_row"]) == (4 * 2 + 1, 2 * 30)
    for one in (small, wide):
        assert f"| {one['fma_a_row']} |" in " ".join(done.stdout.split())
        for threads, timed in one["threads"].items():
            floors = [
                max(
                    one["n"] * one["bytes_a_row"] / ceilings["read"],
                    one["n"] * one["fma_a_row"] / ceilings["fma"],
                )
                for ceilings in found["ceilings"][threads]
            ]
            shares = [floor / seconds for floor, seconds in zip(floors, timed["seconds"], strict=True)]
            assert timed["share"] == statistics.median(shares)
            assert timed["floor"] == statistics.median(floors)
        assert set(one["computed"]) == {"blobs", "overlapping"}
        assert all(0 < share <= 1 for share in one["computed"].values())


def test_rounds_with_others_at_work_do_not_count_while_patience_lasts(monkeypatch):
    floor = importlib.import_module("floor")
    busy = iter([0.0, 0.6, 0.05] + [0.7] * 100)
    monkeypatch.setattr(floor, "_REST", 0)
    monkeypatch.setattr(floor, "_round", lambda *_: floor.Round({}, {}, next(busy)))
    work = floor.Work(array_bytes=1 << 16, turns=50, side=8)
    rounds, disturbed = floor.measure([], work, 2, 0.1)
    assert ([one.others for one in rounds], disturbed) == ([0.0, 0.05], 1)
    rounds, disturbed = floor.measure([], work, 2, 0.1)
    assert ([one.others for one in rounds], disturbed) == ([0.7, 0.7], floor.PATIENCE * 2)


def test_labels_of_many_clusters_are_wider_to_read():
    shape = importlib.import_module("floor").Shape.of("10x2x300")
    assert shape.bytes_a_row == 4 * 2 + 2


def test_ceilings_count_what_they_do(monkeypatch):
    ceilings = importlib.import_module("ceilings")
    bench = ceilings.Bench(ceilings.Work(array_bytes=1 << 16, turns=50, side=8))
    bench.multiply_add()
    bench.subtract_too()
    bench.read(0, bench.source.size)
    bench.source[-1] = 2
    with pytest.raises(AssertionError):
        bench.read(0, bench.source.size)
    monkeypatch.setattr(ceilings, "multiply_add_chains", lambda turns, *_: None)
    with pytest.raises(AssertionError, match="float32 counts"):
        bench.multiply_add()


@pytest.mark.parametrize("decayed", [[], ["--decayed"]])
def test_trait_peers_run_tiny_and_give_the_same_scores(tmp_path, decayed):
    report = tmp_path / "traits.json"
    sizes = ("--n", "700", "--categories", "6", "--traits", "3", "--rounds", "2", "--pause", "0")
    command = [sys.executable, FOLDER / "trait_peers.py", *sizes, "--json", report, *decayed]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert set(found["seconds"]) == {"gpuseg", "numpy", "numpy, in blocks", "polars"}
    assert all(len(times) == 2 for times in found["seconds"].values())
    assert all(name in done.stdout for name in found["seconds"])


def test_a_missing_peer_is_named(monkeypatch, capsys):
    peers = importlib.import_module("peers")
    adapters = importlib.import_module("kmeans_peers")

    def absent():
        raise adapters.PeerUnavailableError("not installed (No module named 'faiss')")

    monkeypatch.setitem(adapters.PEERS, "faiss", absent)
    assert peers.main(["kmeans", "--peers", "faiss"]) == 1
    assert "faiss: not installed" in capsys.readouterr().out


def test_the_judge_of_inertia_is_float64():
    import numpy as np

    from benchmarks.data import inertia_float64  # the fixture puts the folder on the path

    x = np.array([[1.0], [3.0], [10.0]], np.float32)
    assert inertia_float64(x, np.array([[2.0], [10.5]])) == 1.0 + 1.0 + 0.25


def test_gpu_cases_run_every_kernel_and_those_that_they_are_about(make_emulated):
    gpu = importlib.import_module("gpu")

    def clock(run):
        run()
        return 2.0

    launched = set()
    for name in gpu.CASES:
        row = gpu.measure(name, make_emulated(), clock, 600, 1)
        assert (row.case, row.n, row.milliseconds) == (name, 600, 2.0)
        assert row.gigabytes_a_second > 0
        launched |= {kernel.split("<")[0] for kernel in row.kernels}
    files = ROOT.glob("kernels/*.cu")
    declared = {name for file in files for name in KERNEL.findall(file.read_text(encoding="utf-8"))}
    assert launched == declared


def test_a_case_that_runs_another_kernel_fails(make_emulated, monkeypatch):
    gpu = importlib.import_module("gpu")
    work = importlib.import_module("gpu_cases").Work(lambda: None, 1, "assign_rows")
    monkeypatch.setitem(gpu.CASES, "nothing", lambda device, n: work)
    with pytest.raises(AssertionError, match="assign_rows did not run"):
        gpu.measure("nothing", make_emulated(), lambda run: run() or 2.0, 600, 1)


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys, tmp_path):
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu.cuda, "unavailable", lambda: "no driver; install one")
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 1
    assert (
        capsys.readouterr().out
        == "nothing is measured, there is no GPU to measure on: no driver; install one\n"
    )
    assert not list(tmp_path.iterdir())
