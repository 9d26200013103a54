"""What ranks with unequal memory settle on."""

from __future__ import annotations

import torch

from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.engine import agree_on_recomputing
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.optimizer import build_optimizer
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.ranks import Ranks
from atelier_trainer.learn.stepping import Stepper
from learning import build_settings
from learning_results import build_on, load_family


class NearAFullGPU(Ranks):
    """One of two ranks; the other has room for one picture at a time."""

    count = 2

    def agree(self, flag: int) -> int:
        return max(flag, -1)


class BesideOneThatRecomputes(Ranks):
    """One of two ranks; the other keeps no activations."""

    count = 2

    def agree(self, flag: int) -> int:
        return max(flag, 1)


def build_stepper(ranks: Ranks) -> Stepper:
    """Return a stepper that computes four pictures at a time and keeps their activations."""
    torch.manual_seed(0)
    family, settings = load_family(), build_settings()
    method = build_on(family, settings)
    gradients = GradientComputer(family, method, PromptEncoder(family, method), settings, Draws(7), micro_batch=4)
    return Stepper(gradients, build_optimizer(method.rate_groups(), settings), 1.0, ranks)


def test_the_smallest_micro_batch_is_everybodys() -> None:
    """A rank that has room for four pictures goes on with one, because another has no room for more."""
    stepper = build_stepper(NearAFullGPU())
    stepper.agree_on_size()
    assert stepper.describe()["micro_batch"] == 1


def test_what_one_recomputes_all_recompute() -> None:
    """A rank with room for activations computes them twice all the same, because another has none for them."""
    stepper = build_stepper(BesideOneThatRecomputes())
    agree_on_recomputing(stepper)
    assert stepper.describe()["recomputes"]
    assert stepper.gradients.family.denoiser.is_gradient_checkpointing
