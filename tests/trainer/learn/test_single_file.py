"""Base models in one file: opened offline to the very weights they were made of, in every family."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from fcntl import flock
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Tokenizer

from atelier_contract.architectures import FACTS, Architecture
from atelier_materials.dataset.tokens import DATA as VOCABULARIES
from atelier_materials.dataset.tokens import build_clip_vocabulary, read_clip_merges, read_t5_tokenizer
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn import single_file
from atelier_trainer.learn.single_file import DATA, open_base_model, read_configs, write_part
from atelier_trainer.learn.single_file_flux import place_flux
from atelier_trainer.single_files import LDM_UNET, PARTS_OF
from single_files import collect_parts, convert_part, copy_configs, write_single_file
from tiny_models import WRITERS, write_flux

XL = Architecture.STABLE_DIFFUSION_XL


@pytest.fixture(scope="module", params=WRITERS)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """Each family."""
    found: Architecture = request.param
    return found


@pytest.fixture(scope="module")
def folder(architecture: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family as a diffusers folder."""
    return WRITERS[architecture](tmp_path_factory.mktemp("folder"))


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Return every tensor of a folder by part and name."""
    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted(folder.glob("*/*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """The same names and the same bits."""
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def test_opens_to_the_same_weights(architecture: Architecture, folder: Path, tmp_path: Path) -> None:
    """A checkpoint of one file becomes a folder whose tensors are those it was made of, bit for bit."""
    single = write_single_file(folder, architecture, tmp_path / "single")
    opened = open_base_model(single, architecture, tmp_path)
    assert_same(weights_of(opened), weights_of(folder))


def test_a_folder_is_left_alone(architecture: Architecture, folder: Path, tmp_path: Path) -> None:
    """What is in the diffusers layout already is not written again."""
    assert open_base_model(folder, architecture, tmp_path) == folder


def test_number_format_is_kept(tmp_path: Path) -> None:
    """Half precision in the file stays half precision in the folder: nothing is rounded on the way."""
    folder = write_flux(tmp_path / "folder")
    single = tmp_path / "single"
    copy_configs(folder, Architecture.FLUX_1, single)
    tensors = {name: tensor.bfloat16() for name, tensor in collect_parts(folder, Architecture.FLUX_1).items()}
    save_file(tensors, single / "flux1-dev.safetensors")
    opened = open_base_model(single, Architecture.FLUX_1, tmp_path)
    assert {tensor.dtype for tensor in weights_of(opened).values()} == {torch.bfloat16}


def test_flux_in_separate_files(tmp_path: Path) -> None:
    """FLUX's transformer, VAE and encoders as they are handed around, each a file without a prefix, open together."""
    folder, single = write_flux(tmp_path / "folder"), tmp_path / "single"
    copy_configs(folder, Architecture.FLUX_1, single)
    for part, name in {
        "transformer": "flux1-dev",
        "vae": "ae",
        "text_encoder": "clip_l",
        "text_encoder_2": "t5",
    }.items():
        save_file(convert_part(folder / part), single / f"{name}.safetensors")
    assert_same(weights_of(open_base_model(single, Architecture.FLUX_1, tmp_path)), weights_of(folder))


def test_schnell_is_told_from_dev(tmp_path: Path) -> None:
    """A FLUX file without guidance gets the config and the schedule of schnell."""
    folder, single = write_flux(tmp_path / "folder", schnell=True), tmp_path / "single"
    copy_configs(folder, Architecture.FLUX_1, single)
    (single / "scheduler" / "scheduler_config.json").unlink()
    config = json.loads((single / "transformer" / "config.json").read_text())
    save_file(collect_parts(folder, Architecture.FLUX_1), single / "schnell.safetensors")
    opened = open_base_model(single, Architecture.FLUX_1, tmp_path)
    schedule = json.loads((opened / "scheduler" / "scheduler_config.json").read_text())
    assert (config["guidance_embeds"], schedule["shift"], schedule["use_dynamic_shifting"]) == (False, 1.0, False)


def test_velocity_is_read_from_the_file(tmp_path: Path) -> None:
    """The empty tensors by which merge tools mark velocities and a zero terminal set the noise schedule."""
    folder, single = WRITERS[XL](tmp_path / "folder"), tmp_path / "single"
    copy_configs(folder, XL, single)
    (single / "scheduler" / "scheduler_config.json").unlink()
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(collect_parts(folder, XL) | marks, single / "noob.safetensors")
    schedule = json.loads((open_base_model(single, XL, tmp_path) / "scheduler" / "scheduler_config.json").read_text())
    assert (schedule["prediction_type"], schedule["rescale_betas_zero_snr"]) == ("v_prediction", True)


