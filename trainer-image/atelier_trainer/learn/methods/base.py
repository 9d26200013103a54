"""What every method offers to training: one protocol.

A method adds its parameters to a loaded family, says how pictures are worded, which encoders must run in every step,
and turns its parameters into the tensors of model files. It knows no data and no step but what it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor, nn

from atelier_contract.dataset import ModelType
from atelier_trainer.learn.captions import Wording
from atelier_trainer.learn.parameters import FlatParameters

MODEL_FILE = "model.safetensors"
"""First file of a checkpoint: what the job is for."""
EMBEDDING_FILE = "embedding.safetensors"
"""The embedding beside a concept model."""
Kind = Literal["lora", "textual-inversion"]
"""Second half of ModelSpec's `architecture`."""


@dataclass(frozen=True)
class RateGroup:
    """Parameters that learn at one rate."""

    parameters: list[nn.Parameter]
    """Flat masters: one an adapted model or table."""
    learning_rate: float
    until_step: int | None = None
    """Steps after which they stand still; None: they learn to the end."""
    decays: bool = True
    """Whether the run's weight decay is theirs too: words have a length of their own, which nothing may pull at."""


@dataclass(frozen=True)
class ModelTensors:
    """One model file of a checkpoint."""

    role: ModelType
    file_name: str
    kind: Kind
    tensors: dict[str, Tensor]
    """float32 on the CPU, by the names that tools know."""
    trigger: str = ""
    """What calls it in a prompt; may be empty."""
    entries: dict[str, str] = field(default_factory=dict)
    """The method's own entries of the file's metadata."""


class TextSide(Protocol):
    """What a method means for texts: all that encoding them needs to know of it."""

    @property
    def is_stochastic(self) -> bool:
        """Whether the forward pass draws random numbers (adapter dropout)."""

    @property
    def has_live_text(self) -> bool:
        """Whether something trained sits in a text encoder, so that its answers change from step to step."""

    def learns_text_at(self, step: int) -> bool:
        """Return whether anything in a text encoder still learns after so many steps; if not, texts can be kept."""

    def rewrite(self, text: str) -> str:
        """Return the text as the tokenizers must see it."""


class Method(TextSide, Protocol):
    """What is trained. Built on a family, it has already added its parameters to it."""

    type: ModelType
    wording: Wording

    def named_parameters(self) -> dict[str, Tensor]:
        """Return everything trained, float32 views of the flat masters, by names that stay the same between attempts.

        Whoever writes to one calls `refresh` of all `flat_parameters` afterwards.
        """

    def flat_parameters(self) -> list[FlatParameters]:
        """Return what the rate groups' masters belong to."""

    def rate_groups(self) -> list[RateGroup]:
        """Return the parameters by learning rate."""

    def set_training(self, *, on: bool) -> None:
        """Switch what differs between training and drawing (adapter dropout). The base model itself never differs."""

    def export(self) -> list[ModelTensors]:
        """Return a checkpoint's model files, that of the job's own type first."""

    def load(self, models: Mapping[ModelType, Mapping[str, Tensor]]) -> None:
        """Set the parameters from exported files' tensors, by role.

        Raises:
            InvalidInput: they were trained with other settings (rank, targets, vectors).
        """
