"""Mistakes in the base model: each refused from headers and configs alone, in one sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from atelier_contract.architectures import Architecture
from atelier_materials.dataset.sources import Folder
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.edges.base_model import check_base_model
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.single_files import LDM_UNET
from learning import BASE_MODEL
from mistakes import assert_one_sentence
from single_files import collect_parts, convert_part, copy_configs, write_single_file
from tiny_models import write_flux, write_stable_diffusion_1, write_stable_diffusion_xl

SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    """A tiny model of each family, of the widths that tools recognise them by."""
    root = tmp_path_factory.mktemp("models")
    return {
        SD1: write_stable_diffusion_1(root / "sd1", text_width=768),
        XL: write_stable_diffusion_xl(root / "xl", text_widths=(768, 1280)),
        FLUX: write_flux(root / "flux"),
    }


def check(path: Path, architecture: Architecture) -> str:
    """Return how a folder or file is refused."""
    with pytest.raises(BaseModelUnusable) as refusal:
        check_base_model(Folder(VolumeStore(path.parent), path.name), architecture)
    return str(refusal.value)


@pytest.mark.parametrize("architecture", [SD1, XL, FLUX])
def test_folders_are_taken(models: dict[Architecture, Path], architecture: Architecture) -> None:
    """A diffusers folder of each family is a base model."""
    facts = check_base_model(Folder(VolumeStore(models[architecture]), ""), architecture)
    assert facts.denoiser_parameters > 0
    assert not facts.is_converted


@pytest.mark.parametrize("architecture", [SD1, XL, FLUX])
def test_single_files_are_taken(models: dict[Architecture, Path], architecture: Architecture, tmp_path: Path) -> None:
    """A checkpoint of one file is one too, with as many weights in its denoiser as the folder it was made of."""
    single = write_single_file(models[architecture], architecture, tmp_path / "single")
    facts = check_base_model(Folder(VolumeStore(single), ""), architecture)
    known = check_base_model(Folder(VolumeStore(models[architecture]), ""), architecture)
    assert (facts.is_converted, facts.denoiser_parameters) == (True, known.denoiser_parameters)


@pytest.mark.parametrize("architecture", [SD1, XL, FLUX])
def test_only_schnell_lacks_guidance(
    models: dict[Architecture, Path], architecture: Architecture, tmp_path: Path
) -> None:
    """A model of one file is not taken for FLUX.1 schnell for being of another family."""
    single = write_single_file(models[architecture], architecture, tmp_path / "single")
    assert check_base_model(Folder(VolumeStore(single), ""), architecture).has_guidance


def test_a_named_file_is_taken(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """The address may name the file itself; what lies beside it is then not looked at."""
    single = write_single_file(models[FLUX], FLUX, tmp_path / "single")
    (single / "other.ckpt").write_bytes(b"any")
    facts = check_base_model(Folder(VolumeStore(single), "model.safetensors"), FLUX)
    assert [file.path for file in facts.files] == ["model.safetensors"]


def test_a_public_repository_may_hold_pickles_beside(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """Of somebody else's repository the needed files alone count: nobody can remove the others."""
    single = write_single_file(models[FLUX], FLUX, tmp_path / "single")
    (single / "old.ckpt").write_bytes(b"any")
    facts = check_base_model(Folder(VolumeStore(single), "", is_public=True), FLUX)
    assert "old.ckpt" not in {file.path for file in facts.files}
    assert "old.ckpt" in check(single, FLUX)


