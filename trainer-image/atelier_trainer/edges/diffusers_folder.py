"""A base model in the diffusers layout: a folder for each part, with its config and weights.

In: the listing of a folder. Out: the facts of a base model, from configs and headers. What is said of each part's names
is what diffusers and transformers write and look for.
"""

from __future__ import annotations

from collections.abc import Mapping

from atelier_contract.architectures import FACTS, Architecture
from atelier_materials.dataset.sources import Folder, SourceFile
from atelier_trainer.edges.base_model_facts import BaseModelFacts, read_config, refuse_architecture, refuse_empty
from atelier_trainer.edges.safetensors_header import read_header
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.single_files import CROSS_ATTENTION_WEIGHT, EXTRA_CHANNELS, LATENT_CHANNELS, REFINER

WEIGHTS = {"text_encoder": "model", "text_encoder_2": "model"}
"""Stem of a part's weights file; `diffusion_pytorch_model` for all others (names of diffusers and transformers)."""
DIFFUSION_STEM = "diffusion_pytorch_model"
TOKENIZER_FILES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"})
"""One of these sets must be there."""
TEXT_WIDTHS = {
    768: Architecture.STABLE_DIFFUSION_1.value,
    1024: "Stable Diffusion 2",
    1280: REFINER,
    2048: Architecture.STABLE_DIFFUSION_XL.value,
}
"""Width of the text that a UNet reads: the published configs of each family."""
FLUX_CLASSES = {
    "FluxTransformer2DModel": Architecture.FLUX_1.value,
    "Flux2Transformer2DModel": "FLUX.2",
    "SD3Transformer2DModel": "Stable Diffusion 3",
}
FLUX_CHANNELS = {64: Architecture.FLUX_1.value, 384: "FLUX.1 Fill (inpainting)", 128: "FLUX.1 Depth or Canny (control)"}
KONTEXT_PIPELINES = frozenset({"FluxKontextPipeline", "FluxKontextInpaintPipeline"})


def check_folder(folder: Folder, files: Mapping[str, SourceFile], architecture: Architecture) -> BaseModelFacts:
    """Check a folder of parts.

    Raises:
        BaseModelUnusable: it is of another architecture, or incomplete.
    """
    found = _recognise(folder, files, architecture)
    if found != architecture.value:
        raise refuse_architecture(found, folder, architecture)
    needed: dict[str, SourceFile] = {}
    for part in FACTS[architecture].parts:
        needed |= {file.path: file for file in _find_part(folder, files, part)}
    if "model_index.json" in files:
        needed["model_index.json"] = files["model_index.json"]
    for file in needed.values():
        refuse_empty(folder, file)
    weights = [file for file in needed.values() if file.path.endswith(".safetensors")]
    denoiser = [file for file in weights if file.path.startswith(("unet/", "transformer/"))]
    return BaseModelFacts(
        files=tuple(needed[path] for path in sorted(needed)),
        weights_bytes=sum(file.bytes for file in weights),
        denoiser_parameters=_check_weights(folder, weights, architecture),
        denoiser_bytes=sum(file.bytes for file in denoiser),
        has_guidance=_has_guidance(folder, files),
    )


def _recognise(folder: Folder, files: Mapping[str, SourceFile], architecture: Architecture) -> str:
    if "transformer/config.json" in files:
        return _recognise_transformer(folder, files)
    if "unet/config.json" not in files:
        parts = FACTS[architecture].parts
        raise BaseModelUnusable(
            f"{parts[0]}/config.json is missing at {folder.address}: upload the model in the diffusers layout, a "
            f"folder with {', '.join(parts[:-1])} and {parts[-1]}, or as one .safetensors file"
        )
    config = read_config(folder, files["unet/config.json"])
    width, channels = config.get("cross_attention_dim"), config.get("in_channels", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        told = EXTRA_CHANNELS.get(channels, f"an ordinary one reads {LATENT_CHANNELS}")
        return f"one that reads {channels} channels ({told})"
    if not isinstance(width, int):
        return f"one with the cross_attention_dim {width}"
    return TEXT_WIDTHS.get(width, f"one with the cross_attention_dim {width}")


def _recognise_transformer(folder: Folder, files: Mapping[str, SourceFile]) -> str:
    config = read_config(folder, files["transformer/config.json"])
    kind = str(config.get("_class_name", "a transformer"))
    if FLUX_CLASSES.get(kind) != Architecture.FLUX_1.value:
        return FLUX_CLASSES.get(kind, kind)
    index = read_config(folder, files["model_index.json"]) if "model_index.json" in files else {}
    if index.get("_class_name") in KONTEXT_PIPELINES:
        return "FLUX.1 Kontext (picture editing)"
    channels = config.get("in_channels", 64)
    return FLUX_CHANNELS.get(channels, f"a FLUX that reads {channels} values")


def _has_guidance(folder: Folder, files: Mapping[str, SourceFile]) -> bool:
    if "transformer/config.json" not in files:
        return True
    return bool(read_config(folder, files["transformer/config.json"]).get("guidance_embeds", False))


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
    shards = read_config(folder, inside[index]).get("weight_map", {})
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
        if any(TEXT_WIDTHS.get(width) != architecture.value for width in widths):
            raise BaseModelUnusable(
                f"{file.path} at {folder.address} does not fit its own config.json (it reads text of width "
                f"{sorted(widths)}): upload both from the same model"
            )
    return parameters


def _missing(folder: Folder, what: str) -> BaseModelUnusable:
    return BaseModelUnusable(f"the model at {folder.address} lacks {what}: upload the whole folder again")
