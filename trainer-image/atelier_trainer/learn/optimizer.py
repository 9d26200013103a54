"""The optimiser and its memory: AdamW, and its state as tensors and plain numbers.

Knows parameters by name and nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atelier_trainer.learn.methods.base import RateGroup

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Loshchilov and Hutter 2019, and torch's own defaults."""
BASE_RATE = "base_rate"
"""Key in a parameter group: its rate before the schedule."""


def build_optimizer(groups: Sequence[RateGroup], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW in its fused form: half the framework's operations of a small step."""
    return torch.optim.AdamW(
        [{"params": group.parameters, "lr": group.learning_rate, BASE_RATE: group.learning_rate} for group in groups],
        betas=BETAS,
        eps=EPSILON,
        weight_decay=weight_decay,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its own times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Scale all gradients down together to a norm of at most `max_norm`, without waiting for the device."""
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)


def split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimiser's state as float32 tensors by `<parameter>.<entry>`, and everything else as plain JSON."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().to("cpu", torch.float32, copy=True).contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def join_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Give an optimiser of the same parameters the state that `split_state` took apart."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in plain["scalars"].items()}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
