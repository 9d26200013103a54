"""What comes out loads elsewhere and does there what it did in training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from atelier_trainer.learn.optimizer import build_optimizer
from atelier_trainer.learn.state import read_state
from atelier_trainer.learn.tensor_files import digest_tensors, write_tensors
from atelier_trainer.records import LocalState
from learning import BASE_MODEL, build_settings
from learning_results import Finished, build_on, load_family, predict

READER = Path(__file__).parents[2] / "support" / "read_published.py"
TEXTS = {"ConceptModel": "TKXW, a teapot on a red background", "Embedding": "<tkxw>, a teapot on a red background"}
LARGEST_ERROR = 1e-3
"""Of a layer's effective update; what the model then answers agrees a hundred times better."""
LARGEST_ANSWER_ERROR = 1e-5


@pytest.fixture(scope="session")
def elsewhere(
    concept_run: Finished, random_run: Finished, embedding_run: Finished, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, Tensor]]:
    """What a fresh process reads of each run's last file, by the run's identity in memory."""
    folder = tmp_path_factory.mktemp("read")
    runs = [concept_run, random_run, embedding_run]
    jobs = [
        {
            "base": str(BASE_MODEL),
            "file": str(run.recorder.model(run.settings.steps)),
            "kind": run.workspace.input.type,
            "placeholder": "<tkxw>",
            "text": TEXTS[run.workspace.input.type],
            "out": str(folder / f"{number}.safetensors"),
        }
        for number, run in enumerate(runs)
    ]
    command = [sys.executable, str(READER), json.dumps(jobs)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return {id(run): load_file(job["out"]) for run, job in zip(runs, jobs, strict=True)}


def answer_as_trained(run: Finished) -> tuple[Tensor, Tensor]:
    """Return the text states and the denoiser's answer of the training's own model with its float32 masters."""
    family = load_family()
    method = build_on(family, run.settings)
    folder, manifest = run.recorder.states[run.settings.steps]
    optimizer = build_optimizer(method.rate_groups(), run.settings.weight_decay)
    read_state(LocalState(folder, manifest), method.named_parameters(), optimizer)
    method.set_training(on=False)
    text = method.rewrite(TEXTS[run.workspace.input.type])
    with torch.no_grad():
        states = family.encode_prompts([text])["text"]
    return states, predict(family, [text])


def distance(one: Tensor, other: Tensor) -> float:
    """Return the relative difference in the Frobenius norm."""
    return float((one - other).norm() / other.norm())


@pytest.fixture(params=["concept_run", "random_run"])
def adapted(request: pytest.FixtureRequest) -> Finished:
    """A concept model's run; the second adapts convolutions and the text encoder too."""
    finished: Finished = request.getfixturevalue(request.param)
    return finished


def test_a_concept_model_does_elsewhere_what_it_did_in_training(
    adapted: Finished, elsewhere: dict[int, dict[str, Tensor]]
) -> None:
    """In a fresh process every layer's effective update and the denoiser's answer are those of the float32 masters."""
    read = elsewhere[id(adapted)]
    masters, scale = adapted.weights(), 2 / 4
    layers = {name.removesuffix(".down") for name in masters if name.endswith(".down")}
    assert {name.removeprefix("update.") for name in read if name.startswith("update.")} == layers
    for layer in layers:
        down, up = masters[f"{layer}.down"], masters[f"{layer}.up"]
        expected = (up.flatten(1) @ down.flatten(1)).reshape(read[f"update.{layer}"].shape) * scale
        assert distance(read[f"update.{layer}"], expected) < LARGEST_ERROR, layer
    states, answer = answer_as_trained(adapted)
    assert distance(read["states"], states) < LARGEST_ANSWER_ERROR
    assert distance(read["answer"], answer) < LARGEST_ANSWER_ERROR


def test_the_answer_differs_from_the_base_models(concept_run: Finished) -> None:
    """The trained model answers something else than the base: agreement above is not agreement of two no-ops."""
    base = predict(load_family(), [TEXTS["ConceptModel"]])
    assert distance(answer_as_trained(concept_run)[1], base) > 100 * LARGEST_ANSWER_ERROR


def test_an_embedding_loads_under_its_placeholder(
    embedding_run: Finished, elsewhere: dict[int, dict[str, Tensor]]
) -> None:
    """In a fresh process the placeholder reads as it did in training, all its vectors in their order."""
    read = elsewhere[id(embedding_run)]
    states, answer = answer_as_trained(embedding_run)
    assert distance(read["states"], states) < LARGEST_ANSWER_ERROR
    assert distance(read["answer"], answer) < LARGEST_ANSWER_ERROR


def test_an_embedding_is_one_tensor_that_all_tools_know(embedding_run: Finished) -> None:
    """The file holds `emb_params` [vectors, width] in float32 and nothing else."""
    tensors = load_file(embedding_run.recorder.model(6))
    assert {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} == {"emb_params": ((3, 768), torch.float32)}


SUFFIXES = {"lora_down.weight", "lora_up.weight", "alpha"}


def test_invokeai_recognises_a_concept_model(adapted: Finished) -> None:
    """InvokeAI's rules for a LoRA file of Stable Diffusion 1: prefixes, no dotted names, text width 768."""
    tensors = load_file(adapted.recorder.model(6))
    parts = [name.split(".", 1) for name in tensors]
    assert all(layer.startswith(("lora_unet_", "lora_te_")) for layer, _ in parts)
    assert {suffix for _, suffix in parts} == SUFFIXES
    widths = {t.shape[1] for n, t in tensors.items() if re.search(r"_attn2_to_[kv]\.lora_down\.weight$", n)}
    assert widths == {768}
    assert all(t.dtype == torch.float32 for t in tensors.values())


def test_invokeai_measures_a_file_with_convolutions_by_its_text_width(tmp_path: Path) -> None:
    """InvokeAI takes the family from the first layer in the file that reads text, or else the time's embedding.

    Its rule (`lora_token_vector_length`) is a first hit in the order of the file; where the text encoder is trained too
    that comes first, so here it is frozen.
    """
    method = build_on(load_family(), build_settings(conceptModel={"targets": "attentionMlpConv"}))
    write_tensors(tmp_path / "file", method.export()[0].tensors, {})
    tensors = load_file(tmp_path / "file")
    assert any("_resnets_0_conv1." in name for name in tensors)
    hits = [name for name in tensors if re.search(r"_attn2_to_[kv]\.lora_down|time_emb_proj\.lora_down", name)]
    assert tensors[hits[0]].shape[1] == 768


A1111_NAMES = (
    r"lora_unet_down_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_mid_block_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_down_blocks_(\d+)_downsamplers_0_conv",
    r"lora_unet_up_blocks_(\d+)_upsamplers_0_conv",
    r"lora_te_text_model_encoder_layers_(\d+)_(.+)",
)
"""Names that A1111's Lora extension maps onto its own layers (`convert_diffusers_name_to_compvis`)."""


def test_a1111_knows_every_layer(adapted: Finished) -> None:
    """Each layer's name is one that A1111 maps, with all three tensors of a LoRA network."""
    layers: dict[str, set[str]] = {}
    for name in load_file(adapted.recorder.model(6)):
        layer, suffix = name.split(".", 1)
        layers.setdefault(layer, set()).add(suffix)
    assert all(any(re.fullmatch(rule, layer) for rule in A1111_NAMES) for layer in layers)
    assert all(suffixes == SUFFIXES for suffixes in layers.values())


def read_metadata(file: Path) -> dict[str, str]:
    """Return a file's own words."""
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


def test_metadata_say_what_tools_look_for(concept_run: Finished) -> None:
    """Base, network, alias, title, trigger and kind are there, and the digest is the tensors'."""
    file = concept_run.recorder.model(6)
    told = read_metadata(file)
    expected = {
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "4.0",
        "ss_output_name": "tkxw-teapot",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "TKXW teapot",
        "modelspec.trigger_phrase": "TKXW",
        "modelspec.resolution": "64x64",
        "modelspec.prediction_type": "epsilon",
        "modelspec.hash_sha256": f"0x{digest_tensors(load_file(file))}",
    }
    assert {key: told.get(key) for key in expected} == expected


def test_metadata_tell_nothing_of_the_pictures(concept_run: Finished) -> None:
    """No caption, no file or folder name and no date leaves in a model file."""
    told = " ".join(read_metadata(concept_run.recorder.model(6)).values())
    assert not re.search(r"background|teapot-|/datasets|20\d\d-\d\d", told)


def test_an_embedding_says_that_it_is_one(embedding_run: Finished) -> None:
    """ModelSpec calls it a textual inversion of Stable Diffusion 1, triggered by its placeholder."""
    told = read_metadata(embedding_run.recorder.model(6))
    assert told["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert told["modelspec.trigger_phrase"] == "<tkxw>"


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    """The order in which names and words are given does not reach the file."""
    tensors = {"b": torch.ones(2, 3), "a": torch.zeros(5)}
    words = {str(n): "x" for n in range(20)}
    write_tensors(tmp_path / "one", tensors, words)
    write_tensors(tmp_path / "two", dict(reversed(tensors.items())), dict(reversed(words.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert all(torch.equal(tensors[name], read) for name, read in load_file(tmp_path / "one").items())
