"""What a fit tells while it runs (cluster): a line a pass on stdout, and a callback that may end it.

Never part of an answer: a fit that is watched ends where it would have ended, or where its callback says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.lloyd import LloydState
from gpuseg.engines.base import AssignResult

Callback = Callable[[int, float, int, npt.NDArray[np.floating[Any]]], Any]
"""``callback(iteration, inertia, n_moved, centers)``; the fit ends after an iteration for which it returns True."""


@dataclass(frozen=True)
class Watch:
    """Who looks on while a fit runs.

    Parameters
    ----------
    verbose : bool
        Whether each pass prints a line.
    callback : callable or None
        See :data:`Callback`.
    in_units : callable
        Makes centres in the input's units and type, new ones, of those in block coordinates.
    """

    verbose: bool
    callback: Callback | None
    in_units: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating[Any]]]

    @property
    def looks(self) -> bool:
        """Whether anybody does, so that passes have to add their inertia."""
        return self.verbose or self.callback is not None

    def stops(self, before: LloydState, found: AssignResult, after: LloydState) -> bool:
        """Tell of one pass; whether the callback ends the fit.

        Inertia and moved rows are those of ``before.centres``, to which the pass assigned.
        """
        if not self.looks:
            return False
        inertia = float(found.sums.inertia.to_float64())
        if self.verbose:
            _say(f"Iteration {after.iteration}, inertia {inertia}, {found.moved} rows moved.")
        stops = False
        if self.callback is not None:
            said = self.callback(after.iteration, inertia, found.moved, self.in_units(before.centres))
            # Only a truth value is an answer: a callback may well end in an expression of another type.
            stops = isinstance(said, bool | np.bool_) and bool(said)
        if self.verbose and (stops or after.finished):
            _say(_ending(after, stops=stops))
        return stops


def _ending(state: LloydState, *, stops: bool) -> str:
    """Why a fit made its last pass."""
    if state.shift == 0:
        return f"Converged at iteration {state.iteration}: the centres rest."
    if state.converged:
        reached = f"shift {state.shift} within tolerance {state.tolerance}"
        return f"Converged at iteration {state.iteration}: {reached}."
    return f"Stopped at iteration {state.iteration}: {'by the callback' if stops else 'max_iter'}."


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (what verbose means in scikit-learn)
