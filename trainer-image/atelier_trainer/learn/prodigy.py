"""Prodigy: Adam whose rate is found on the way (Mishchenko and Defazio 2023, algorithm 4).

The distance d from the start to the solution is estimated from below, by how well the gradients so far point back to
where training began; the rate is that distance times the learning rate, which is then a factor and best left at 1.

Ours and not the authors' package (which the tests compare it with) for two reasons: every number of it lives on the
device, so that a step never waits for the host and can be captured; and a group that has ended its course stands still,
where the package goes on moving it by its old moments.

Knows flat tensors and their gradients, nothing of what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.99)
"""As the diffusers examples advise for adapters; the authors' package has 0.999 for the second."""
FIRST_DISTANCE = 1e-6
"""d at the start: the authors' own, small enough for any model."""
EPSILON = 1e-8
RETIRED = "retired"
"""Key in a parameter group: its course is over, nothing of it moves."""


class Prodigy(torch.optim.Optimizer):
    """Prodigy with bias correction, decoupled weight decay and the safeguard for warm-up, as its authors advise."""

    def __init__(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> None:
        super().__init__(groups, {"lr": 1.0, "weight_decay": weight_decay, RETIRED: False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss is evaluated
        """Move every parameter of the groups that learn."""
        del closure
        groups = [group for group in self.param_groups if not group[RETIRED]]
        shared = self._share()
        beta1, beta2 = BETAS
        beta3 = math.sqrt(beta2)
        k, distance = shared["k"] + 1, shared["distance"]
        rate = distance * groups[0]["lr"] * (1 - beta2**k).sqrt() / (1 - beta1**k)
        numerator, denominator = torch.zeros_like(distance), torch.zeros_like(distance)
        for parameter in _list_parameters(groups):
            denominator += self._observe(parameter, distance, rate, beta3)
            numerator += self.state[parameter]["numerator"]
        found = torch.where(denominator > 0, numerator / denominator, distance)
        distance.copy_(torch.maximum(distance, found))
        shared["k"].add_(denominator > 0)
        for group in groups:
            for parameter in group["params"]:
                self._move(parameter, rate, distance, group["weight_decay"])

    def _share(self) -> dict[str, Tensor]:
        """Return the numbers that all groups have in common, [] float64; they are kept with the first parameter."""
        first = self.param_groups[0]["params"][0]
        state: dict[str, Tensor] = self.state[first]
        if "distance" not in state:
            for name, value in (("distance", FIRST_DISTANCE), ("k", 0.0)):
                state[name] = torch.tensor(value, dtype=torch.float64, device=first.device)
        return state

    def _observe(self, parameter: nn.Parameter, distance: Tensor, rate: Tensor, beta3: float) -> Tensor:
        """Take a gradient into the moments and into the estimate; return its part of the estimate's denominator.

        Its part of the numerator is kept with it, not in one sum: else what a group that has ended left there would be
        divided by the others' denominator alone, and the distance, which never falls, would leap.
        """
        state = self.state[parameter]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if "start" not in state:
            state["start"] = parameter.detach().clone()
            state["numerator"] = torch.zeros_like(distance)
            for name in ("exp_avg", "exp_avg_sq", "pull"):
                state[name] = torch.zeros_like(parameter)
        beta1, beta2 = BETAS
        scale = distance / FIRST_DISTANCE  # keeps the sums away from the smallest numbers
        state["numerator"].mul_(beta3).add_(scale * rate * torch.dot(gradient, state["start"] - parameter))
        weight = distance.to(parameter.dtype)
        state["exp_avg"].mul_(beta1).add_(gradient * (weight * (1 - beta1)))
        state["exp_avg_sq"].mul_(beta2).add_(gradient.square() * (weight.square() * (1 - beta2)))
        pull: Tensor = state["pull"].mul_(beta3).add_(gradient * (scale * distance).to(parameter.dtype))
        return pull.abs().sum().double()

    def _move(self, parameter: nn.Parameter, rate: Tensor, distance: Tensor, weight_decay: float) -> None:
        state = self.state[parameter]
        step = rate.to(parameter.dtype)
        if weight_decay:
            parameter.sub_(parameter * (weight_decay * step))  # 1 - 1e-8 would be 1 or twice as far from it
        scale = state["exp_avg_sq"].sqrt().add_((distance * EPSILON).to(parameter.dtype))
        parameter.sub_(state["exp_avg"] / scale * step)


def _list_parameters(groups: Sequence[dict[str, Any]]) -> list[nn.Parameter]:
    return [parameter for group in groups for parameter in group["params"]]
