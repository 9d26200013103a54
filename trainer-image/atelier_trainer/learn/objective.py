"""The objective: how far the model's answer is from what it should be, as one number to go down from.

    loss =      sum over dataset rows i of  w_i λ(t_i) mean(m_i ρ(e_i)) / M
         + p ·  sum over prior rows j of    w_j λ(t_j) mean(ρ(e_j)) / P

with e the error, ρ its square or Huber's function of it, λ the family's min-SNR weight, w a row's weight, m its mask, M
the whole step's sum of masks (without masks: its number of rows), p the prior's weight and P the whole step's number of
prior rows. Both denominators belong to the whole step, so the losses of its parts, whatever process computes them, are
added and nothing is averaged.

A prior row's target is the base model's own answer to the same noised picture: what is trained must not change it.

In: a part of a batch and the conditions of its texts. Out: a scalar with a graph. It draws nothing and knows no step.
Shapes: B rows, C channels, H and W of the latents.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn import functional

from atelier_contract.settings import Settings
from atelier_trainer.learn.adapters import adapters_off
from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.families.base import Conditions, Family
from atelier_trainer.learn.methods.base import Method


def compute_loss(family: Family, method: Method, part: Batch, conditions: Conditions, settings: Settings) -> Tensor:
    """Return the part's share of its batch's loss, a scalar.

    Args:
        family: the base model with whatever is trained in it.
        method: what is trained; asked how the base model must see a text.
        part: rows of one batch, with the batch's own denominators.
        conditions: of the part's texts.
        settings: loss, min-SNR and the prior's weight.
    """
    noisy = family.add_noise(part.latents, part.noise, part.timesteps)
    target = family.target(part.latents, part.noise, part.timesteps)
    first_prior = len(part.texts) - part.prior_rows
    if part.prior_rows:
        target = torch.cat([target[:first_prior], answer_as_base(family, method, part, noisy, conditions)])
    errors = measure_errors(family.predict(noisy, part.timesteps, conditions), target, settings)
    if part.masks is not None:
        errors = errors * part.masks
    losses = errors.mean(dim=(1, 2, 3)) * family.weigh(part.timesteps, settings.snr_gamma) * part.row_weights
    if not part.prior_rows:
        return losses.sum() / part.mask_total
    total = losses[first_prior:].sum() * (_read_prior_weight(settings) / part.prior_total)
    return total + losses[:first_prior].sum() / part.mask_total if first_prior else total


def measure_errors(answer: Tensor, target: Tensor, settings: Settings) -> Tensor:
    """Return the error of every value, as the settings measure it; same shape as given.

    mse: e². huber: twice the function of Huber 1964, e² up to an error of δ and 2δ|e| - δ² beyond. The factor 2 makes
    both agree below δ, so that a learning rate that served the one serves the other.
    """
    if settings.loss == "huber":
        return 2 * functional.huber_loss(answer, target, reduction="none", delta=settings.huber_delta)
    return functional.mse_loss(answer, target, reduction="none")


@torch.no_grad()
def answer_as_base(family: Family, method: Method, part: Batch, noisy: Tensor, conditions: Conditions) -> Tensor:
    """Return what the base model answers to the prior rows of a part, [prior rows, C, H, W], with all adapters off.

    Where the text encoder learns, its adapters are off too and the rows' texts are encoded anew.
    """
    rows = slice(len(part.texts) - part.prior_rows, None)
    is_live = any(tensor.requires_grad for tensor in conditions.values())
    with ExitStack() as off:
        off.enter_context(adapters_off(family.denoiser))
        if is_live:
            for encoder in family.encoders.values():
                off.enter_context(adapters_off(encoder.model))
            own = family.encode_prompts([method.rewrite(text) for text in part.texts[rows]])
        else:
            own = {name: tensor[rows] for name, tensor in conditions.items()}
        return family.predict(noisy[rows], part.timesteps[rows], own)


def _read_prior_weight(settings: Settings) -> float:
    asked = settings.concept_model
    return asked.prior.weight if asked is not None and asked.prior is not None else 1.0
