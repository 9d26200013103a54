"""What every method offers to training: one protocol.

A method adds its parameters to a loaded family, says how pictures are worded, which encoders must run in every step,
and turns its parameters into the tensors of a model file. It knows no data and no step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from atelier_contract.dataset import ModelType
from atelier_trainer.learn.captions import Wording


@dataclass(frozen=True)
class RateGroup:
    """Parameters that learn at one rate."""

    parameters: list[nn.Parameter]
    learning_rate: float


class Method(Protocol):
    """What is trained. Built on a family, it has already added its parameters to it."""

    type: ModelType
    wording: Wording
    has_live_text: bool
    """Whether text must be encoded in every step, because its encoder learns."""
    is_stochastic: bool
    """Whether the forward pass draws random numbers (adapter dropout)."""

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything trained, float32, by names that stay the same from attempt to attempt."""

    def rate_groups(self) -> list[RateGroup]:
        """Return the parameters by learning rate."""

    def set_training(self, *, on: bool) -> None:
        """Switch what differs between training and drawing (adapter dropout). The base model itself never differs."""

    def rewrite(self, text: str) -> str:
        """Return the text as the tokenizer must see it."""

    def export(self) -> dict[str, Tensor]:
        """Return the tensors of the model file, float32 on the CPU, by the names that tools know."""

    def describe(self) -> dict[str, str]:
        """Return the method's own entries of the file's metadata."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the parameters from an exported file's tensors.

        Raises:
            InvalidInput: the file was trained with other settings (rank, targets, vectors).
        """

    def architecture_suffix(self) -> Literal["lora", "textual-inversion"]:
        """Return the kind as ModelSpec spells it."""
