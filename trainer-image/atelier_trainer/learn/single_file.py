"""Turn a base model in one file, or a few, into the folder that families load, offline.

In: a folder of the pod that holds what `edges` found to be a base model. Out: the same folder where it is in the
diffusers layout already, else a new one in scratch space: each part under the names of the installed libraries, its
numbers as they were; configs from the package's own `data`, tokenizers from the materials', or both from folders beside
the file. Tensors are read one part at a time, mapped and not copied, so that the largest part bounds the memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Container, Mapping
from fcntl import LOCK_EX, flock
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from atelier_contract.architectures import FACTS, Architecture
from atelier_materials.dataset.tokens import (
    CLIP_LENGTH,
    END,
    START,
    T5_LENGTH,
    build_clip_vocabulary,
    read_clip_merges,
    read_t5_tokenizer,
)
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.single_file_flux import place_flux
from atelier_trainer.learn.single_file_names import (
    TEXT_MODEL,
    PlaceFinder,
    place_autoencoder,
    place_clip,
    place_open_clip,
    place_t5,
    place_unet,
)
from atelier_trainer.single_files import FileHeader, SingleFile, count_blocks, recognise

DATA = files("atelier_trainer") / "data"
CONFIGS = {
    Architecture.STABLE_DIFFUSION_1: "stable_diffusion_1.json",
    Architecture.STABLE_DIFFUSION_XL: "stable_diffusion_xl.json",
    Architecture.FLUX_1: "flux_1.json",
}
SCHNELL_SCHEDULE = {"shift": 1.0, "use_dynamic_shifting": False}
"""What the published scheduler config of schnell says otherwise than dev's."""
DIFFUSION_WEIGHTS, ENCODER_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"

Config = dict[str, Any]
MODELS: dict[str, Callable[[Config], nn.Module]] = {
    "UNet2DConditionModel": UNet2DConditionModel.from_config,
    "AutoencoderKL": AutoencoderKL.from_config,
    "FluxTransformer2DModel": FluxTransformer2DModel.from_config,
    "CLIPTextModel": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
    "CLIPTextModelWithProjection": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
    "T5EncoderModel": lambda config: T5EncoderModel(T5Config(**config)),
}
PLACES: dict[str, Callable[[Config], PlaceFinder]] = {
    "UNet2DConditionModel": place_unet,
    "AutoencoderKL": place_autoencoder,
    "FluxTransformer2DModel": place_flux,
    "CLIPTextModel": place_clip,
    "CLIPTextModelWithProjection": place_open_clip,
    "T5EncoderModel": place_t5,
}


def open_base_model(folder: Path, architecture: Architecture, scratch: Path) -> Path:
    """Return a folder in the diffusers layout that holds this base model.

    Args:
        folder: what was fetched.
        architecture: the family.
        scratch: where a new folder may be made; one of an earlier call, or of another process of the pod, is used.

    Raises:
        BaseModelUnusable: the file does not hold such a model, or does not fit its config.
    """
    checkpoints = sorted(folder.glob("*.safetensors"))
    if not checkpoints or any((folder / FACTS[architecture].parts[0]).glob("*.safetensors")):
        return folder
    target = scratch / "base-model-parts"
    with (scratch / "base-model-lock").open("wb") as lock:
        flock(lock, LOCK_EX)  # goes with its holder, however that ends: nobody waits for one that failed
        if not target.exists():
            unfinished = scratch / "base-model-unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                _write_parts(checkpoints, folder, architecture, unfinished)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
                raise BaseModelUnusable(
                    f"{checkpoints[0].name} does not open as {FACTS[architecture].title} ({type(error).__name__}: "
                    f"{str(error)[:300]}): give the original checkpoint, or put its configs beside it"
                ) from error
            unfinished.rename(target)
    return target


def read_configs(architecture: Architecture) -> dict[str, Config]:
    """Return the published configs of a family by part, as they come with the trainer."""
    configs: dict[str, Config] = json.loads((DATA / CONFIGS[architecture]).read_text())
    return configs


