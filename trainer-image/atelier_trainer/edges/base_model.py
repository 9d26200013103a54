"""Whether a folder is a base model that can be trained on, found out from its listing, configs and headers alone.

In: a folder in the diffusers layout, wherever it lies. Out: the files that are needed and what they weigh. No weight is
read. Everything wrong is said in one sentence each, gravest first: unsafe, another architecture, incomplete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.base import digest_of
from atelier_trainer.edges.safetensors_header import is_pickle, read_header
from atelier_trainer.edges.sources import Folder, SourceFile
from atelier_trainer.errors import BaseModelUnusable

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
HEAD_BYTES = 8
WEIGHTS = {"text_encoder": "model", "text_encoder_2": "model"}
"""Stem of a part's weights file; `diffusion_pytorch_model` for all others (names of diffusers and transformers)."""
DIFFUSION_STEM = "diffusion_pytorch_model"
TOKENIZER_FILES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"})
"""One of these sets must be there."""
CROSS_ATTENTION = {
    768: Architecture.STABLE_DIFFUSION_1.value,
    1024: "Stable Diffusion 2",
    2048: Architecture.STABLE_DIFFUSION_XL.value,
}
"""Width of the text that a UNet reads: the published configs of each family."""
LATENT_CHANNELS = 4
"""Of an ordinary UNet; inpainting models read 9."""
CROSS_ATTENTION_WEIGHT = ".attn2.to_k.weight"
MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True)
class BaseModelFacts:
    """A base model that can be trained on."""

    files: tuple[SourceFile, ...]
    """The ones that training needs, sorted by path."""
    weights_bytes: int
    denoiser_parameters: int

    @property
    def bytes(self) -> int:
        """Size of all needed files."""
        return sum(file.bytes for file in self.files)


def check_base_model(folder: Folder, architecture: Architecture) -> BaseModelFacts:
    """Check a base model.

    Raises:
        BaseModelUnusable: it is missing, unsafe, of another architecture, or incomplete.
    """
    files = {file.path: file for file in folder.files()}
    if not files:
        raise BaseModelUnusable(
            f"no base model lies at {folder.address}: correct spec.baseModel.source, or upload one with "
            "kubectl atelier base-model push FOLDER"
        )
    _refuse_pickles(folder, files)
    _check_architecture(folder, files, architecture)
    needed: dict[str, SourceFile] = {}
    weights: list[SourceFile] = []
    for part in FACTS[architecture].parts:
        found = _find_part(folder, files, part)
        needed |= {file.path: file for file in found}
        weights += [file for file in found if file.path.endswith(".safetensors")]
    if "model_index.json" in files:
        needed["model_index.json"] = files["model_index.json"]
    for file in needed.values():
        _refuse_empty(folder, file)
    parameters = _check_weights(folder, weights, architecture)
    return BaseModelFacts(
        files=tuple(needed[path] for path in sorted(needed)),
        weights_bytes=sum(file.bytes for file in weights),
        denoiser_parameters=parameters,
    )


def digest_base_model(sha256_by_path: Mapping[str, str]) -> str:
    """Return the digest of a base model: over the names and contents of the files that training needs."""
    return digest_of(sorted(sha256_by_path.items()))


def _refuse_pickles(folder: Folder, files: Mapping[str, SourceFile]) -> None:
    for file in files.values():
        suffix = PurePosixPath(file.path).suffix.lower()
        if suffix in PICKLED_SUFFIXES:
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} holds pickled weights, which can run code when loaded: remove it, "
                "and upload the weights as safetensors"
            )
        # An empty file has no part that a bucket would give (416), and is no pickle.
        if suffix in {".json", ".txt", ".md"} or not file.bytes:
            continue
        if is_pickle(folder.shelf.read(file.key, 0, HEAD_BYTES)):
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} holds pickled weights under another name, which can run code when "
                "loaded: remove it, and upload the weights as safetensors"
            )


def _check_architecture(folder: Folder, files: Mapping[str, SourceFile], architecture: Architecture) -> None:
    found = _recognise(folder, files)
    if found != architecture.value:
        raise BaseModelUnusable(
            f"the model at {folder.address} is {found}, spec.baseModel.architecture says {architecture.value}: correct "
            "one of the two"
        )


