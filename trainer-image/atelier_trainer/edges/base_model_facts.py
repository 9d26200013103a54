"""What both layouts of a base model share: what is found out, and the sentences about files that are not right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from atelier_contract.architectures import FACTS, Architecture
from atelier_materials.dataset.sources import Folder, SourceFile
from atelier_trainer.errors import BaseModelUnusable

MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True)
class BaseModelFacts:
    """A base model that can be trained on."""

    files: tuple[SourceFile, ...]
    """The ones that training needs, sorted by path."""
    weights_bytes: int
    denoiser_parameters: int
    denoiser_bytes: int = 0
    """Of the UNet's or transformer's weights as they lie there."""
    is_converted: bool = False
    """Whether the trainer writes it anew as a folder before it loads: twice the room on the pod's disk."""
    has_guidance: bool = True
    """Of FLUX: whether it was distilled to be told a guidance (dev) or not (schnell)."""

    @property
    def bytes(self) -> int:
        """Size of all needed files."""
        return sum(file.bytes for file in self.files)


def refuse_architecture(found: str, folder: Folder, architecture: Architecture) -> BaseModelUnusable:
    """Return the error of a model that is not what the user said."""
    known = {str(name) for name in FACTS}
    way_out = "correct one of the two" if found in known else f"give a {FACTS[architecture].title} base"
    return BaseModelUnusable(
        f"the model at {folder.address} is {found}, spec.baseModel.architecture says {architecture.value}: {way_out}"
    )


def read_config(folder: Folder, file: SourceFile) -> dict[str, Any]:
    """Return a config file's contents. Raises BaseModelUnusable where it is empty or no JSON."""
    refuse_empty(folder, file)
    try:
        config = json.loads(folder.shelf.read(file.key, 0, min(file.bytes, MAX_CONFIG_BYTES)))
    except ValueError as error:
        raise BaseModelUnusable(f"{file.path} at {folder.address} is not JSON: upload it again") from error
    return config if isinstance(config, dict) else {}


def refuse_empty(folder: Folder, file: SourceFile) -> None:
    """Raise BaseModelUnusable where a needed file has no bytes."""
    if not file.bytes:
        raise BaseModelUnusable(f"{file.path} at {folder.address} is empty: upload it again")