def test_encoder_names_without_their_middle(tmp_path: Path) -> None:
    """A text encoder whose names lack `text_model.` opens to the same weights."""
    folder, single = WRITERS[XL](tmp_path / "folder"), tmp_path / "single"
    copy_configs(folder, XL, single)
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in collect_parts(folder, XL).items()}
    assert not any("text_model" in name for name in tensors)
    save_file(tensors, single / "merged.safetensors")
    assert_same(weights_of(open_base_model(single, XL, tmp_path)), weights_of(folder))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    """A file that lacks a tensor is refused by the tensor's name; no half-written folder is left to be used."""
    folder, single = WRITERS[XL](tmp_path / "folder"), tmp_path / "single"
    copy_configs(folder, XL, single)
    tensors = collect_parts(folder, XL)
    del tensors[f"{LDM_UNET}out.2.weight"]
    save_file(tensors, single / "model.safetensors")
    with pytest.raises(BaseModelUnusable, match=r"out\.2\.weight"):
        open_base_model(single, XL, tmp_path)
    assert not (tmp_path / "base-model-parts").exists()


def test_another_shape_is_named(tmp_path: Path) -> None:
    """A tensor of another shape than the config says is refused by its name in the file, with both shapes."""
    folder, single = WRITERS[XL](tmp_path / "folder"), tmp_path / "single"
    copy_configs(folder, XL, single)
    tensors = collect_parts(folder, XL)
    tensors[f"{LDM_UNET}out.2.bias"] = torch.zeros(9)
    save_file(tensors, single / "model.safetensors")
    with pytest.raises(BaseModelUnusable, match=r"out\.2\.bias has the shape \[9\], unet needs \[4\]"):
        open_base_model(single, XL, tmp_path)


@dataclass
class SecondComer:
    """Another who opens the same file into the same folder, while the first one writes it."""

    single: Path
    scratch: Path
    fails_first: bool = False
    writers: int = 0
    opened: Future[Path] = field(default_factory=Future)
    _came: threading.Event = field(default_factory=threading.Event)
    _write: Callable[..., None] = single_file._write_parts

    def write(self, *given: Any) -> None:
        """In place of `_write_parts`: the first writer goes on once the other has come as far as it can."""
        self.writers += 1
        if self.writers == 1:
            threading.Thread(target=self._open).start()
            assert self._came.wait(60)
            if self.fails_first:
                raise OSError("the first writer fails")
        self._came.set()
        self._write(*given)

    def lock(self, *given: Any) -> None:
        """In place of `flock`: notes that the other has come."""
        if self.writers:
            self._came.set()
        flock(*given)

    def _open(self) -> None:
        self.opened.set_result(open_base_model(self.single, XL, self.scratch))


@pytest.fixture
def second_comer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecondComer:
    """Another process of the pod, on a tiny model in one file."""
    second = SecondComer(write_single_file(WRITERS[XL](tmp_path / "folder"), XL, tmp_path / "single"), tmp_path)
    monkeypatch.setattr(single_file, "_write_parts", second.write)
    monkeypatch.setattr(single_file, "flock", second.lock)
    return second


def test_two_at_once_write_once(second_comer: SecondComer) -> None:
    """Who comes while another writes waits for it and writes nothing."""
    opened = open_base_model(second_comer.single, XL, second_comer.scratch)
    assert (second_comer.opened.result(60), second_comer.writers) == (opened, 1)


def test_a_failed_writer_leaves_its_place(second_comer: SecondComer) -> None:
    """Who waits for a writer that fails is not left waiting: it writes instead."""
    second_comer.fails_first = True
    with pytest.raises(BaseModelUnusable, match="the first writer fails"):
        open_base_model(second_comer.single, XL, second_comer.scratch)
    assert (second_comer.opened.result(60) / "unet" / "config.json").is_file()


class TestAgainstDiffusers:
    """Our maps hold against the converters that everybody uses."""

    @pytest.mark.parametrize("architecture", [Architecture.STABLE_DIFFUSION_1, XL], scope="module")
    def test_unet(self, folder: Path) -> None:
        """Diffusers reads our UNet file back to the weights it was made of."""
        prefix = {LDM_UNET + name: tensor for name, tensor in convert_part(folder / "unet").items()}
        config = json.loads((folder / "unet" / "config.json").read_text())
        theirs = convert_ldm_unet_checkpoint(prefix, config)
        assert_same(theirs, load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"))

    def test_autoencoder(self, folder: Path, architecture: Architecture) -> None:
        """Diffusers reads our VAE file back to the weights it was made of."""
        prefix = PARTS_OF[architecture]["vae"] if architecture is not Architecture.FLUX_1 else ""
        part = {prefix + name: tensor for name, tensor in convert_part(folder / "vae").items()}
        theirs = convert_ldm_vae_checkpoint(part, json.loads((folder / "vae" / "config.json").read_text()))
        assert_same(theirs, load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))

    def test_open_clip(self, tmp_path: Path) -> None:
        """Diffusers reads our second encoder of XL back to the weights it was made of."""
        folder = WRITERS[XL](tmp_path / "folder") / "text_encoder_2"
        prefix = PARTS_OF[XL]["text_encoder_2"]
        file = {prefix + name: tensor for name, tensor in convert_part(folder).items()}
        model = CLIPTextModelWithProjection(CLIPTextConfig(**json.loads((folder / "config.json").read_text())))
        theirs = convert_open_clip_checkpoint(model, file, prefix=prefix)
        assert_same(theirs, load_file(folder / "model.safetensors"))

    def test_flux(self) -> None:
        """Diffusers cuts a transformer of FLUX's own width as our map does: each row is numbered by its place."""
        width, blocks = 3072, {"num_attention_heads": 24, "attention_head_dim": 128}
        place, rows = place_flux(blocks), {}
        for name, height in {
            "double_blocks.0.img_attn.qkv": 3 * width,
            "double_blocks.0.txt_attn.qkv": 3 * width,
            "single_blocks.0.linear1": 7 * width,
            "final_layer.adaLN_modulation.1": 2 * width,
        }.items():
            for kind in ("weight", "bias"):
                rows[f"{name}.{kind}"] = torch.arange(height, dtype=torch.float32)
        scalars = [
            *(f"{name}.{kind}" for name in FLUX_SCALARS for kind in ("weight", "bias")),
            *(f"{name}.scale" for name in FLUX_NORMS),
        ]
        file = rows | {name: torch.tensor([float(number)]) for number, name in enumerate(scalars)}
        theirs = convert_flux_transformer_checkpoint_to_diffusers(dict(file))
        for name, tensor in theirs.items():
            found = place(name)
            ours = file[found.name] if found.turn is None else found.turn(file[found.name])
            assert torch.equal(ours, tensor), name
        assert len(theirs) > 50


