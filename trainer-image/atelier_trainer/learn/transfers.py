"""Moving what the host has made ready to the device, without waiting for either."""

from __future__ import annotations

import torch
from torch import Tensor


def move_to(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a tensor of the host on a device.

    Towards a GPU it goes through pinned memory, from which the copy runs behind the host's back, in the order of what
    the device was given before.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
