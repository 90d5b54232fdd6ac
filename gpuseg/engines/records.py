"""What every engine refuses of coded records, in the same words (room: engines).

A record is a line of a transaction table whose customer, period or category has been replaced by a code 0, 1, 2 ...
Where several records could be refused, it is always the first of them that is named.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from gpuseg.errors import RangeError

_NUMBER = re.compile(r"(?<= record )\d+")


def require_same_length(verb: str, *arrays: npt.NDArray[np.generic]) -> None:
    """Refuse columns that do not have one entry a record.

    Parameters
    ----------
    verb : str
        Who asks.
    arrays : ndarray
        Their first axis counts.

    Raises
    ------
    RangeError
        Names the lengths.
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise RangeError(f"{verb}: buffers of unequal length {sorted(lengths)}; one entry a record is needed")


def outside_buffer(verb: str, row: int, *codes: npt.NDArray[np.integer]) -> RangeError:
    """The error of a record whose code is outside a buffer.

    Parameters
    ----------
    verb : str
        Who refuses it.
    row : int
        Number of the record.
    codes : ndarray of integers
        Columns whose entry ``row`` is shown.

    Returns
    -------
    RangeError
        To be raised.
    """
    shown = ", ".join(str(int(array[row])) for array in codes)
    return RangeError(f"{verb}: code ({shown}) of record {row} is outside the buffer")


def past_int64(verb: str, row: int) -> RangeError:
    """The error of a record whose amount takes a sum out of int64.

    Parameters
    ----------
    verb : str
        Who refuses it.
    row : int
        Number of the record.

    Returns
    -------
    RangeError
        To be raised.
    """
    return RangeError(f"{verb}: a sum passes the range of int64 at record {row}; use a coarser minor unit")


def renumbered(error: RangeError, first: int) -> RangeError:
    """The refusal of a record among some, as it reads among all.

    Parameters
    ----------
    error : RangeError
        From :func:`outside_buffer` or :func:`past_int64`; another is given back as it reads.
    first : int
        Number of the first of those records.

    Returns
    -------
    RangeError
        To be raised.

    Examples
    --------
    >>> str(renumbered(past_int64("revenue", 2), 100))
    'revenue: a sum passes the range of int64 at record 102; use a coarser minor unit'
    """
    return RangeError(_NUMBER.sub(lambda found: str(int(found[0]) + first), str(error), count=1))
