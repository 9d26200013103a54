"""The committed weights are those the page names, small, safe to load, and ignorant of the sample concept."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from tiny_base import measures, weights_folder

LARGEST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def weights(playground):
    """The committed folder."""
    return playground / "base-model" / "weights"


@pytest.fixture(scope="module")
def pipeline(weights):
    """The committed model, loaded in full precision."""
    return weights_folder.read_pipeline(weights, torch.device("cpu"))


def test_digests_are_those_of_the_page(playground, weights):
    """README.md names each file of weights with its sha256."""
    page = (playground / "base-model" / "README.md").read_text(encoding="utf-8")
    named = {path: digest for digest, path in re.findall(r"`([0-9a-f]{64})` `(\S+)`", page)}
    assert named == weights_folder.list_digests(weights)


def test_the_folder_is_small(weights):
    """All files together stay within 12 MB, which a clone of the repository can bear."""
    assert sum(path.stat().st_size for path in weights.rglob("*") if path.is_file()) <= LARGEST_BYTES


def test_the_text_encoders_names_are_those_that_every_reader_finds(weights):
    """Each begins with `text_model.`: transformers 5.5 finds no other and draws with a random encoder."""
    names = load_file(weights / "text_encoder" / "model.safetensors")
    assert [name for name in names if not name.startswith("text_model.")] == []


def test_no_config_holds_a_builders_path(weights):
    """Configs name nothing of the machine that built them."""
    settings = [json.loads(path.read_text(encoding="utf-8")) for path in weights.rglob("config.json")]
    assert [entry for entry in settings if "_name_or_path" in entry] == []


def test_the_shape_is_stable_diffusion_1_with_a_factor_of_four(pipeline):
    """Cross attention and encoder are 768 wide; the autoencoder divides by four."""
    shape = (pipeline.unet.config.cross_attention_dim, pipeline.text_encoder.config.hidden_size,
             pipeline.vae_scale_factor)  # fmt: skip
    assert shape == (768, 768, 4)


def test_the_base_does_not_know_the_concept(playground, pipeline):
    """The trigger's loss is no better than nine tenths of the empty caption's: there is everything to learn."""
    concept = measures.read_folder(playground / "datasets" / "teapots-heldout")
    texts = [f"TKXW, {caption}" for caption in concept.captions]
    triggered = measures.measure_held_out_loss(pipeline, concept.pictures, texts)
    empty = measures.measure_held_out_loss(pipeline, concept.pictures, [""] * len(texts))
    assert triggered > 0.9 * empty
