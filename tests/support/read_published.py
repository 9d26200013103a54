"""Reads published files as a user's program would, in a process of its own: nothing of training is imported.

    python read_published.py JOBS

JOBS is a JSON list of {base, architecture, model, embedding, placeholder, text, side, out}; `model` or `embedding` may
be empty. For each, in a fresh pipeline of the family, it writes into `out` (safetensors) the effective update of every
adapted layer, what the text encoders make of the text, and what the denoiser answers to fixed noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

PIPELINES = {
    "StableDiffusion1": StableDiffusionPipeline,
    "StableDiffusionXL": StableDiffusionXLPipeline,
    "Flux1": FluxPipeline,
}
PREFIXES = {
    "StableDiffusion1": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "StableDiffusionXL": {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    "Flux1": {"transformer": "transformer"},
}
"""By the pipeline's parts, what our files call their layers."""
TIMESTEP = 100
SIGMA = 0.3


def main() -> None:
    torch.set_num_threads(1)
    for job in json.loads(sys.argv[1]):
        read_one(**job)


def read_one(
    *,
    base: str,
    architecture: str,
    model: str,
    embedding: str,
    placeholder: str,
    text: str,
    side: int,
    out: str,
) -> None:
    """Load the files with the calls that diffusers has for their kinds, and write what they do."""
    pipeline = PIPELINES[architecture].from_pretrained(base, dtype=torch.float32)
    if model:
        pipeline.load_lora_weights(Path(model).parent, weight_name=Path(model).name)
    if embedding and architecture == "StableDiffusionXL":
        rows = load_file(embedding)
        pipeline.load_textual_inversion(
            rows["clip_l"], token=placeholder, text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer
        )
        pipeline.load_textual_inversion(
            rows["clip_g"], token=placeholder, text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2
        )
    elif embedding:
        pipeline.load_textual_inversion(embedding, token=placeholder)
    with torch.no_grad():
        read = find_updates(pipeline, PREFIXES[architecture]) | answer(pipeline, text, side)
    save_file({name: tensor.contiguous() for name, tensor in read.items()}, out)


def find_updates(pipeline: object, prefixes: dict[str, str]) -> dict[str, torch.Tensor]:
    """Return what is added to each adapted layer's weight, by the layer's name in our files."""
    updates = {}
    for part, prefix in prefixes.items():
        for path, module in getattr(pipeline, part).named_modules():
            if not hasattr(module, "get_delta_weight"):
                continue
            rooted = path if part in {"unet", "transformer"} else f"text_model.{path.removeprefix('text_model.')}"
            name = f"{prefix}.{rooted}" if part == "transformer" else f"{prefix}_{rooted.replace('.', '_')}"
            updates[f"update.{name}"] = module.get_delta_weight(module.active_adapters[0]).detach()
    return updates


def answer(pipeline: object, text: str, side: int) -> dict[str, torch.Tensor]:
    """Return the text's states and the denoiser's answer, with the conditions that the pipeline itself would give."""
    generator = torch.Generator().manual_seed(5)
    if isinstance(pipeline, FluxPipeline):
        states, pooled, text_ids = pipeline.encode_prompt(text, text, device="cpu", max_sequence_length=512)
        noise = torch.randn((1, 16, side, side), generator=generator)
        said = pipeline.transformer(
            hidden_states=pipeline._pack_latents(noise, 1, 16, side, side),
            encoder_hidden_states=states,
            pooled_projections=pooled,
            timestep=torch.tensor([SIGMA]),
            guidance=torch.tensor([1.0]),
            img_ids=pipeline._prepare_latent_image_ids(1, side // 2, side // 2, "cpu", torch.float32),
            txt_ids=text_ids,
        ).sample
        latents = pipeline._unpack_latents(
            said, side * pipeline.vae_scale_factor, side * pipeline.vae_scale_factor, pipeline.vae_scale_factor
        )
        return {"states": states, "pooled": pooled, "answer": latents}
    noise = torch.randn((1, 4, side, side), generator=generator)
    if isinstance(pipeline, StableDiffusionXLPipeline):
        states, _, pooled, _ = pipeline.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
        pixels = side * pipeline.vae_scale_factor
        conditions = {"text_embeds": pooled, "time_ids": torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]]).float()}
        said = pipeline.unet(noise, TIMESTEP, encoder_hidden_states=states, added_cond_kwargs=conditions).sample
        return {"states": states, "pooled": pooled, "answer": said}
    states, _ = pipeline.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)
    return {"states": states, "answer": pipeline.unet(noise, TIMESTEP, encoder_hidden_states=states).sample}


if __name__ == "__main__":
    main()