DOUBLE_LAYERS = ("mod.lin", "attn.proj", "mlp.0", "mlp.2")
FLUX_SCALARS = [
    *(f"{part}.{layer}" for part in ("time_in", "vector_in", "guidance_in") for layer in ("in_layer", "out_layer")),
    "txt_in",
    "img_in",
    "final_layer.linear",
    *(
        f"double_blocks.0.{side}_{layer}"
        for side in ("img", "txt")
        for layer in ("mod.lin", "attn.proj", "mlp.0", "mlp.2")
    ),
    "single_blocks.0.modulation.lin",
    "single_blocks.0.linear2",
]
FLUX_NORMS = [
    *(f"double_blocks.0.{side}_attn.norm.{which}_norm" for side in ("img", "txt") for which in ("query", "key")),
    *(f"single_blocks.0.norm.{which}_norm" for which in ("query", "key")),
]


class TestShippedData:
    """What comes with the trainer, against published facts."""

    def test_number_of_weights(self, architecture: Architecture) -> None:
        """The shipped configs build denoisers of the published sizes."""
        from atelier_trainer.learn.single_file import MODELS

        part = FACTS[architecture].parts[0]
        config = read_configs(architecture)[part]
        with torch.device("meta"):
            model = MODELS[config["_class_name"]](config)
        assert sum(p.numel() for p in model.parameters()) == PUBLISHED_SIZES[architecture]

    def test_clip_vocabulary(self) -> None:
        """49,408 tokens, start and end last; known ids of known words."""
        vocabulary = build_clip_vocabulary(read_clip_merges().splitlines())
        assert len(vocabulary) == 49_408
        known = {"!": 0, "<|startoftext|>": 49_406, "<|endoftext|>": 49_407, "a</w>": 320, "photo</w>": 1125}
        assert {word: vocabulary[word] for word in known} == known

    def test_tokenizers_load_offline(self, tmp_path: Path) -> None:
        """Both tokenizers that a FLUX file lacks are written and read; texts become the published ids."""
        from atelier_trainer.learn.single_file import _write_tokenizer

        for part in ("tokenizer", "tokenizer_2"):
            _write_tokenizer(read_configs(Architecture.FLUX_1)[part], tmp_path / "absent", tmp_path / part)
        clip = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
        t5 = T5Tokenizer.from_pretrained(tmp_path / "tokenizer_2", local_files_only=True)
        assert clip("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert t5("a photo of a cat").input_ids == [3, 9, 1202, 13, 3, 9, 1712, 1]
        assert (clip.model_max_length, t5.model_max_length) == (77, 512)
        assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "tokenizer_2"), type(t5))

    def test_it_is_small(self) -> None:
        """What is shipped stays below four megabytes."""
        shipped = [path for data in (DATA, VOCABULARIES) for path in data.iterdir() if path.is_file()]
        assert sum(len(path.read_bytes()) for path in shipped) < 4_000_000
        assert len(json.loads(read_t5_tokenizer())["model"]["vocab"]) == 32_100


PUBLISHED_SIZES = {
    Architecture.STABLE_DIFFUSION_1: 859_520_964,
    Architecture.STABLE_DIFFUSION_XL: 2_567_463_684,
    Architecture.FLUX_1: 11_901_408_320,
}
"""Weights of UNet or transformer: the published checkpoints."""


def test_parts_name_their_class(tmp_path: Path) -> None:
    """A config without a class cannot be built, and says so by raising instead of writing."""
    with pytest.raises(KeyError):
        write_part("unet", {}, lambda name: torch.zeros(0), tmp_path / "unet")
