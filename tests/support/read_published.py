"""Reads a published file as a user's program would, in a process of its own: nothing of training is imported.

    python read_published.py JOBS

JOBS is a JSON list of {base, file, kind, placeholder, text, out}. For each, in a fresh pipeline, it writes into `out`
(safetensors) the effective update of every adapted layer, what the text encoder makes of the text and what the denoiser
answers to fixed noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file


def main() -> None:
    for job in json.loads(sys.argv[1]):
        read_one(**job)


def read_one(*, base: str, file: str, kind: str, placeholder: str, text: str, out: str) -> None:
    """Load one file with the one call that diffusers has for its kind, and write what it does."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32, safety_checker=None)
    if kind == "ConceptModel":
        pipeline.load_lora_weights(Path(file).parent, weight_name=Path(file).name)
    else:
        pipeline.load_textual_inversion(file, token=placeholder)
    read = {}
    for prefix, model in (("lora_unet", pipeline.unet), ("lora_te_text_model", pipeline.text_encoder)):
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                read[f"update.{prefix}_{name.removeprefix('text_model.').replace('.', '_')}"] = (
                    module.get_delta_weight(module.active_adapters[0]).detach().contiguous()
                )
    words = pipeline.maybe_convert_prompt(text, pipeline.tokenizer)
    ids = pipeline.tokenizer(words, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    noise = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        read["states"] = pipeline.text_encoder(ids)[0].contiguous()
        read["answer"] = pipeline.unet(noise, 100, encoder_hidden_states=read["states"]).sample.contiguous()
    save_file(read, out)


if __name__ == "__main__":
    main()
