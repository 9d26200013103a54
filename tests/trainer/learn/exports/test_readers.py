"""Each tool's rules for the files it loads, held against files of every family and method that it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import reader_rules as rules
from atelier_contract.architectures import Architecture
from exported import CASES, Exported

Find = Callable[[Architecture, str], Exported]
SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1
MODELS = [case for case in CASES if case[1] != "embedding"]
KOHYA = [case for case in MODELS if case[0] is not FLUX]
EMBEDDINGS = [case for case in CASES if case[1] in {"embedding", "pivotal", "pivotal+text"}]


def list_layers(file: Path) -> dict[str, set[str]]:
    """Return a kohya file's layers and what each has."""
    layers: dict[str, set[str]] = {}
    for name in load_file(file):
        layer, suffix = name.split(".", 1)
        layers.setdefault(layer, set()).add(suffix)
    return layers


def read_metadata(file: Path) -> dict[str, str]:
    """Return a file's own words."""
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_files_hold_float32_alone(architecture: Architecture, method: str, shelf: Find) -> None:
    """No weight is rounded on its way out, and none is not a number."""
    for file in shelf(architecture, method).files.values():
        tensors = load_file(file)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
        assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


class TestInvokeAI:
    """It tells families apart by names and widths, never by words."""

    @pytest.mark.parametrize(("architecture", "method"), KOHYA)
    def test_it_recognises_a_concept_model(self, architecture: Architecture, method: str, wide_shelf: Find) -> None:
        """Every name has a prefix that it knows and no dots; the first width it meets is the family's text's."""
        tensors = load_file(wide_shelf(architecture, method).files["ConceptModel"])
        assert all(
            name.startswith(rules.INVOKE_PREFIXES) and name.split(".", 1)[1] in rules.KOHYA_SUFFIXES for name in tensors
        )
        width = rules.measure_token_width(tensors)
        assert width is not None
        assert rules.INVOKE_WIDTHS[width] == {SD1: "sd-1", XL: "sdxl"}[architecture]

    @pytest.mark.parametrize("method", ["attention", "attentionMlp"])
    def test_it_recognises_a_concept_model_of_flux(self, method: str, shelf: Find) -> None:
        """Its four probes are there, every tensor is a LoRA's, every layer is one of its table."""
        tensors = load_file(shelf(FLUX, method).files["ConceptModel"])
        assert set(rules.INVOKE_FLUX_PROBES) <= set(tensors)
        assert all(re.fullmatch(rf"{rules.FLUX_LAYERS.pattern}\.lora_[AB]\.weight", name) for name in tensors)

    @pytest.mark.parametrize("method", ["attention", "attentionMlp"])
    def test_it_finds_what_it_joins(self, method: str, shelf: Find) -> None:
        """Of what it joins to one layer of a double block nothing is missing."""
        layers = {name.rsplit(".", 2)[0] for name in load_file(shelf(FLUX, method).files["ConceptModel"])}
        for block in {name.rpartition(".")[0] for name in layers if name.endswith(".attn.add_q_proj")}:
            assert all(f"{block}.{name}" in layers for group in rules.TOGETHER for name in group)

    def test_it_takes_alpha_for_the_rank(self, shelf: Find) -> None:
        """No tensor of a FLUX file says alpha, which it would not read: the scale is in the matrices."""
        assert not [name for name in load_file(shelf(FLUX, "attention").files["ConceptModel"]) if "alpha" in name]

    @pytest.mark.parametrize(("architecture", "method"), EMBEDDINGS)
    def test_it_recognises_an_embedding(self, architecture: Architecture, method: str, wide_shelf: Find) -> None:
        """One of its keys is there, and the last dimension of it is the family's."""
        tensors = load_file(wide_shelf(architecture, method).files["Embedding"])
        key, base = {SD1: ("emb_params", "sd-1"), XL: ("clip_g", "sdxl")}[architecture]
        assert rules.INVOKE_WIDTHS[tensors[key].shape[-1]] == base


