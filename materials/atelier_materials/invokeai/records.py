"""What InvokeAI tells of models and installs: the fields we use of its answers, every other one passed over.

Read from InvokeAI 6.14.2 (`GET /api/v2/models/`, `…/install/{id}`). It may not know how they are asked for.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from atelier_contract.architectures import Architecture
from atelier_contract.dataset import ModelType

BASES = {
    Architecture.STABLE_DIFFUSION_1: "sd-1",
    Architecture.STABLE_DIFFUSION_XL: "sdxl",
    Architecture.FLUX_1: "flux",
}
"""InvokeAI's names of the families (`BaseModelType`)."""
TYPES: dict[ModelType, str] = {"ConceptModel": "lora", "Embedding": "embedding"}
"""InvokeAI's names of the kinds (`ModelType`)."""
OVER = frozenset({"completed", "error", "cancelled"})
"""States of an install that nothing follows."""


class Answer(BaseModel):
    """Anything that InvokeAI answers; what we do not know of it is not ours to judge."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelRecord(Answer):
    """An installed model."""

    key: str
    name: str
    type: str
    base: str
    hash: str = ""
    """`blake3:…` by default; `sha256:…` where the server is set to that."""
    file_size: int = 0
    source: str = ""
    """Where it came from: a link, or a path on the server."""
    description: str | None = None
    trigger_phrases: tuple[str, ...] | None = None
    """Of concept models; an embedding has none, it is called by its name."""
    cover_image: str | None = None
    """Address of the preview, None where there is none."""


class ModelList(Answer):
    """The installed models that a question found."""

    models: tuple[ModelRecord, ...]


class InstallJob(Answer):
    """An install on its way."""

    id: int
    status: str
    error: str | None = None
    config_out: ModelRecord | None = None
    """The model, once it is installed."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in OVER


class Version(Answer):
    """Which InvokeAI it is."""

    version: str
