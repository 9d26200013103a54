"""The optimiser and its memory: AdamW, AdamW with moments of 8 bits, or Prodigy; and its state as tensors and numbers.

It sees a few flat float32 tensors by rate group and nothing of what they mean. Nothing here waits for the device, but
for AdamW8bit: its library waits after each tensor that it has moved, and takes its rate from the host.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atelier_contract.settings import Settings
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.methods.base import RateGroup
from atelier_trainer.learn.prodigy import RETIRED, Prodigy

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Loshchilov and Hutter 2019, and torch's own defaults."""
BASE_RATE = "base_rate"
"""Key in a parameter group: its rate before the schedule."""
UNTIL_STEP = "until_step"
"""Key in a parameter group: steps after which it stands still; None: never."""
_RUN_BY_US = ("params", "lr")
"""Keys of a parameter group that are not taken over from a state as they are."""


def check_optimizer(settings: Settings, device: torch.device) -> None:
    """Refuse an optimiser that cannot run here.

    Raises:
        InvalidInput: 8-bit moments without a GPU or without their library, or several rates for Prodigy.
    """
    if settings.optimizer == "AdamW8bit":
        if device.type != "cuda":
            raise InvalidInput(
                "tuning.optimizer AdamW8bit keeps its moments in 8 bits on a GPU only, and this pod has none: "
                "set it to AdamW, or ask for a GPU (pod.gpus)"
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise InvalidInput(
                "tuning.optimizer AdamW8bit needs the library bitsandbytes, which this trainer image lacks: "
                "set it to AdamW, or use an image that has it"
            )


def build_optimizer(groups: Sequence[RateGroup], settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser that the settings name.

    AdamW is the fused one: a launch a tensor. On a GPU its rate and Prodigy's are tensors there, so that captured steps
    follow the schedule. AdamW8bit's is a number: its library would read a tensor back in every step.

    Raises:
        InvalidInput: Prodigy, which finds one rate, is asked to follow several.
    """
    follows_device = settings.optimizer != "AdamW8bit"
    rows = [_describe(group, settings.weight_decay, follows_device=follows_device) for group in groups]
    if settings.optimizer == "Prodigy":
        _refuse_rates(groups)
        return Prodigy(rows, settings.weight_decay)
    if settings.optimizer == "AdamW8bit":
        from bitsandbytes.optim.adamw import AdamW8bit  # noqa: PLC0415 - of use on a GPU alone, and slow to load

        kind: Callable[..., torch.optim.Optimizer] = AdamW8bit
        return kind(rows, betas=BETAS, eps=EPSILON)
    on_gpu = any(parameter.is_cuda for group in groups for parameter in group.parameters)
    return torch.optim.AdamW(rows, betas=BETAS, eps=EPSILON, fused=True, capturable=on_gpu)


def is_capturable(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step can be captured: every number of it that changes lies on the device."""
    return isinstance(optimizer, (torch.optim.AdamW, Prodigy)) and all(
        isinstance(group["lr"], Tensor) for group in optimizer.param_groups
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float, step: int) -> None:
    """Set every group's learning rate to its own times the schedule's factor, and retire those whose course is over.

    Args:
        optimizer: of `build_optimizer`.
        factor: of the schedule at this step.
        step: steps done so far.
    """
    for group in optimizer.param_groups:
        group[RETIRED] = group[UNTIL_STEP] is not None and step >= group[UNTIL_STEP]
        _fill_rate(group, 0.0 if group[RETIRED] else group[BASE_RATE] * factor)


def list_learning(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the groups that still learn. A captured step holds for those that learned when it was captured."""
    return [group for group in optimizer.param_groups if not group[RETIRED]]


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Scale the gradients of what learns down together to a norm of at most `max_norm`, without waiting."""
    nn.utils.clip_grad_norm_([p for group in list_learning(optimizer) for p in group["params"]], max_norm)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Move what learns. A retired group is not looked at: neither its values nor its moments change."""
    groups = optimizer.param_groups
    optimizer.param_groups = list_learning(optimizer)
    try:
        optimizer.step()
    finally:
        optimizer.param_groups = groups


def split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimiser's state as tensors by `<parameter>.<entry>`, and everything else as plain JSON.

    Each tensor keeps its number format: moments of 8 bits and estimates in float64 come back as they were.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, parameter in enumerate(_list_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().to("cpu", copy=True).contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    groups = [
        {key: float(value) if key == "lr" else value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    return tensors, {"groups": groups, "scalars": scalars}


def join_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Give an optimiser of the same parameters the state that `split_state` took apart.

    It is set entry by entry, not by `load_state_dict`, which would cast every tensor to its parameter's format.
    """
    parameters = _list_parameters(optimizer)
    for index, entries in plain["scalars"].items():
        optimizer.state[parameters[int(index)]] = dict(entries)
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        optimizer.state[parameter][name] = tensor.to(parameter.device, copy=True)
    for group, saved in zip(optimizer.param_groups, plain["groups"], strict=True):
        group.update({key: value for key, value in saved.items() if key not in _RUN_BY_US})
        _fill_rate(group, saved["lr"])


def _describe(group: RateGroup, weight_decay: float, *, follows_device: bool) -> dict[str, Any]:
    """Return a rate group as optimisers take it, its rate on the GPU where it is to follow the parameters there."""
    device = group.parameters[0].device
    is_on_gpu = follows_device and device.type == "cuda"
    rate = group.learning_rate
    return {
        "params": group.parameters,
        "lr": torch.tensor(rate, dtype=torch.float32, device=device) if is_on_gpu else rate,
        "weight_decay": weight_decay if group.decays else 0.0,
        BASE_RATE: rate,
        UNTIL_STEP: group.until_step,
        RETIRED: False,
    }


def _refuse_rates(groups: Sequence[RateGroup]) -> None:
    rates = {group.learning_rate for group in groups}
    if len(rates) > 1:
        raise InvalidInput(
            "Prodigy finds one rate for all that learns: set conceptModel.textEncoderLearningRate and "
            f"conceptModel.embedding.learningRate to learningRate (they are {', '.join(map(str, sorted(rates)))})"
        )


def _fill_rate(group: dict[str, Any], rate: float) -> None:
    """Set a group's rate; a tensor keeps its place, which captured steps know."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _list_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
