"""Passes of Lloyd's algorithm over one host block on a device (room: engines): kept there, or tile by tile.

Called by ``DeviceEngine`` only. A caller that does not look at labels between passes lets block, labels and sums stay
on the device: then a pass uploads centres and brings down sums, nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignResult, AssignState, Block
from gpuseg.engines.device.assign import assign
from gpuseg.engines.device.resident import Resident, Residents, Tile, memos_of
from gpuseg.engines.device.tiles import HostArray, cut_weights, join_weights, run_tiles, weight_bytes
from gpuseg.engines.launch import Device
from gpuseg.errors import ContractError

Result = TypeVar("Result")
Float32Array = npt.NDArray[np.float32]


@dataclass
class Call:
    """Arguments of one :meth:`gpuseg.engines.base.Engine.assign`, and the sums that the states remembered.

    Parameters
    ----------
    block, weights, centres, states, scales, sums, inertia, distance : as ``assign`` takes them
        The states have been told to forget.
    known : list of ClusterSums or None
        One a model.
    """

    block: Block
    weights: Weights
    centres: Sequence[Float32Array]
    states: Sequence[AssignState]
    scales: Scales
    sums: bool
    inertia: bool
    distance: Float32Array | None
    known: list[ClusterSums | None]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row on the device."""
        near = 4 * (self.distance is not None)
        labels = sum(state.labels.itemsize for state in self.states)
        return 4 * len(self.block) + weight_bytes(self.weights.mode) + labels + near

    def known_of(self, start: int) -> list[ClusterSums | None]:
        """What is remembered, as a tile sees it: the first brings it in, the others add their changes."""
        return [whole if whole is None or start == 0 else self._nothing(whole) for whole in self.known]

    def finish(self, parts: Sequence[Sequence[AssignResult]]) -> list[AssignResult]:
        """Records of the models from those of the tiles."""
        models = range(len(self.states))
        return [functools.reduce(AssignResult.merge, [part[m] for part in parts]) for m in models]

    def _nothing(self, whole: ClusterSums) -> ClusterSums:
        return ClusterSums.zero(whole.total.hi.shape[0], whole.exponent, self.scales.mode)


