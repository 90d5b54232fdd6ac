"""What device verbs on coded records share (room: engines): the tally of a pass.

Host side of ``kernels/records.cuh``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.engines.launch import Device, DeviceArray
from gpuseg.engines.records import outside_buffer

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
