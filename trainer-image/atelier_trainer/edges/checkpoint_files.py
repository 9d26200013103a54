"""A base model in one weights file, or a few beside each other: Stability's layout, FLUX's transformer with its parts.

In: the listing of a folder, or one named file. Out: the facts of a base model, from headers alone. Configs and
tokenizers that such files lack come with the trainer (`data/`); a folder `unet` or `tokenizer` beside the file, with
configs and no weights, takes their place. The trainer writes the parts out as a folder before it loads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from atelier_contract.architectures import FACTS, Architecture
from atelier_materials.dataset.sources import Folder, SourceFile
from atelier_trainer.edges.base_model_facts import BaseModelFacts, refuse_architecture
from atelier_trainer.edges.safetensors_header import WeightsHeader, read_header
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.single_files import SingleFile, recognise

WEIGHT_SUFFIXES = (".safetensors", ".gguf")
CONFIG_SUFFIXES = (".json", ".txt", ".model")
USUAL_FILES = {
    "vae": "the VAE (ae.safetensors)",
    "text_encoder": "the CLIP text encoder (clip_l.safetensors)",
    "text_encoder_2": "the T5 text encoder (t5xxl_fp16.safetensors)",
}
"""What FLUX's separate files are called where they are handed around."""
WAYS_OUT = {
    "a LoRA": "name it in spec.startFrom of a job that trains it on, and give the base it was made for here",
    "an embedding": "name the base that it was made for",
    "a part of a diffusers folder": "upload the whole folder, with unet or transformer, vae and encoders",
}
TRANSFORMER_BLOCKS = {Architecture.STABLE_DIFFUSION_1: 16, Architecture.STABLE_DIFFUSION_XL: 70}
"""Of the published UNets; distilled ones (SSD, Vega) have fewer and need their own config beside the file."""


@dataclass(frozen=True)
class ReadFile:
    """A weights file whose header was read and understood."""

    file: SourceFile
    header: WeightsHeader
    found: SingleFile


def list_checkpoints(files: Mapping[str, SourceFile]) -> list[SourceFile]:
    """Return the weights files at the top, where no folder of a diffusers layout has the denoiser's weights."""
    if any(path.startswith(("unet/", "transformer/")) and ".safetensors" in path for path in files):
        return []
    return [file for path, file in files.items() if "/" not in path and path.lower().endswith(WEIGHT_SUFFIXES)]


def check_files(
    folder: Folder, files: Mapping[str, SourceFile], checkpoints: Sequence[SourceFile], architecture: Architecture
) -> BaseModelFacts:
    """Check checkpoints in single files.

    Raises:
        BaseModelUnusable: none is a base model, there are several, it is another architecture's, or lacks a part.
    """
    read = [_read(folder, file, architecture) for file in checkpoints]
    bases = [one for one in read if one.found.architecture is not None]
    if len(bases) != 1:
        raise _refuse_number(folder, [one.file.path for one in bases], [one.file.path for one in read])
    base = bases[0]
    if base.found.architecture is not architecture:
        raise refuse_architecture(str(base.found.architecture), folder, architecture)
    configs = [file for path, file in files.items() if "/" in path and path.endswith(CONFIG_SUFFIXES)]
    configured = {PurePosixPath(file.path).parts[0] for file in configs}
    _check_parts(folder, base, read)
    if "unet" not in configured:
        _check_depth(folder, base)
    needed = {file.path: file for file in [*configs, *(one.file for one in read)]}
    return BaseModelFacts(
        files=tuple(needed[path] for path in sorted(needed)),
        weights_bytes=sum(one.file.bytes for one in read),
        denoiser_parameters=base.found.denoiser_parameters,
        denoiser_bytes=base.file.bytes if architecture is Architecture.FLUX_1 else base.found.denoiser_parameters * 2,
        is_converted=True,
        has_guidance=architecture is not Architecture.FLUX_1
        or any("guidance_in." in name for name in base.header.shapes),
    )


def _read(folder: Folder, file: SourceFile, architecture: Architecture) -> ReadFile:
    header = read_header(file.key, file.bytes, folder.shelf.read)
    found = recognise(header)
    if isinstance(found, str):
        way_out = WAYS_OUT.get(found, f"give a {FACTS[architecture].title} base, or a diffusers folder")
        raise BaseModelUnusable(f"{file.path} at {folder.address} is {found}, not a base to train on: {way_out}")
    if found.architecture is Architecture.FLUX_1 and "kontext" in file.path.lower():
        raise refuse_architecture("FLUX.1 Kontext (picture editing)", folder, architecture)
    return ReadFile(file, header, found)


def _refuse_number(folder: Folder, bases: Sequence[str], parts: Sequence[str]) -> BaseModelUnusable:
    if bases:
        return BaseModelUnusable(
            f"{folder.address} holds {len(bases)} base models ({', '.join(bases)}): name one of them in "
            "spec.baseModel.source, or keep one in the folder"
        )
    return BaseModelUnusable(
        f"{folder.address} holds parts of a base model ({', '.join(parts)}) and no UNet or transformer: put the "
        "checkpoint beside them"
    )


def _check_parts(folder: Folder, base: ReadFile, read: Sequence[ReadFile]) -> None:
    architecture = base.found.architecture
    assert architecture is not None  # noqa: S101 - the caller chose a base
    held: dict[str, str] = {}
    for one in read:
        for part in one.found.parts:
            if part in held:
                raise BaseModelUnusable(
                    f"{held[part]} and {one.file.path} at {folder.address} both hold the {part}: keep one of them"
                )
            held[part] = one.file.path
    wanted = [part for part in FACTS[architecture].parts if not part.startswith(("tokenizer", "scheduler"))]
    missing = [part for part in wanted if part not in held]
    if not missing:
        return
    if architecture is Architecture.FLUX_1:
        told = ", ".join(USUAL_FILES[part] for part in missing)
        raise BaseModelUnusable(
            f"{base.file.path} at {folder.address} is FLUX's transformer without {told}: put these files into one "
            "folder with it and name the folder in spec.baseModel.source, or give a diffusers folder"
        )
    raise BaseModelUnusable(
        f"{base.file.path} at {folder.address} lacks {', '.join(missing)}: give a checkpoint that holds all parts "
        "(such files are often called pruned or full), or a diffusers folder"
    )


def _check_depth(folder: Folder, base: ReadFile) -> None:
    """Refuse a UNet that the published config does not describe."""
    assert base.found.architecture is not None  # noqa: S101 - the caller chose a base
    expected = TRANSFORMER_BLOCKS.get(base.found.architecture)
    blocks = sum(name.endswith(".attn2.to_q.weight") for name in base.header.shapes)
    if expected is not None and blocks != expected:
        raise BaseModelUnusable(
            f"{base.file.path} at {folder.address} has {blocks} transformer blocks, {base.found.architecture} has "
            f"{expected}: it is a distilled or changed model, put its unet/config.json beside it"
        )
