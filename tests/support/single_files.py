"""Checkpoints in one file, made of diffusers folders by the rules of the published layouts.

The inverse of what `learn.single_file` does, written down apart from it: names by the same maps, which
`test_single_file_names` holds against diffusers' own converters, and what is joined or turned by rules stated here.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atelier_contract.architectures import FACTS, Architecture
from atelier_trainer.learn.single_file import PLACES
from atelier_trainer.single_files import LDM_UNET, PARTS_OF

ORDER = ("to_q", "q_proj", "to_k", "k_proj", "to_v", "v_proj", "proj_mlp")
"""In which order the published layouts join tensors, of whatever model."""


def convert_part(folder: Path) -> dict[str, Tensor]:
    """Return a part's tensors under the names of the published single files."""
    config = json.loads((folder / "config.json").read_text())
    kind = config.get("_class_name") or config["architectures"][0]
    place = PLACES[kind](config)
    joined: dict[str, list[str]] = defaultdict(list)
    tensors = load_file(next(folder.glob("*.safetensors")))
    for name in tensors:
        joined[place(name).name].append(name)
    return {target: _join(target, names, tensors) for target, names in joined.items()}


def _join(target: str, names: list[str], tensors: dict[str, Tensor]) -> Tensor:
    def rank(name: str) -> int:
        return next((number for number, mark in enumerate(ORDER) if mark in name.replace("add_", "to_")), 99)

    tensor = torch.cat([tensors[name] for name in sorted(names, key=rank)])
    if target.endswith("text_projection"):
        return tensor.T.contiguous()
    if "adaLN_modulation" in target:
        scale, shift = tensor.chunk(2)
        return torch.cat([shift, scale])
    if ".attn_1." in target and tensor.ndim == 2:
        return tensor[:, :, None, None].contiguous()
    return tensor


def collect_parts(folder: Path, architecture: Architecture, parts: tuple[str, ...] | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that holds these parts of a folder; all by default."""
    prefixes = {"transformer": LDM_UNET, **PARTS_OF[architecture]}
    wanted = [part for part in FACTS[architecture].parts if not part.startswith(("tokenizer", "scheduler"))]
    return {
        prefixes[part] + name: tensor
        for part in (parts or wanted)
        for name, tensor in convert_part(folder / part).items()
    }


def write_single_file(source: Path, architecture: Architecture, target: Path) -> Path:
    """Write a folder's model as one file, with its small configs and tokenizers beside it; return the folder.

    Args:
        source: a diffusers folder.
        architecture: its family.
        target: folder to make.
    """
    target.mkdir(parents=True)
    save_file(collect_parts(source, architecture), target / "model.safetensors")
    copy_configs(source, architecture, target)
    return target


def copy_configs(source: Path, architecture: Architecture, target: Path) -> None:
    """Copy configs and tokenizers of a folder, and no weights."""
    for part in FACTS[architecture].parts:
        shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("*.safetensors"))