def _write_parts(checkpoints: list[Path], folder: Path, architecture: Architecture, target: Path) -> None:
    configs = read_configs(architecture)
    for path in checkpoints:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            slices = {name: opened.get_slice(name) for name in names}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = frozenset(str(part.get_dtype()) for part in slices.values())
            found = recognise(FileHeader(shapes, dtypes, opened.metadata() or {}))
            if isinstance(found, str):
                raise BaseModelUnusable(f"{path.name} is {found}, not a base to train on")
            _adapt_configs(configs, found, shapes)
            for part, prefix in found.parts.items():
                config = _read_override(folder / part / "config.json") or configs[part]
                write_part(part, config, _build_reader(opened, prefix, shapes), target / part)
    for part in FACTS[architecture].parts:
        beside = folder / part
        if part.startswith("tokenizer"):
            _write_tokenizer(configs[part], beside, target / part)
        elif part == "scheduler":
            schedule = _read_override(beside / "scheduler_config.json") or configs[part]
            _write_json(target / part / "scheduler_config.json", schedule)


def write_part(part: str, config: Config, read: Callable[[str], Tensor], target: Path) -> None:
    """Write one part of a diffusers folder.

    Args:
        part: its name.
        config: its config, with the class in it.
        read: returns a tensor of the file by its name without the part's prefix; raises where there is none.
        target: folder to make.

    Raises:
        ValueError: a tensor has another shape than the config says.
    """
    kind = str(config.get("_class_name") or config["architectures"][0])
    with torch.device("meta"):
        wanted = MODELS[kind](config).state_dict()
    place = PLACES[kind](config)
    tensors: dict[str, Tensor] = {}
    for name, shape in ((name, tensor.shape) for name, tensor in wanted.items()):
        found = place(name)
        tensor = read(found.name)
        tensor = found.turn(tensor) if found.turn is not None else tensor
        # Some tools keep what is now a linear layer as a convolution of one pixel, or the other way round.
        if tensor.shape != shape and tensor.numel() == shape.numel():
            tensor = tensor.reshape(shape)
        if tensor.shape != shape:
            raise ValueError(f"{found.name} has the shape {list(tensor.shape)}, {part} needs {list(shape)}")
        tensors[name] = tensor.contiguous()
    _write_json(target / "config.json", config)
    stem = ENCODER_WEIGHTS if "architectures" in config else DIFFUSION_WEIGHTS
    save_file(_drop_aliases(tensors), target / stem, metadata={"format": "pt"})


def _build_reader(opened: Any, prefix: str, names: Container[str]) -> Callable[[str], Tensor]:
    """Return what reads one part's tensors from an opened file.

    Some merge tools leave `text_model.` out of a text encoder's names, as transformers does from version 5 on.
    """

    def read(name: str) -> Tensor:
        found = prefix + name
        return torch.as_tensor(opened.get_tensor(found if found in names else prefix + name.removeprefix(TEXT_MODEL)))

    return read


def _drop_aliases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out T5's second name of its token table, which the library ties again."""
    if "shared.weight" in tensors:
        tensors.pop("encoder.embed_tokens.weight", None)
    return tensors


def _adapt_configs(configs: dict[str, Config], found: SingleFile, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Set what a file itself tells of its config: FLUX's depth and kind, and velocities."""
    if found.has_velocity:
        # Merge tools mark both at once in practice: velocities, and nothing left of the picture at the last timestep.
        configs["scheduler"] |= {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in shapes}
    if "transformer" not in found.parts:
        return
    prefix = found.parts["transformer"]
    has_guidance = f"{prefix}guidance_in.in_layer.weight" in shapes
    configs["transformer"] |= {
        "guidance_embeds": has_guidance,
        "num_layers": count_blocks(shapes, prefix, "double_blocks"),
        "num_single_layers": count_blocks(shapes, prefix, "single_blocks"),
    }
    if not has_guidance:
        configs["scheduler"] |= SCHNELL_SCHEDULE


def _write_tokenizer(config: Config, beside: Path, target: Path) -> None:
    if beside.is_dir() and any(beside.iterdir()):
        shutil.copytree(beside, target)
        return
    target.mkdir(parents=True)
    if config["vocabulary"] == "t5":
        (target / "tokenizer.json").write_bytes(read_t5_tokenizer())
        told: Config = {"tokenizer_class": "T5Tokenizer", "model_max_length": T5_LENGTH, "extra_ids": 100}
        told |= {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    else:
        merges = read_clip_merges()
        (target / "merges.txt").write_text(f"#version: 0.2\n{merges}")
        (target / "vocab.json").write_text(json.dumps(build_clip_vocabulary(merges.splitlines()), ensure_ascii=False))
        told = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CLIP_LENGTH, "do_lower_case": True}
        told |= {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": config["pad_token"]}
    _write_json(target / "tokenizer_config.json", told)


def _read_override(path: Path) -> Config | None:
    if not path.is_file():
        return None
    config: Config = json.loads(path.read_text())
    return config


def _write_json(path: Path, content: Config) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
