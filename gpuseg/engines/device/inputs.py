"""Host arrays on their way to a device (room: engines): one type each, any strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.launch import Device, DeviceArray
from gpuseg.errors import ContractError


def upload(device: Device, array: npt.NDArray[Any], dtype: npt.DTypeLike, name: str) -> DeviceArray:
    """Copy a host array to the device, in C order.

    Parameters
    ----------
    device : Device
        Where it goes.
    array : ndarray
        Of any strides.
    dtype : data type
        The one that the kernel reads; nothing is cast.
    name : str
        What the array is called in the message.

    Returns
    -------
    DeviceArray
        Of the same shape and type.

    Raises
    ------
    ContractError
        If the array has another type.
    """
    if array.dtype != dtype:
        raise ContractError(
            f"{name} is {array.dtype}, its kernel reads {np.dtype(dtype)}; convert it with astype first"
        )
    return device.to_device(np.ascontiguousarray(array))


def upload_weights(device: Device, weights: Weights) -> DeviceArray:
    """The weights in the type that kernels read in their mode; an array of any length where every row counts once.

    Parameters
    ----------
    device : Device
        Where they go.
    weights : Weights
        Of any mode.
    """
    if weights.mode is WeightMode.REAL:
        return upload(device, weights.reals, np.float32, "weights")
    return upload(device, weights.integers, np.int64, "weights")
