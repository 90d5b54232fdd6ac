"""Customer keys that repeat: the record settles what the key does not, so row order still does not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gpuseg import KMeans


@pytest.mark.parametrize("weighted", [False, True])
def test_row_order_does_not_matter_where_keys_repeat(weighted):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), index=pd.Index(np.arange(60) // 2, name="who"))
    frame.columns = ["a", "b"]
    weight = rng.integers(1, 4, 60).astype(float) if weighted else np.ones(60)
    reference = KMeans(4, n_init=1, max_iter=1, random_state=5).fit(frame, sample_weight=weight)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        again = KMeans(4, n_init=1, max_iter=1, random_state=5).fit(
            frame.iloc[order], sample_weight=weight[order]
        )
        assert np.array_equal(again.cluster_centers_, reference.cluster_centers_)
        assert np.array_equal(again.labels_, reference.labels_[order])
        assert again.inertia_ == reference.inertia_
