"""Small populations of customers for the tests of scoring."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gpuseg.personality.evidence import Evidence
from gpuseg.personality.reference import make_reference
from gpuseg.personality.weights import TraitWeight, TraitWeights

CATEGORIES = tuple(f"c{i:02}" for i in range(8))


def weights_of(table, categories=CATEGORIES, construct="test"):
    """A table of weights, a row a trait, as a record; traits t0, t1 ..."""
    entries = tuple(
        TraitWeight(categories[c], f"t{t}", float(w), "made up")
        for t, row in enumerate(np.atleast_2d(table))
        for c, w in enumerate(row)
        if w
    )
    return TraitWeights(construct, tuple(f"t{t}" for t in range(len(np.atleast_2d(table)))), entries)


def counts_of(n=300, categories=8, seed=0, *, decayed=False):
    """Counts with customers of little and of no evidence among them."""
    rng = np.random.default_rng(seed)
    taste = rng.gamma(0.7, 1.0, (n, categories)) * rng.choice([0.0, 0.3, 3.0, 20.0], (n, 1))
    counts = rng.poisson(taste).astype(float)
    return counts * rng.random((n, categories)) if decayed else counts


def evidence_of(counts, categories=CATEGORIES, keys=None, **columns):
    """Evidence of a table of counts."""
    names = np.arange(len(counts)) if keys is None else keys
    return Evidence.from_dense(pa.array(names), categories[: np.shape(counts)[1]], counts, **columns)


def reference_of(counts, weights, **options):
    """A reference of all of them, in one part."""
    evidence = evidence_of(counts)
    return make_reference(lambda: [evidence], weights, **options)
