"""What a device keeps of several models between passes (room: engines): labels and exact sums that never leave it.

Used by :mod:`gpuseg.engines.device.assign_launch`; its layout is that of ``kernels/assign_merge.cu``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.weights import WeightMode
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import LabelArray, label_dtype
from gpuseg.engines.launch import Device, DeviceArray
from gpuseg.errors import ContractError


@dataclass
class AssignMemo:
    """What a device keeps of several models on one partition between passes: labels, and full sums in 128 bits.

    It is never part of an answer: a fresh one costs time and changes no bit.

    Parameters
    ----------
    ks : tuple of int
        Clusters of each model; all with the same type of label (:func:`gpuseg.engines.base.label_dtype`).
    d : int
        Features.
    mode : WeightMode
        Arithmetic of the weights.
    labels : DeviceArray, shape (n_models, n)
        Labels of the last pass of each model; arbitrary where nothing is known.
    hi, lo : DeviceArray of int64 and uint64
        Sums, model after model: for each cluster d totals, then the mass.
    known : list of bool
        Which models have labels and sums of a last pass.
    """

    ks: tuple[int, ...]
    d: int
    mode: WeightMode
    labels: DeviceArray
    hi: DeviceArray
    lo: DeviceArray
    known: list[bool]

    @classmethod
    def fresh(cls, device: Device, n_rows: int, d: int, ks: Sequence[int], mode: WeightMode) -> AssignMemo:
        """Nothing known yet.

        Parameters
        ----------
        device : Device
            Where it lives.
        n_rows, d : int
            Shape of the partition.
        ks : sequence of int
            Clusters of each model.
        mode : WeightMode
            Arithmetic of the weights.

        Raises
        ------
        ContractError
            If a model has no clusters, or the labels of two models have different types.
        """
        types = {np.dtype(label_dtype(k)) for k in ks}
        if len(types) != 1 or min(ks) < 1:
            raise ContractError(
                f"models with {list(ks)} clusters do not share a memo; group them by label type"
            )
        size = sum(ks) * entries_of(mode, d)
        return cls(
            tuple(ks),
            d,
            mode,
            device.empty((len(ks), n_rows), types.pop()),
            device.empty(size, np.int64),
            device.empty(size, np.uint64),
            [False] * len(ks),
        )

    @classmethod
    def upload(
        cls,
        device: Device,
        d: int,
        mode: WeightMode,
        models: Sequence[tuple[int, LabelArray, ClusterSums | None]],
    ) -> AssignMemo:
        """What the host knows of a last pass.

        Parameters
        ----------
        device : Device
            Where it lives.
        d : int
            Features.
        mode : WeightMode
            Arithmetic of the weights.
        models : sequence of (k, labels, sums)
            Of each model: clusters; labels of the last pass; its full sums, None where there was none.
        """
        memo = cls.fresh(device, models[0][1].size, d, [k for k, _, _ in models], mode)
        memo.known = [sums is not None for _, _, sums in models]
        if not any(memo.known):
            return memo
        hi = np.zeros(memo.hi.shape, np.int64)
        lo = np.zeros(memo.lo.shape, np.uint64)
        for m, (k, _, sums) in enumerate(models):
            if sums is None:
                continue
            mass = sums.mass.bins if isinstance(sums.mass, BinSum) else sums.mass.reshape(-1, 1)
            at = slice(memo.offset(m), memo.offset(m) + k * memo.entries)
            for whole, total, masses in ((hi, sums.total.hi, mass.hi), (lo, sums.total.lo, mass.lo)):
                clusters = whole[at].reshape(k, memo.entries)
                clusters[:, :d] = total
                clusters[:, d : d + masses.shape[1]] = masses
        memo.hi, memo.lo = device.to_device(hi), device.to_device(lo)
        memo.labels = device.to_device(np.stack([labels for _, labels, _ in models]))
        return memo

    @property
    def entries(self) -> int:
        """Entries of a cluster."""
        return entries_of(self.mode, self.d)

    def offset(self, model: int) -> int:
        """First entry of a model."""
        return sum(self.ks[:model]) * self.entries

    def download(self, device: Device) -> WideSum:
        """All sums; of a model that is not known, arbitrary."""
        return WideSum(device.to_host(self.hi), device.to_host(self.lo))

    def sums_of(self, model: int, full: WideSum) -> tuple[WideSum | BinSum, WideSum]:
        """Masses (k,) and totals (k, d) of a model among all sums."""
        k, at = self.ks[model], self.offset(model)
        sums = full[at : at + k * self.entries].reshape(k, self.entries)
        total = _compact(sums[:, : self.d])
        if self.mode is WeightMode.REAL:
            return BinSum(_compact(sums[:, self.d : self.d + N_BINS])), total
        return _compact(sums[:, self.d]), total


def entries_of(mode: WeightMode, d: int) -> int:
    """Entries of a cluster in the kernels' sums: d totals and the mass."""
    return d + (N_BINS if mode is WeightMode.REAL else 1)


def _compact(sums: WideSum) -> WideSum:
    return WideSum(np.ascontiguousarray(sums.hi), np.ascontiguousarray(sums.lo))