def _recognise(folder: Folder, files: Mapping[str, SourceFile]) -> str:
    if "transformer/config.json" in files:
        kind = str(_read_config(folder, files["transformer/config.json"]).get("_class_name", "a transformer"))
        return Architecture.FLUX_1.value if kind == "FluxTransformer2DModel" else kind
    if "unet/config.json" not in files:
        single = [path for path in files if "/" not in path and path.endswith(".safetensors")]
        told = f" ({single[0]} is one file; this release reads folders)" if single else ""
        raise BaseModelUnusable(
            f"unet/config.json is missing at {folder.address}{told}: upload the model in the diffusers layout, a "
            "folder with unet, vae, text_encoder, tokenizer and scheduler"
        )
    config = _read_config(folder, files["unet/config.json"])
    width, channels = config.get("cross_attention_dim"), config.get("in_channels")
    if channels != LATENT_CHANNELS:
        return f"one that reads {channels} channels (an inpainting model has 9, an ordinary one {LATENT_CHANNELS})"
    if not isinstance(width, int):
        return f"one with the cross_attention_dim {width}"
    return CROSS_ATTENTION.get(width, f"one with the cross_attention_dim {width}")


def _find_part(folder: Folder, files: Mapping[str, SourceFile], part: str) -> list[SourceFile]:
    inside = {path.removeprefix(f"{part}/"): file for path, file in files.items() if path.startswith(f"{part}/")}
    texts = [file for name, file in inside.items() if name.endswith((".json", ".txt", ".model"))]
    if part.startswith("tokenizer"):
        if not any(names <= inside.keys() for names in TOKENIZER_FILES):
            raise _missing(folder, f"{part}/tokenizer.json (or vocab.json and merges.txt)")
        return texts
    config = "scheduler_config.json" if part == "scheduler" else "config.json"
    if config not in inside:
        raise _missing(folder, f"{part}/{config}")
    if part == "scheduler":
        return texts
    stem = WEIGHTS.get(part, DIFFUSION_STEM)
    return texts + [_find_file(folder, inside, part, name) for name in _list_weights(folder, inside, part, stem)]


def _list_weights(folder: Folder, inside: Mapping[str, SourceFile], part: str, stem: str) -> list[str]:
    index = f"{stem}.safetensors.index.json"
    if f"{stem}.safetensors" in inside or index not in inside:
        return [f"{stem}.safetensors"]
    shards = _read_config(folder, inside[index]).get("weight_map", {})
    if not isinstance(shards, dict) or not shards:
        raise BaseModelUnusable(f"{part}/{index} at {folder.address} names no weights: upload it again")
    return sorted({str(name) for name in shards.values()})


def _find_file(folder: Folder, inside: Mapping[str, SourceFile], part: str, name: str) -> SourceFile:
    if name not in inside:
        variants = [other for other in inside if other.endswith(".safetensors")]
        told = f"; {part}/{variants[0]} is there, rename it" if len(variants) == 1 else ""
        raise _missing(folder, f"{part}/{name}{told}")
    return inside[name]


def _check_weights(folder: Folder, weights: list[SourceFile], architecture: Architecture) -> int:
    """Check every weights file and return the denoiser's number of parameters."""
    parameters = 0
    for file in weights:
        header = read_header(file.key, file.bytes, folder.shelf.read)
        if not file.path.startswith(("unet/", "transformer/")):
            continue
        parameters += header.parameters
        widths = {shape[1] for name, shape in header.shapes.items() if name.endswith(CROSS_ATTENTION_WEIGHT)}
        if any(CROSS_ATTENTION.get(width) != architecture.value for width in widths):
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} does not fit its own config.json (it reads text of width "
                f"{sorted(widths)}): upload both from the same model"
            )
    return parameters


def _read_config(folder: Folder, file: SourceFile) -> dict[str, Any]:
    _refuse_empty(folder, file)
    try:
        config = json.loads(folder.shelf.read(file.key, 0, min(file.bytes, MAX_CONFIG_BYTES)))
    except ValueError as error:
        raise BaseModelUnusable(f"{file.path} at {folder.address} is not JSON: upload it again") from error
    return config if isinstance(config, dict) else {}


def _refuse_empty(folder: Folder, file: SourceFile) -> None:
    if not file.bytes:
        raise BaseModelUnusable(f"{file.path} at {folder.address} is empty: upload it again")


def _missing(folder: Folder, what: str) -> BaseModelUnusable:
    return BaseModelUnusable(f"the model at {folder.address} lacks {what}: upload the whole folder again")
