"""Features that are one piece of knowledge (room ``insight``; jobs and reports call it): they weigh as one.

The shares of categories are one group, and so are the levels of an attribute; any other feature is a group of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.customers.attribute_encoding import attribute_of
from gpuseg.customers.reading.attribute_columns import ATTRIBUTE_PREFIX
from gpuseg.insight.measures import CATEGORY_PREFIX

SHARES = "shares of categories"
"""Name of the group of columns ``share_X``."""


def group_of(feature: str) -> str:
    """The group of a feature: its own name, where it is a group of its own."""
    if feature.startswith(CATEGORY_PREFIX):
        return SHARES
    attribute = attribute_of(feature)
    return feature if attribute is None else ATTRIBUTE_PREFIX + attribute


def group_weights(features: Sequence[str]) -> npt.NDArray[np.float64]:
    """What the scale of each feature is multiplied by, so that every group of features weighs the same.

    Parameters
    ----------
    features : sequence of str
        Features.

    Returns
    -------
    ndarray of float64, shape (d,)
        The square root of the group's size, rounded once: m columns divided by it spread as one column does. 1 for a
        feature that is a group of its own.
    """
    groups = [group_of(feature) for feature in features]
    return np.sqrt(np.array([groups.count(group) for group in groups], np.float64))
