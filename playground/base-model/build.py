"""Build the tiny base model from nothing: draw the pictures, train the four parts, write the diffusers folder.

In: a plan (how long) and a device. Out: `weights/` (at most 12 MB in half precision); between the stages, parts in full
precision under the work folder, so that a stage can be run again alone and two can run side by side:

    tokenizer -> text, autoencoder -> denoiser (needs both), polish (needs the autoencoder) -> weights

The committed weights' command, machine and times are in `README.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tiny_base.autoencoder import polish_decoder, train_autoencoder
from tiny_base.denoiser import encode_examples, train_denoiser
from tiny_base.text_encoder import train_text_encoder
from tiny_base.tokens import write_tokenizer
from tiny_base.training import PLANS, Plan, keep_large_buffers
from tiny_base.weights_folder import list_digests, write_weights
from transformers import CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workshop:
    """Where a build runs: its plan, its device and the folders of its parts."""

    plan: Plan
    device: torch.device
    work: Path
    weights: Path

    def read_tokenizer(self) -> CLIPTokenizer:
        """Load the tokenizer that an earlier stage wrote."""
        return CLIPTokenizer.from_pretrained(self.work / "tokenizer")

    def read_text_encoder(self) -> CLIPTextModel:
        """Load the text encoder that an earlier stage wrote."""
        return CLIPTextModel.from_pretrained(self.work / "text_encoder", dtype=torch.float32).to(self.device).eval()

    def read_autoencoder(self, name: str) -> AutoencoderKL:
        """Load the autoencoder, `vae` before and `vae-polished` after its polish."""
        return AutoencoderKL.from_pretrained(self.work / name).to(self.device).eval()


def run_tokenizer(shop: Workshop) -> None:
    """Write the tokenizer."""
    write_tokenizer(shop.work / "tokenizer")


def run_text(shop: Workshop) -> None:
    """Train the text encoder."""
    train_text_encoder(shop.read_tokenizer(), shop.plan, shop.device).save_pretrained(shop.work / "text_encoder")


def run_autoencoder(shop: Workshop) -> None:
    """Train the autoencoder."""
    train_autoencoder(shop.plan, shop.device).save_pretrained(shop.work / "vae")


def run_denoiser(shop: Workshop) -> None:
    """Encode the captioned pictures and train the denoiser on them."""
    parts = shop.read_autoencoder("vae"), shop.read_tokenizer(), shop.read_text_encoder()
    examples = encode_examples(*parts, shop.plan, shop.device)
    train_denoiser(examples, shop.plan, shop.device).save_pretrained(shop.work / "unet")


def run_polish(shop: Workshop) -> None:
    """Polish the decoder."""
    polished = polish_decoder(shop.read_autoencoder("vae"), shop.plan, shop.device)
    polished.save_pretrained(shop.work / "vae-polished")


def run_weights(shop: Workshop) -> None:
    """Write the diffusers folder and print the digests."""
    denoiser = UNet2DConditionModel.from_pretrained(shop.work / "unet")
    parts = shop.read_text_encoder(), shop.read_autoencoder("vae-polished"), denoiser
    write_weights(shop.weights, shop.work / "tokenizer", *parts)
    for path, digest in list_digests(shop.weights).items():
        print(f"{digest}  {path}")


STAGES: dict[str, Callable[[Workshop], None]] = {
    "tokenizer": run_tokenizer,
    "text": run_text,
    "autoencoder": run_autoencoder,
    "denoiser": run_denoiser,
    "polish": run_polish,
    "weights": run_weights,
}


def main() -> None:
    """Run the stages asked for, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all, in this order"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--plan", choices=PLANS, help="default: the device's name")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--work", type=Path, default=Path("build/base-model"), help="folder of the parts")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="folder of the result")
    asked = parser.parse_args()
    if unknown := set(asked.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; the stages are {', '.join(STAGES)}")
    keep_large_buffers()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    shop = Workshop(PLANS[asked.plan or device.type], device, asked.work, asked.weights)
    shop.work.mkdir(parents=True, exist_ok=True)
    for name in asked.stages or STAGES:
        print(f"== {name}", flush=True)
        STAGES[name](shop)


if __name__ == "__main__":
    main()
