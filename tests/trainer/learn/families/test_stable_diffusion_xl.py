"""Stable Diffusion XL is told what diffusers' own pipeline tells it, and the size of the bucket it learns from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from torch import Size, Tensor

from atelier_contract.settings import ValidationSettings
from atelier_trainer.learn.families.base import POOLED, TEXT, SamplerSettings
from atelier_trainer.learn.families.stable_diffusion_xl import StableDiffusionXL
from atelier_trainer.learn.sampling import encode_negative
from learning import build_settings
from tiny_models import write_stable_diffusion_xl

PROMPTS = ["a photo of a red teapot", ""]
PORTRAIT = (2, 4, 12, 8)
"""Latents of a bucket of 64 x 96 pixels."""
CPU = torch.device("cpu")


def draw(shape: tuple[int, ...], seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pipeline(tiny_xl: Path) -> Any:
    """The family's pipeline of diffusers, with the sampler that samples are drawn with."""
    opened = StableDiffusionXLPipeline.from_pretrained(tiny_xl, local_files_only=True, add_watermarker=False)
    opened.scheduler = DDIMScheduler.from_config(opened.scheduler.config, clip_sample=False)
    opened.set_progress_bar_config(disable=True)
    return opened


def listen(family: StableDiffusionXL, noisy: Tensor) -> dict[str, Tensor]:
    """Return what the UNet is told beside latents, timestep and states in one pass."""
    heard: dict[str, Tensor] = {}

    def note(_: Any, __: Any, said: dict[str, Any]) -> None:
        heard.update(said["added_cond_kwargs"])

    hook = family.denoiser.register_forward_pre_hook(note, with_kwargs=True)
    try:
        family.predict(noisy, torch.tensor([10, 900]), family.encode_prompts(PROMPTS))
    finally:
        hook.remove()
    return heard


def check_time_ids(family: StableDiffusionXL, pipeline: Any) -> None:
    """Assert that the UNet hears the sizes that the pipeline would tell for the bucket."""
    size = (PORTRAIT[2] * 8, PORTRAIT[3] * 8)
    width = family.encode_prompts([""])[POOLED].shape[1]
    told = pipeline._get_add_time_ids(size, (0, 0), size, torch.float32, width)
    assert listen(family, draw(PORTRAIT))["time_ids"].tolist() == told.repeat(2, 1).tolist()


def tell(*row: float) -> Callable[[StableDiffusionXL, Size], Tensor]:
    return lambda _, shape: torch.tensor([row]).repeat(shape[0], 1)


def test_time_ids_are_the_buckets(xl: StableDiffusionXL, pipeline: Any) -> None:
    """The UNet hears height and width of the bucket twice, and no crop, as the pipeline tells it."""
    check_time_ids(xl, pipeline)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(tell(96, 64, 0, 0, 64, 64), id="the nominal resolution for the bucket's"),
        pytest.param(tell(64, 96, 0, 0, 64, 96), id="width before height"),
        pytest.param(tell(96, 64, 16, 0, 96, 64), id="a crop that was none"),
        pytest.param(tell(12, 8, 0, 0, 12, 8), id="latents for pixels"),
    ],
)
def test_wrong_time_ids_would_be_seen(
    xl: StableDiffusionXL, pipeline: Any, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    """The check above fails with each known fault put back."""
    monkeypatch.setattr(StableDiffusionXL, "_read_time_ids", fault)
    with pytest.raises(AssertionError):
        check_time_ids(xl, pipeline)


def test_texts_are_encoded_as_the_pipeline_does(xl: StableDiffusionXL, pipeline: Any) -> None:
    """States of both encoders and the pooled vector equal those of the pipeline to the last bit."""
    states, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device=CPU, do_classifier_free_guidance=False)
    ours = xl.encode_prompts(PROMPTS)
    with torch.no_grad():
        assert torch.equal(ours[TEXT], states)
        assert torch.equal(ours[POOLED], pooled)


@torch.no_grad()
def test_answers_as_the_pipelines_unet(xl: StableDiffusionXL, pipeline: Any) -> None:
    """One pass equals the pipeline's UNet, told what the pipeline's functions make of texts and size."""
    noisy, times = draw(PORTRAIT), torch.tensor([10, 900])
    states, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device=CPU, do_classifier_free_guidance=False)
    ids = pipeline._get_add_time_ids((96, 64), (0, 0), (96, 64), torch.float32, pooled.shape[1]).repeat(2, 1)
    added = {"text_embeds": pooled, "time_ids": ids}
    theirs = pipeline.unet(noisy, times, encoder_hidden_states=states, added_cond_kwargs=added).sample
    assert torch.equal(xl.predict(noisy, times, xl.encode_prompts(PROMPTS)), theirs)


@torch.no_grad()
@pytest.mark.parametrize("negative", ["", "a blue star"])
def test_draws_as_the_pipeline_does(xl: StableDiffusionXL, pipeline: Any, negative: str) -> None:
    """A sample equals the pipeline's picture from the same noise, with and without a negative prompt."""
    noise = draw((1, 4, 8, 8))
    away = encode_negative(xl, xl.encode_prompts, negative)
    ours = xl.sample(noise, xl.encode_prompts(PROMPTS[:1]), away, SamplerSettings(3, 5.0), lambda: None)
    theirs = pipeline(
        PROMPTS[0],
        negative_prompt=negative or None,
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=5.0,
        latents=noise,
        output_type="pt",
    ).images
    assert torch.allclose((ours / 2 + 0.5).clamp(0, 1), theirs, atol=1e-5)


@torch.no_grad()
def test_no_text_is_zeros_where_the_index_says_so(xl: StableDiffusionXL, tmp_path: Path) -> None:
    """Without a negative prompt guidance leads away from zeros, or from the empty text, as model_index.json says."""
    settings: ValidationSettings = build_settings().validation
    assert not any(tensor.any() for tensor in encode_negative(xl, xl.encode_prompts, settings.negative_prompt).values())
    encoded = StableDiffusionXL(
        write_stable_diffusion_xl(tmp_path / "xl", zeros_for_empty=False), CPU, torch.float32, "contiguous"
    )
    assert all(tensor.any() for tensor in encode_negative(encoded, encoded.encode_prompts, "").values())


@torch.no_grad()
def test_a_text_ends_where_its_end_is(tiny_xl: Path, tmp_path: Path) -> None:
    """The pooled vector is read at the text's end, though an added token has a higher id, with an old config too."""
    folder = tmp_path / "xl"
    shutil.copytree(tiny_xl, folder)
    for name in ("text_encoder", "text_encoder_2"):
        config = json.loads((folder / name / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps(config | {"eos_token_id": 2}))
    family = StableDiffusionXL(folder, CPU, torch.float32, "contiguous")
    for encoder in family.encoders.values():
        encoder.tokenizer.add_tokens(["<tkxw>"])
        model: Any = encoder.model
        model.resize_token_embeddings(len(encoder.tokenizer), mean_resizing=False)
    one, other = family.encode_prompts(["a <tkxw> star", "a <tkxw> teapot"])[POOLED]
    assert not torch.equal(one, other), "what follows the new token is not read"


def test_the_autoencoder_stays_in_float32(tiny_xl: Path) -> None:
    """The picture encoder computes in float32 beside a UNet in another format: in float16 it would overflow."""
    family = StableDiffusionXL(tiny_xl, CPU, torch.bfloat16, "contiguous")
    assert {parameter.dtype for parameter in family._codec.part.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in family.denoiser.parameters()} == {torch.bfloat16}
