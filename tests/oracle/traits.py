"""Scores from over-indexing, slow and obvious: the formula as it is written, with exact sums where there are sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def over_index(counts, share, smoothing):
    """ln((n_ic + a b_c) / ((n_i + a) b_c)); NaN where b_c is 0."""
    counts = np.asarray(counts, float)
    table = np.full(counts.shape, math.nan)
    for i, row in enumerate(counts):
        for c, count in enumerate(row):
            if share[c] > 0:
                a = smoothing
                table[i, c] = math.log((count + a * share[c]) / ((math.fsum(row) + a) * share[c]))
    return table


class Population:
    """What a reference holds, of a table of counts; customers who bought nothing count in nothing."""

    def __init__(self, counts, weights, smoothing, shrinkage):
        self.smoothing, self.shrinkage = smoothing, shrinkage
        counts = np.asarray([row for row in counts if sum(row) > 0], float)
        total = sum(Fraction(x) for x in counts.ravel())
        self.share = [float(sum(map(Fraction, column)) / total) for column in counts.T]
        table = over_index(counts, self.share, smoothing)
        self.mean = [math.fsum(column) / len(column) for column in table.T]
        self.sd = [
            math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(column))
            for column, mean in zip(table.T, self.mean, strict=True)
        ]
        self.weights = weights
        raw = self.raw(counts)
        self.trait_mean, self.trait_sd = raw.mean(axis=0), raw.std(axis=0)
        self.standing = np.sort(self.stands(counts), axis=0)

    def raw(self, counts):
        """t of each customer and trait."""
        table = over_index(counts, self.share, self.smoothing)
        found = np.zeros((len(table), len(self.weights)))
        for i, t in np.ndindex(found.shape):
            found[i, t] = math.fsum(
                w * (table[i, c] - self.mean[c]) / self.sd[c]
                for c, w in enumerate(self.weights[t])
                if self.share[c] > 0 and self.sd[c] > 1e-9
            )
        return found

    def stands(self, counts):
        n = np.asarray(counts, float).sum(axis=1)[:, None]
        z = (self.raw(counts) - self.trait_mean) / np.where(self.trait_sd > 1e-9, self.trait_sd, math.inf)
        return z * n / (n + self.shrinkage)

    def scores(self, counts):
        """T of each customer and trait."""
        return 50 + 10 * self.stands(counts)
