"""What customers buy as features: the z values that scores weigh (room ``personality``; calibration takes them)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gpuseg.core import detmath
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.reference import Reference, require_categories

_BLOCK_ROWS = 1 << 14


def category_features(evidence: Evidence, reference: Reference) -> pa.Table:
    """The standardised log over-index of each customer in each category that the reference knows something of.

    Parameters
    ----------
    evidence : Evidence
        Of any customers; the features are of the customer's own evidence alone.
    reference : Reference
        Its categories, shares, means and deviations.

    Returns
    -------
    pyarrow.Table
        customer, then a float64 column a category with a share and a deviation above 0: z = (L - mu) / sigma with
        L = ln(n_c + a b_c) - ln(n + a) - ln b_c, n the transactions in all mapped categories.

    Raises
    ------
    InputError
        The categories are not those of the reference.

    Notes
    -----
    Weights that :func:`~gpuseg.personality.calibration.calibrate` finds on these features mean the same in scores. One
    dense table: 8 bytes x customers x categories; give the surveyed customers only.
    """
    require_categories(evidence, reference.categories)
    kept = np.flatnonzero((reference.share > 0.0) & (reference.sd > 0.0))
    table = np.empty((len(kept), evidence.n_customers))
    for start in range(0, evidence.n_customers, _BLOCK_ROWS):
        part = evidence.slice(start, start + _BLOCK_ROWS)
        counts = part.dense_counts()
        total = np.zeros(part.n_customers)
        for category in range(counts.shape[1]):  # ascending, as scores add
            total = total + counts[:, category]
        whole = detmath.log(total + reference.smoothing)
        for row, c in enumerate(kept.tolist()):
            share = float(reference.share[c])
            index = (
                detmath.log(counts[:, c] + reference.smoothing * share) - whole - float(detmath.log(share))
            )
            table[row, start : start + _BLOCK_ROWS] = (index - reference.mean[c]) / reference.sd[c]
    names = [reference.categories[c] for c in kept.tolist()]
    return pa.table({"customer": evidence.keys} | dict(zip(names, map(pa.array, table), strict=True)))
