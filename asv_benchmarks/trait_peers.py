"""Scores of customers from category counts: gpuseg beside numpy and polars, in turn, medians and ratios.

    python asv_benchmarks/trait_peers.py --n 5000000 --rounds 3

All do the same: log over-index, z, five weighted sums, z again, shrink to 50; from float64 counts in the form that each
likes best (a table in C order, a frame of columns), with the reference at hand. numpy comes twice: as it is written
down, with whole tables in between, and in blocks that stay in the cache. polars and numpy's product use all threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.reference import Reference, make_reference
from gpuseg.personality.scoring import score_counts
from gpuseg.personality.weights import TraitWeight, TraitWeights
from report import machine, markdown_table, without_overrides

Float64 = npt.NDArray[np.float64]

OURS = "gpuseg"
_DRAWN = 100_000
"""Customers that are drawn; more are the same ones over and over."""
_BLOCK = 4096


@dataclass(frozen=True)
class Case:
    """Counts of customers, and all that scores them.

    Parameters
    ----------
    counts : ndarray of float64, shape (n, C)
        About 200 transactions a customer, most of them in few categories; whole, or decayed.
    frame : polars.DataFrame
        The same, a column a category.
    weights : TraitWeights
        Of T traits, every category with a weight.
    reference : Reference
        Made of the first customers.
    """

    counts: Float64
    frame: pl.DataFrame
    weights: TraitWeights
    reference: Reference

    @classmethod
    def of(cls, n: int, n_categories: int, n_traits: int, *, decayed: bool = False, seed: int = 0) -> Case:
        """Make one."""
        rng = np.random.default_rng(seed)
        drawn = min(n, _DRAWN)
        taste = rng.gamma(0.5, 1.0, n_categories) * rng.gamma(1.0, 1.0, (drawn, n_categories))
        some = rng.poisson(200.0 * taste / taste.sum(axis=1, keepdims=True)).astype(np.float64)
        some *= rng.random(some.shape) if decayed else 1.0
        names = tuple(f"c{c:02}" for c in range(n_categories))
        entries = tuple(
            TraitWeight(name, f"t{t}", float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)), "drawn")
            for t in range(n_traits)
            for name in names
        )
        weights = TraitWeights("drawn", tuple(f"t{t}" for t in range(n_traits)), entries)
        evidence = Evidence.from_dense(pa.array(np.arange(drawn)), names, some)
        reference = make_reference(lambda: [evidence], weights)
        counts = np.empty((n, n_categories))
        for start in range(0, n, drawn):
            counts[start : start + drawn] = some[: n - start]
        return cls(counts, pl.DataFrame(dict(zip(names, counts.T, strict=True))), weights, reference)

    def gpuseg(self) -> Float64:
        """On the CPU engine."""
        return score_counts(self.counts, self.reference, self.weights, engine=CpuEngine())

    def numpy(self) -> Float64:
        """As it is written down."""
        return self._numpy(self.counts)

    def numpy_blocks(self) -> Float64:
        """As it is written down, some thousand customers at a time."""
        out = np.empty((len(self.counts), len(self.weights.traits)))
        for start in range(0, len(out), _BLOCK):
            out[start : start + _BLOCK] = self._numpy(self.counts[start : start + _BLOCK])
        return out

    def _numpy(self, counts: Float64) -> Float64:
        ref, a = self.reference, self.reference.smoothing
        n = counts.sum(axis=1, keepdims=True)
        over_index = np.log((counts + a * ref.share) / ((n + a) * ref.share))
        z = (over_index - ref.mean) / ref.sd
        t = z @ self.weights.matrix(ref.categories).T
        z_t = (t - ref.trait_mean) / ref.trait_sd
        return np.asarray(50.0 + 10.0 * z_t * (n / (n + ref.shrinkage)))

    def polars(self) -> Float64:
        """As lazy expressions."""
        ref, a, names = self.reference, self.reference.smoothing, self.reference.categories
        n = pl.col("n")
        z = [
            ((((pl.col(name) + a * b) / ((n + a) * b)).log() - mean) / sd).alias(name)
            for name, b, mean, sd in zip(names, ref.share, ref.mean, ref.sd, strict=True)
        ]
        scores = []
        for t, row in enumerate(self.weights.matrix(names)):
            total = pl.sum_horizontal([pl.col(name) * w for name, w in zip(names, row, strict=True)])
            standing = (total - ref.trait_mean[t]) / ref.trait_sd[t]
            scores.append((50.0 + 10.0 * standing * (n / (n + ref.shrinkage))).alias(f"t{t}"))
        frame = self.frame.lazy().with_columns(n=pl.sum_horizontal(names)).with_columns(z).select(scores)
        return frame.collect().to_numpy()

    def peers(self) -> dict[str, Callable[[], Float64]]:
        """Everybody by name."""
        return {
            OURS: self.gpuseg,
            "numpy": self.numpy,
            "numpy, in blocks": self.numpy_blocks,
            "polars": self.polars,
        }


def compare(case: Case, rounds: int, pause: float = 0.0) -> dict[str, list[float]]:
    """Seconds of each peer, a round after the other; all have to give the same scores."""
    seconds: dict[str, list[float]] = {name: [] for name in case.peers()}
    ours = case.gpuseg()
    for number in range(rounds):
        for name, run in case.peers().items():
            time.sleep(pause)
            start = time.perf_counter()
            found = run()
            seconds[name].append(time.perf_counter() - start)
            if number == 0:
                np.testing.assert_allclose(found[:_DRAWN], ours[:_DRAWN], rtol=0, atol=1e-6, err_msg=name)
    return seconds


def ratio(seconds: dict[str, list[float]], peer: str) -> float:
    """Median over the rounds of the peer's seconds by ours."""
    return statistics.median(theirs / ours for theirs, ours in zip(seconds[peer], seconds[OURS], strict=True))


def main(arguments: list[str]) -> int:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("n", 5_000_000), ("categories", 55), ("traits", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--decayed", action="store_true", help="counts that are not whole")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each run")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    case = Case.of(given.n, given.categories, given.traits, decayed=given.decayed)
    seconds = compare(case, given.rounds, given.pause)
    rows = [
        [name, f"{statistics.median(times):.2f}", f"{ratio(seconds, name):.2f}"]
        for name, times in seconds.items()
    ]
    print("\n".join(markdown_table(["", "seconds", "ratio"], rows)))
    if given.json:
        facts = {"machine": machine(), "seconds": seconds, "n": given.n, "decayed": given.decayed}
        given.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    without_overrides()
    sys.exit(main(sys.argv[1:]))
