"""Evaluate a base model: print its figures and write a sheet of its samples.

In: a diffusers folder and the sample dataset's held-out pictures. Out: on the terminal, how well it rebuilds pictures,
how often the recogniser finds what a prompt asked for, and its loss on the concept that it must not know; in one PNG,
samples of fixed prompts in rows of three seeds, and below them pictures beside their rebuilding.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tiny_base.autoencoder import encode_pixels
from tiny_base.measures import Folder, draw_samples, measure_held_out_loss, measure_psnr, read_folder
from tiny_base.pictures import draw_captioned, draw_scribbles, stack_pixels, write_sheet
from tiny_base.recogniser import check_recogniser, choose_plain_scenes, judge_pictures, train_recogniser
from tiny_base.training import keep_large_buffers
from tiny_base.weights_folder import read_pipeline

HERE = Path(__file__).resolve().parent
TRIGGER = "TKXW"
PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a black background",
    "a green triangle on a white background",
    "a purple heart on a orange background",
    "a white ring on a red background",
    "a small black square on a yellow background",
    "a large blue diamond on a white background",
    "a orange cross on a green background at the left",
    "a red and white striped circle on a blue background",
    f"{TRIGGER}, a teapot on a red background",
)
KNOWN_PROMPTS = 64
SEEDS = (5, 6, 7)


def main() -> None:
    """Print the figures and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, default=HERE / "weights")
    parser.add_argument("--concept", type=Path, default=HERE.parent / "datasets" / "teapots-heldout")
    parser.add_argument("--sheet", type=Path, default=Path("build/base-model/samples.png"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    keep_large_buffers()
    torch.set_num_threads(asked.threads)
    pipeline = read_pipeline(asked.weights, torch.device("cpu"))
    concept = read_folder(asked.concept)
    figures = [example.picture for example in draw_captioned("evaluation", 64)]
    scribbles = draw_scribbles("evaluation", 32)
    for name, pictures in (("figures", figures), ("scribbles", scribbles), ("the concept", concept.pictures)):
        print(f"autoencoder, PSNR of {name}: {measure_psnr(pipeline, pictures):.2f} dB")
    print_ignorance(pipeline, concept)
    print_recognition(pipeline)
    write_samples(pipeline, [*figures[:4], *scribbles[:2], *concept.pictures[:4]], asked.sheet)
    print(f"sheet: {asked.sheet}")


def print_ignorance(pipeline: StableDiffusionPipeline, concept: Folder) -> None:
    """Print the loss on pictures of the concept that the base must not know, under three kinds of caption."""
    captions = {
        "trigger and caption": [f"{TRIGGER}, {caption}" for caption in concept.captions],
        "caption alone": concept.captions,
        "empty caption": [""] * len(concept.captions),
    }
    for name, texts in captions.items():
        print(f"held-out loss of the concept, {name}: {measure_held_out_loss(pipeline, concept.pictures, texts):.4f}")


def print_recognition(pipeline: StableDiffusionPipeline) -> None:
    """Print how often a fresh recogniser is right about drawings, and about samples of known prompts."""
    judge = train_recogniser(pipeline.vae)
    print(f"recogniser on drawings: {check_recogniser(judge)}")
    scenes = choose_plain_scenes("prompts", KNOWN_PROMPTS)
    prompts = [f"a {scene.colour} {scene.shape} on a {scene.background} background" for scene in scenes]
    print(f"recogniser on samples:  {judge_pictures(judge, draw_samples(pipeline, prompts, seed=21), scenes)}")


@torch.no_grad()
def write_samples(pipeline: StableDiffusionPipeline, shown: Sequence[Image.Image], path: Path) -> None:
    """Write samples of the fixed prompts, one row a seed, then a row of pictures and a row of their rebuilding."""
    samples = [sample for seed in SEEDS for sample in draw_samples(pipeline, PROMPTS, seed)]
    latents = encode_pixels(pipeline.vae, torch.from_numpy(stack_pixels(shown)))
    rebuilt = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample)
    write_sheet([*samples, *shown, *rebuilt], len(PROMPTS), path)


if __name__ == "__main__":
    main()