class Passes:
    """What one device does with a block, pass after pass.

    Parameters
    ----------
    device : Device
        Where.
    tile_bytes : int
        Bytes of a tile.
    residents : Residents
        What stays on the device between passes.
    """

    def __init__(self, device: Device, tile_bytes: int, residents: Residents) -> None:
        self._device = device
        self._tile_bytes = tile_bytes
        self._residents = residents

    def assign(self, call: Call, *, labels: bool) -> list[AssignResult]:
        """One pass; ``call``'s states have been fitted to its block.

        Parameters
        ----------
        call : Call
            What to do.
        labels : bool
            Whether the caller looks at the labels now.
        """
        if call.distance is not None and len(call.states) != 1:
            raise ContractError(
                f"{len(call.states)} models cannot share one array of distances; ask for one at a time"
            )
        kept = self._kept(call)
        for state in call.states:
            # Set again by what succeeds: an exception half-way must not leave anything to build on.
            state.sums = state.kept = None
        if kept is not None:
            found = self._residents.attempt(self._device, lambda: self._again(call, *kept, labels=labels))
            if found is not None:
                return found
            # Labels that the device kept to itself are gone with it.
            call.known = [None] * len(call.states)
        elif not labels and call.sums and self._residents.have_room(call.row_bytes * call.block.shape[1]):
            found = self._residents.attempt(self._device, lambda: self._first(call))
            if found is not None:
                return found
        return self._streamed(call)

    def _kept(self, call: Call) -> tuple[Resident, list[int]] | None:
        """What earlier passes left on the device, and the places of these models there."""
        found = [state.kept for state in call.states]
        if not found or not all(isinstance(one, _Kept) for one in found):
            return None
        resident = found[0].resident
        models = [one.model for one in found]
        ks = [len(c) for c in call.centres]
        same = all(one.resident is resident for one in found) and len(set(models)) == len(models)
        if same and resident.fits(self._device, call.block, call.weights, list(zip(models, ks, strict=True))):
            return resident, models
        return None

    def _first(self, call: Call) -> list[AssignResult]:
        """The block goes up and stays."""
        ks = [len(c) for c in call.centres]
        resident = Resident(
            self._device, call.block, call.weights, ks, [state.labels.itemsize for state in call.states]
        )
        models = range(len(ks))

        def work(
            device: Device, start: int, stop: int, arrays: Sequence[HostArray]
        ) -> tuple[Tile, list[AssignResult]]:
            x, *w = arrays
            some = join_weights(call.weights.mode, w)
            labels = [state.labels[start:stop] for state in call.states]
            tile = Tile(
                start,
                stop,
                device.to_device(x),
                device.to_device(some.reals if call.weights.mode is WeightMode.REAL else some.integers),
                memos_of(self._device, len(call.block), some, ks, labels, call.known_of(start)),
            )
            found = resident.run(
                tile, models, call.centres, call.scales, sums=True, inertia=call.inertia, distance=None
            )
            return tile, found

        parts = self._run(
            call, lambda i, j: [call.block[:, i:j], *cut_weights(call.weights, i, j)], work, keep=True
        )
        resident.tiles = [tile for tile, _ in parts]
        self._residents.add(resident)
        for model, state in enumerate(call.states):
            state.kept = _Kept(resident, model)
        return call.finish([found for _, found in parts])

    def _again(
        self, call: Call, resident: Resident, models: Sequence[int], *, labels: bool
    ) -> list[AssignResult] | None:
        """Another pass over what stayed; None where it is gone."""
        device, parts = self._device, []
        # Another thread that is short of memory may drop it at any time: what this pass works on stays until its end.
        tiles = resident.tiles
        if tiles is None:
            return None
        for tile in tiles:
            far = None if call.distance is None else device.empty(tile.stop - tile.start, np.float32)
            parts.append(
                resident.run(
                    tile,
                    models,
                    call.centres,
                    call.scales,
                    sums=call.sums,
                    inertia=call.inertia,
                    distance=far,
                )
            )
            if call.distance is not None and far is not None:
                call.distance[tile.start : tile.stop] = device.to_host(far)
        results = call.finish(parts)
        if labels:
            resident.labels(tiles, models, call.states)
        for model, state, result in zip(models, call.states, results, strict=True):
            # Sums are told only beside the labels that belong to them.
            state.sums = result.sums if labels and call.sums else None
            state.kept = _Kept(resident, model)
        return results

    def _streamed(self, call: Call) -> list[AssignResult]:
        """Tiles up, labels down once."""
        n_weights = call.weights.mode is not WeightMode.NONE

        def cut(start: int, stop: int) -> list[HostArray]:
            labels = [state.labels[start:stop] for state in call.states]
            return [call.block[:, start:stop], *cut_weights(call.weights, start, stop), *labels]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> list[AssignResult]:
            x, w, labels = arrays[0], arrays[1 : 1 + n_weights], arrays[1 + n_weights :]
            own = [AssignState(here, known) for here, known in zip(labels, call.known_of(start), strict=True)]
            near = None if call.distance is None else np.empty(stop - start, np.float32)
            found = assign(
                device, x, join_weights(call.weights.mode, w), call.centres, own, call.scales,
                sums=call.sums, inertia=call.inertia, distance=near,
            )  # fmt: skip
            for state, tile in zip(call.states, own, strict=True):
                state.labels[start:stop] = tile.labels
            if call.distance is not None and near is not None:
                call.distance[start:stop] = near
            return found

        results = call.finish(self._run(call, cut, work, keep=False))
        for state, result in zip(call.states, results, strict=True):
            state.sums = result.sums if call.sums else None
        return results

    def _run(
        self,
        call: Call,
        cut: Callable[[int, int], Sequence[HostArray]],
        work: Callable[[Device, int, int, Sequence[HostArray]], Result],
        *,
        keep: bool,
    ) -> list[Result]:
        n = call.block.shape[1]
        return run_tiles(
            self._device,
            n,
            call.row_bytes,
            cut,
            work,
            tile_bytes=self._tile_bytes,
            keep=keep,
            spare=self._residents.drop_all,
        )


@dataclass(frozen=True)
class _Kept:
    """Where a state's model lies."""

    resident: Resident
    model: int
