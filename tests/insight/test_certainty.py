"""How far to trust a cut: bands, and figures a segment."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.insight.certainty import CONTINUUM, Certainty, segment_certainties


@pytest.mark.parametrize(
    ("silhouette", "band"),
    [
        (0.9, "strong"),
        (0.7, "reasonable"),
        (0.51, "reasonable"),
        (0.5, "weak"),
        (0.25, "none"),
        (-0.3, "none"),
    ],
)
def test_bands_are_of_the_euclidean_silhouette(silhouette, band):
    certainty = Certainty(silhouette, 0.99, 0.5, 3.0, ())
    assert certainty.band == band
    assert (certainty.verdict == CONTINUUM) == (band == "none")


def test_figures_of_a_segment():
    values = np.array([0.5, -0.1, 0.3, 0.2, 0.9, 0.0])
    first, second = segment_certainties(values, np.array([1, 1, 1, 1, 2, 2], np.int32))
    assert (first.segment_id, first.median, first.nearer_elsewhere) == (1, 0.25, 0.25)
    assert (first.tenth, first.ninetieth) == (-0.1, 0.5)
    assert (second.median, second.nearer_elsewhere) == (0.45, 0.0)