Spoil = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def lora(_: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the names of a LoRA."""
    name = "lora_unet_down_blocks_0_attentions_0_proj_in"
    return {f"{name}.lora_down.weight": torch.zeros(4, 8), f"{name}.lora_up.weight": torch.zeros(8, 4)}


def widen_input(channels: int) -> Spoil:
    """Return what gives a UNet's input more channels."""

    def spoil(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {f"{LDM_UNET}input_blocks.0.0.weight": torch.zeros(16, channels, 3, 3)}

    return spoil


def widen_text(width: int) -> Spoil:
    """Return what makes a UNet read texts of another width."""
    name = f"{LDM_UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    return lambda tensors: tensors | {name: torch.zeros(32, width)}


def patch_flux(channels: int) -> Spoil:
    """Return what makes a FLUX transformer read other patches."""
    return lambda tensors: tensors | {f"{LDM_UNET}img_in.weight": torch.zeros(32, channels)}


def drop(prefix: str) -> Spoil:
    """Return what takes a part away."""
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


SPOILT: dict[str, tuple[Architecture, Architecture, Spoil, tuple[str, ...]]] = {
    "lora-as-base": (SD1, SD1, lora, ("model.safetensors", "is a LoRA", "spec.startFrom")),
    "embedding-as-base": (
        SD1,
        SD1,
        lambda _: {"emb_params": torch.zeros(4, 768)},
        ("is an embedding", "name the base that it was made for"),
    ),
    "xl-as-sd1": (XL, SD1, dict, ("is StableDiffusionXL", "says StableDiffusion1", "correct one of the two")),
    "sd1-as-xl": (SD1, XL, dict, ("is StableDiffusion1", "says StableDiffusionXL", "correct one of the two")),
    "flux-as-xl": (FLUX, XL, dict, ("is Flux1", "says StableDiffusionXL", "correct one of the two")),
    "sd2": (SD1, SD1, widen_text(1024), ("is Stable Diffusion 2", "give a Stable Diffusion 1 base")),
    "inpainting": (SD1, SD1, widen_input(9), ("is an inpainting model", "give a Stable Diffusion 1 base")),
    "picture-editing": (SD1, SD1, widen_input(8), ("is a picture-editing model",)),
    "refiner": (XL, XL, widen_text(1280), ("is the refiner of Stable Diffusion XL", "give a Stable Diffusion XL base")),
    "flux-fill": (FLUX, FLUX, patch_flux(384), ("is FLUX.1 Fill", "give a FLUX.1 base")),
    "flux-depth": (FLUX, FLUX, patch_flux(128), ("is FLUX.1 Depth or Canny",)),
    "flux-2": (
        FLUX,
        FLUX,
        lambda tensors: tensors | {"double_stream_modulation_img.lin.weight": torch.zeros(1)},
        ("is FLUX.2", "give a FLUX.1 base"),
    ),
    "controlnet": (SD1, SD1, lambda _: {"control_model.input_blocks.0.0.weight": torch.zeros(1)}, ("a ControlNet",)),
    "fp8": (
        FLUX,
        FLUX,
        lambda tensors: {name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()},
        ("is quantised (fp8, 4 or 8 bits)", "rounded for good"),
    ),
    "nf4": (
        FLUX,
        FLUX,
        lambda tensors: tensors | {"x.weight.absmax": torch.zeros(1)},
        ("is quantised (fp8, 4 or 8 bits)",),
    ),
    "flux-without-encoders": (
        FLUX,
        FLUX,
        lambda tensors: drop("vae.")(drop("text_encoders.")(tensors)),
        ("ae.safetensors", "clip_l.safetensors", "t5xxl_fp16.safetensors", "one folder with it"),
    ),
    "sd1-without-vae": (SD1, SD1, drop("first_stage_model."), ("lacks vae", "holds all parts")),
    "a-part-of-a-folder": (
        SD1,
        SD1,
        lambda _: {"down_blocks.0.resnets.0.conv1.weight": torch.zeros(1)},
        ("is a part of a diffusers folder", "upload the whole folder"),
    ),
}


@pytest.mark.parametrize("mistake", SPOILT)
def test_spoilt_single_files(models: dict[Architecture, Path], mistake: str, tmp_path: Path) -> None:
    """A single file that is no base model of the family says what it is, and what to give instead."""
    made_of, said, spoil, words = SPOILT[mistake]
    folder = tmp_path / "single"
    copy_configs(models[made_of], made_of, folder)
    save_file(spoil(collect_parts(models[made_of], made_of)), folder / "model.safetensors")
    assert_one_sentence(check(folder, said), *words)


def test_distilled_unet(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """A UNet of other depth than the published one needs its own config, and says so."""
    folder = tmp_path / "single"
    folder.mkdir()
    save_file(collect_parts(models[XL], XL), folder / "model.safetensors")
    assert_one_sentence(
        check(folder, XL), "transformer blocks", "StableDiffusionXL has 70", "unet/config.json beside it"
    )


def test_kontext_by_its_metadata(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """FLUX.1 Kontext has the very shapes of dev, and is known by what the file says of itself."""
    tensors = collect_parts(models[FLUX], FLUX)
    folder = tmp_path / "single"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"modelspec.title": "FLUX.1 Kontext [dev]"})
    assert_one_sentence(check(folder, FLUX), "is FLUX.1 Kontext", "give a FLUX.1 base")


def test_kontext_by_its_pipeline(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """In a folder, the model index names Kontext's pipeline."""
    folder = write_flux(tmp_path / "kontext")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "FluxKontextPipeline"}))
    assert_one_sentence(check(folder, FLUX), "is FLUX.1 Kontext", "give a FLUX.1 base")


def test_two_checkpoints_in_a_folder(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """Which of several base models is meant is asked, not guessed."""
    folder = tmp_path / "single"
    folder.mkdir()
    for name in ("one", "two"):
        save_file(collect_parts(models[FLUX], FLUX), folder / f"{name}.safetensors")
    assert_one_sentence(check(folder, FLUX), "2 base models", "one.safetensors, two.safetensors", "name one of them")


def test_two_files_with_the_same_part(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """A VAE that lies there twice is asked about, not chosen."""
    folder = write_single_file(models[FLUX], FLUX, tmp_path / "single")
    save_file(convert_part(models[FLUX] / "vae"), folder / "ae.safetensors")
    assert_one_sentence(check(folder, FLUX), "both hold the vae", "keep one of them")


def test_parts_without_a_denoiser(models: dict[Architecture, Path], tmp_path: Path) -> None:
    """Encoders alone are no base model."""
    folder = tmp_path / "single"
    folder.mkdir()
    save_file(convert_part(models[FLUX] / "vae"), folder / "ae.safetensors")
    assert_one_sentence(check(folder, FLUX), "no UNet or transformer", "put the checkpoint beside them")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.ckpt", pickle.dumps({}), ("model.ckpt", "pickled weights", "as safetensors")),
        ("model.safetensors", pickle.dumps({"w": [0.0] * 99}), ("pickled weights", "safetensors")),
        ("flux1-dev-Q4_K_S.gguf", b"GGUF" + bytes(64), ("quantised GGUF file", "tuning.quantization")),
        ("model.safetensors", b"<html>not found</html>", ("not a safetensors file", "upload it again")),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes, words: tuple[str, ...]) -> None:
    """Pickles, GGUF and downloads that went wrong are named for what they are."""
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / name).write_bytes(content)
    message = check(folder, FLUX)
    for word in words:
        assert word in message


def test_the_committed_base_is_taken() -> None:
    """The base that comes with the project passes."""
    assert check_base_model(Folder(VolumeStore(BASE_MODEL), ""), SD1).weights_bytes > 0
