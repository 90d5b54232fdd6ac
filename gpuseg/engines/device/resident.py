"""Blocks, labels and sums that stay on a device between the passes of one fit (room: engines).

Called by :mod:`gpuseg.engines.device.passes` and :mod:`gpuseg.engines.device.comparing`. Never part of an answer: what
was dropped costs another upload and changes no bit. The caller's states own what is kept, a budget in bytes bounds it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignResult, AssignState, Block
from gpuseg.engines.device.assign import assign_on_device
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.launch import Device, DeviceArray
from gpuseg.errors import DeviceMemoryError

logger = logging.getLogger("gpuseg.engines")

Result = TypeVar("Result")


@dataclass
class Tile:
    """Rows ``start`` to ``stop`` on the device.

    Parameters
    ----------
    start, stop : int
        Rows of the block.
    x, w : DeviceArray
        Values and weights.
    memos : dict of int to AssignMemo
        What is known of the models, by bytes of a label.
    """

    start: int
    stop: int
    x: DeviceArray
    w: DeviceArray
    memos: dict[int, AssignMemo]


class Resident:
    """One block on a device, with what passes of several models left there.

    Parameters
    ----------
    device : Device
        Where it is.
    block : ndarray of float32, shape (d, n)
        Its original on the host, which it does not keep alive.
    weights : Weights
        Those of the rows.
    ks : sequence of int
        Clusters of each model.
    widths : sequence of int
        Bytes of a label of each model.
    """

    def __init__(
        self, device: Device, block: Block, weights: Weights, ks: Sequence[int], widths: Sequence[int]
    ) -> None:
        self._device = device
        self._block = weakref.ref(block)
        self._weights = weakref.ref(weights)
        self._ks = list(ks)
        self._widths = list(widths)
        self.tiles: list[Tile] | None = []

    @property
    def nbytes(self) -> int:
        """Device memory that it holds."""
        return sum(
            tile.x.nbytes
            + tile.w.nbytes
            + sum(memo.labels.nbytes + memo.hi.nbytes + memo.lo.nbytes for memo in tile.memos.values())
            for tile in self.tiles or []
        )

    def fits(self, device: Device, block: Block, weights: Weights, models: Sequence[tuple[int, int]]) -> bool:
        """Whether it is of these objects, and knows these models: (place, clusters) each."""
        same = self._device is device and self._block() is block and self._weights() is weights
        return same and self.tiles is not None and all(self._ks[place] == k for place, k in models)

    def place(self, model: int) -> tuple[int, int]:
        """Memo of a model, by bytes of a label, and its place there."""
        width = self._widths[model]
        return width, self._widths[:model].count(width)

    def run(
        self,
        tile: Tile,
        models: Sequence[int],
        centres: Sequence[np.ndarray],
        scales: Scales,
        *,
        sums: bool,
        inertia: bool,
        distance: DeviceArray | None,
    ) -> list[AssignResult]:
        """One pass over one tile."""
        places = [self.place(model) for model in models]
        found: dict[int, AssignResult] = {}
        for width in sorted({width for width, _ in places}):
            chosen = [i for i, (other, _) in enumerate(places) if other == width]
            results = assign_on_device(
                self._device, tile.x, tile.w, [centres[i] for i in chosen], tile.memos[width], scales,
                models=[places[i][1] for i in chosen], sums=sums, inertia=inertia, distance=distance,
            )  # fmt: skip
            found.update(zip(chosen, results, strict=True))
        return [found[i] for i in range(len(models))]

    def labels(self, tiles: Sequence[Tile], models: Sequence[int], states: Sequence[AssignState]) -> None:
        """Bring the labels of models down."""
        for tile in tiles:
            rows = {width: self._device.to_host(memo.labels) for width, memo in tile.memos.items()}
            for model, state in zip(models, states, strict=True):
                width, row = self.place(model)
                state.labels[tile.start : tile.stop] = rows[width][row]

    def drop(self) -> None:
        """Let go of the device's memory; states that refer to it start afresh."""
        self.tiles = None


def memos_of(
    device: Device,
    d: int,
    weights: Weights,
    ks: Sequence[int],
    labels: Sequence[np.ndarray],
    known: Sequence[ClusterSums | None],
) -> dict[int, AssignMemo]:
    """Memos of all models on one tile, by bytes of a label.

    Parameters
    ----------
    device : Device
        Where they are made.
    d : int
        Features.
    weights : Weights
        Whose arithmetic counts.
    ks : sequence of int
        Clusters of each model.
    labels : sequence of ndarray
        Labels of the tile's rows, one array a model; not read where nothing is known.
    known : sequence of ClusterSums or None
        Sums that belong to these labels.
    """
    memos = {}
    for width in sorted({array.itemsize for array in labels}):
        models = [
            (k, array, sums)
            for k, array, sums in zip(ks, labels, known, strict=True)
            if array.itemsize == width
        ]
        memos[width] = AssignMemo.upload(device, d, weights.mode, models)
    return memos


class Keepable(Protocol):
    """What stays on a device until its owner, or the device's need, lets it go."""

    @property
    def nbytes(self) -> int:
        """Device memory that it holds."""
        ...

    def drop(self) -> None:
        """Let go of it; who finds it dropped does without."""
        ...


class Residents:
    """All that is kept on one device, within a number of bytes. What does not fit is not kept: passes go round.

    Parameters
    ----------
    budget : int
        Bytes.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: list[weakref.ref[Keepable]] = []

    def have_room(self, nbytes: int) -> bool:
        """Whether so much more can be kept."""
        with self._lock:
            return nbytes + sum(resident.nbytes for resident in self._alive()) <= self._budget

    def add(self, resident: Keepable) -> None:
        """Count it, as long as its owner holds it."""
        with self._lock:
            self._kept = [weakref.ref(other) for other in (*self._alive(), resident)]

    def drop_all(self) -> bool:
        """Let everything go; whether there was anything."""
        with self._lock:
            held = [resident for resident in self._alive() if resident.nbytes]
            for resident in held:
                resident.drop()
            self._kept = []
            return bool(held)

    def attempt(self, device: Device, work: Callable[[], Result]) -> Result | None:
        """What ``work`` gives, or None where the device is full, and then nothing is kept."""
        try:
            return work()
        except DeviceMemoryError as error:
            # As text: a record that is stored would keep the frames of the failure, and their memory.
            logger.info("the device is full, so nothing stays on it: %s", str(error))
        self.drop_all()
        device.release()
        return None

    def _alive(self) -> list[Keepable]:
        return [resident for ref in self._kept if (resident := ref()) is not None]