class TestA1111:
    """It maps names onto the original layout, and files by words. Forge does too, with words of its own."""

    @pytest.mark.parametrize(("architecture", "method"), KOHYA)
    def test_it_knows_every_layer(self, architecture: Architecture, method: str, shelf: Find) -> None:
        """Each layer has a name that it maps, and all three tensors of a LoRA."""
        layers = list_layers(shelf(architecture, method).files["ConceptModel"])
        assert all(any(re.fullmatch(rule, layer) for rule in rules.A1111_NAMES) for layer in layers)
        assert all(suffixes == rules.KOHYA_SUFFIXES for suffixes in layers.values())

    def test_it_finds_every_layer_of_xl_in_its_place(self, shelf: Find) -> None:
        """Its formula for upsamplers is the other family's: no layer is named that it would look for elsewhere.

        In XL an upsampler stands behind an attention on every level that has one, so third in its block.
        """
        layers = list_layers(shelf(XL, "attentionMlpConv").files["ConceptModel"])
        upsamplers = [layer for layer in layers if "upsamplers" in layer]
        assert upsamplers
        assert all((rules.place_in_a1111(layer) or "").endswith("_2") for layer in upsamplers)
        places = [rules.place_in_a1111(layer) for layer in layers if layer.startswith("lora_unet_up_blocks_")]
        assert None not in places

    @pytest.mark.parametrize(("architecture", "method"), KOHYA)
    def test_it_lists_a_concept_model_under_its_base(
        self, architecture: Architecture, method: str, shelf: Find
    ) -> None:
        """A1111 and Forge file a LoRA under its own base model, and not as unknown."""
        told = read_metadata(shelf(architecture, method).files["ConceptModel"])
        expected = {SD1: "SD1", XL: "SDXL"}[architecture]
        assert (rules.classify_for_a1111(told), rules.classify_for_forge(told)) == (expected, expected)

    def test_forge_lists_a_concept_model_of_flux(self, shelf: Find) -> None:
        """Forge, which takes FLUX.1, files it under Flux."""
        assert rules.classify_for_forge(read_metadata(shelf(FLUX, "attention").files["ConceptModel"])) == "Flux"

    @pytest.mark.parametrize(("architecture", "method"), EMBEDDINGS)
    def test_it_takes_an_embedding(self, architecture: Architecture, method: str, shelf: Find) -> None:
        """Either one tensor, or `clip_l` and `clip_g` with as many vectors each; all float32."""
        tensors = load_file(shelf(architecture, method).files["Embedding"])
        assert len(tensors) == 1 or set(tensors) == {"clip_l", "clip_g"}
        assert len({len(tensor) for tensor in tensors.values()}) == 1
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


class TestComfyUI:
    """It looks layers up in tables made from the loaded model, and says `lora key not loaded` for all others."""

    @pytest.mark.parametrize(("architecture", "method"), KOHYA)
    def test_it_has_a_key_for_every_layer(self, architecture: Architecture, method: str, shelf: Find) -> None:
        """Every name of a UNet's or a text encoder's layer is in its tables."""
        layers = list_layers(shelf(architecture, method).files["ConceptModel"])
        assert all(any(re.fullmatch(rule, layer) for rule in rules.COMFY_NAMES) for layer in layers)

    @pytest.mark.parametrize("method", ["attention", "attentionMlp"])
    def test_it_has_a_key_for_every_layer_of_flux(self, method: str, shelf: Find) -> None:
        """Every name behind `transformer.` is in its table of diffusers' names."""
        names = load_file(shelf(FLUX, method).files["ConceptModel"])
        assert all(rules.FLUX_LAYERS.fullmatch(name.rsplit(".", 2)[0]) for name in names)

    @pytest.mark.parametrize(("architecture", "method"), EMBEDDINGS)
    def test_it_takes_an_embedding(self, architecture: Architecture, method: str, wide_shelf: Find) -> None:
        """For each encoder in use it finds rows of that encoder's width."""
        tensors = load_file(wide_shelf(architecture, method).files["Embedding"])
        widths = {SD1: {"clip_l": 768}, XL: {"clip_l": 768, "clip_g": 1280}}[architecture]
        assert {key: rules.read_for_comfy(tensors, key).shape[-1] for key in widths} == widths


class TestSwarmUI:
    """It reads the header's words first of all."""

    @pytest.mark.parametrize(("architecture", "method"), CASES)
    def test_it_knows_the_class(self, architecture: Architecture, method: str, shelf: Find) -> None:
        """The architecture is one of its classes, the resolution two numbers, and title and trigger are told."""
        exported = shelf(architecture, method)
        for role, file in exported.files.items():
            told = rules.read_header(file)["__metadata__"]
            assert isinstance(told, dict)
            assert told["modelspec.architecture"] in rules.SWARM_CLASSES
            assert re.fullmatch(r"\d+x\d+", told["modelspec.resolution"])
            assert told["modelspec.title"] == "TKXW teapot"
            assert told["modelspec.trigger_phrase"] == {"ConceptModel": "TKXW", "Embedding": "<tkxw>"}[role]
