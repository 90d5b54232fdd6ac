"""What device verbs on coded records share (room: engines): the tally of a pass, and the way of a sum of amounts.

Host side of ``kernels/records.cuh``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.engines.device.inputs import upload
from gpuseg.engines.launch import Device, DeviceArray
from gpuseg.engines.records import outside_buffer, require_same_length

logger = logging.getLogger("gpuseg.engines")

NOTHING_REFUSED = (1 << 64) - 1
INT64_SPAN = 1 << 63
"""Sums of magnitudes below this leave int64 in no order of their terms."""


@dataclass(frozen=True)
class Tally:
    """What a pass over records noted beside its sums.

    Parameters
    ----------
    refused : int or None
        Lowest number of a record with a code outside the buffers.
    left_out : int
        Records that are fine but do not count.
    magnitude : int
        Sum of the magnitudes of the amounts that were added.
    """

    refused: int | None
    left_out: int
    magnitude: int

    @classmethod
    def start(cls, device: Device) -> DeviceArray:
        """The words that kernels update.

        Parameters
        ----------
        device : Device
            Where they lie.

        Returns
        -------
        DeviceArray of uint64, shape (4,)
            Nothing refused, nothing counted.
        """
        return device.to_device(np.array([NOTHING_REFUSED, 0, 0, 0], np.uint64))

    @classmethod
    def read(cls, device: Device, words: DeviceArray) -> Tally:
        """Download a tally; waits for the stream.

        Parameters
        ----------
        device : Device
            Where the words lie.
        words : DeviceArray of uint64, shape (4,)
            From :meth:`start`.
        """
        refused, left_out, low, high = (int(word) for word in device.to_host(words))
        return cls(None if refused == NOTHING_REFUSED else refused, left_out, low + (high << 32))

    def require_codes(self, device: Device, verb: str, *codes: DeviceArray) -> None:
        """Refuse codes outside the buffers.

        Parameters
        ----------
        device : Device
            Where the codes lie.
        verb : str
            Who refuses them.
        codes : DeviceArray of integers
            Columns that are shown; downloaded only if a record is refused.

        Raises
        ------
        RangeError
            Names the first refused record, as the CPU engine does.
        """
        if self.refused is not None:
            raise outside_buffer(verb, self.refused, *(device.to_host(column) for column in codes))

    def leaves_int64(self, verb: str, sums: npt.NDArray[np.int64]) -> bool:
        """Whether some order of the records might take a sum out of int64, so that they must be added in theirs.

        Parameters
        ----------
        verb : str
            Who asks, for the log.
        sums : ndarray of int64
            What the amounts are added to.
        """
        held = max(-int(sums.min()), int(sums.max())) if sums.size else 0
        if held + self.magnitude < INT64_SPAN:
            return False
        logger.info("%s: the amounts come near the range of int64, so the CPU adds them one by one", verb)
        return True


def add_amounts(
    device: Device,
    verb: str,
    kernel: Callable[..., Tally],
    sums: npt.NDArray[np.int64],
    cells: npt.NDArray[np.bool_] | EllipsisType,
    **columns: npt.NDArray[Any],
) -> Tally | None:
    """Add amounts to the caller's sums, or leave those as they are where the order of the records matters.

    Parameters
    ----------
    device : Device
        Where it is computed.
    verb : str
        Who adds, for messages.
    kernel : callable
        Takes the columns and as many zeros as there are ``cells``, uint64, all on the device; adds modulo 2**64.
    sums : ndarray of int64
        Added to, in place.
    cells : ndarray of bool or Ellipsis
        Which of the sums the kernel has, in its order.
    **columns : ndarray, shape (m,)
        Two of codes, int64 and int32, and one of amounts, int64, under the names that messages give them.

    Returns
    -------
    Tally or None
        Of the pass; None where the magnitudes come near the range of int64: nothing was added, and the CPU has to add
        the records in their order.

    Raises
    ------
    RangeError
        Columns are of unequal length or a code is outside the buffers; ``sums`` are as they were.
    """
    require_same_length(verb, *columns.values())
    dtypes = (np.int64, np.int32, np.int64)
    uploaded = [
        upload(device, column, dtype, name)
        for (name, column), dtype in zip(columns.items(), dtypes, strict=True)
    ]
    added = device.zeros(sums[cells].shape, np.uint64)
    tally = kernel(*uploaded, added)
    if tally.leaves_int64(verb, sums):
        return None
    tally.require_codes(device, verb, *uploaded[:2])
    sums[cells] += device.to_host(added).view(np.int64)
    return tally
