"""What a run will need, before it has run: memory of the GPU, room in the store, time. Rough on purpose, and pure.

Counted are parameters, latents and tokens, from the published configs; measured figures are others' (named at each).
The memory is the least that suffices: one picture at a time, activations computed again in the backward pass. Nothing
is refused for being slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.manifests import DatasetItem
from atelier_contract.settings import Settings
from atelier_materials.footprint import (
    FLOAT_BYTES,
    count_mean_bytes,
    count_moment_bytes,
    count_orders,
    learns_text,
)

HALF_BYTES = 2
GIB = 1 << 30
WEIGHT_BYTES = {"none": 2.0, "8bit": 1 + 4 / 256, "4bit": 0.5 + 4 / 64}
"""Of a frozen weight: half precision, or few bits and the scales of blocks (`learn.quantization`)."""
FRAMEWORK_BYTES = GIB
"""Context, kernels and their workspaces on a GPU."""
ENCODING_BYTES_PER_PIXEL = 2_560
"""Of a picture that the VAE encodes, beside its weights: measured at 512 px with the published widths in float32."""
CONTEXT_MARGIN = 1.1
"""Held by the allocator beyond what is used."""
SAMPLE_BYTES_PER_PIXEL = 1.5
"""A PNG of a photograph."""
KEPT_STATES = 2
T5_PARAMETERS = 4_762_310_656
"""Of its encoder, counted in the published config."""
PRIOR_ROWS = 2
"""Rows of a step with prior preservation, for each without: a prior picture follows every picture of the dataset."""


@dataclass(frozen=True)
class FamilyCosts:
    """What a family costs, at its own resolution."""

    linear_share: float
    """Of the denoiser's weights, those that quantisation keeps in few bits: counted in the published configs."""
    adapter_parameters: dict[str, int]
    """By targets and rank: the sum of inputs and outputs of all adapted layers, counted in the published configs."""
    text_bytes: int
    """Text encoders: float32, T5 in half precision."""
    picture_bytes: int
    """The VAE, in float32."""
    activation_bytes: float
    """Of one picture at the native size, computed again backwards. From SimpleTuner's published memory of whole runs,
    less weights: SD 1.5 2.0 GiB, SDXL 6.5 GiB, FLUX 9 GB with NormalFloat weights at 512 px, scaled to 1024 by area."""
    seconds_per_picture: float
    """Of a step, at the native size: the floor of the bars in our own benchmark for one H200 at batch 4 (90, 13 and 2
    pictures a second), times three for a GPU of a third of its speed."""
    latent_channels: int
    token_bytes: int
    """Encoded text of one caption, as its encoders answer: tokens times width, and the pooled vector."""
    t5_bytes: int = 0
    """Of `text_bytes`, those of T5, whose number format is the denoiser's."""
    t5_token_bytes: int = 0
    """Of `token_bytes`, likewise."""


COSTS = {
    Architecture.STABLE_DIFFUSION_1: FamilyCosts(
        linear_share=0.31,
        adapter_parameters={"attention": 199_296, "attentionMlp": 374_016, "attentionMlpConv": 610_000},
        text_bytes=123_060_480 * FLOAT_BYTES,
        picture_bytes=83_653_863 * FLOAT_BYTES,
        activation_bytes=0.4 * GIB,
        seconds_per_picture=3 / 90,
        latent_channels=4,
        token_bytes=77 * 768 * FLOAT_BYTES,
    ),
    Architecture.STABLE_DIFFUSION_XL: FamilyCosts(
        linear_share=0.87,
        adapter_parameters={"attention": 1_451_520, "attentionMlp": 2_616_320, "attentionMlpConv": 2_900_000},
        text_bytes=(123_060_480 + 694_659_840) * FLOAT_BYTES,
        picture_bytes=83_653_863 * FLOAT_BYTES,
        activation_bytes=1.7 * GIB,
        seconds_per_picture=3 / 13,
        latent_channels=4,
        token_bytes=(77 * 2048 + 1280) * FLOAT_BYTES,
    ),
    Architecture.FLUX_1: FamilyCosts(
        linear_share=0.99,
        adapter_parameters={"attention": 1_634_304, "attentionMlp": 4_085_760, "attentionMlpConv": 4_085_760},
        text_bytes=123_060_480 * FLOAT_BYTES + T5_PARAMETERS * HALF_BYTES,
        picture_bytes=83_819_683 * FLOAT_BYTES,
        activation_bytes=6 * GIB,
        seconds_per_picture=3 / 2,
        latent_channels=16,
        token_bytes=512 * 4096 * HALF_BYTES + 768 * FLOAT_BYTES,
        t5_bytes=T5_PARAMETERS * HALF_BYTES,
        t5_token_bytes=512 * 4096 * HALF_BYTES,
    ),
}


PUBLISHED_PARAMETERS = {
    Architecture.STABLE_DIFFUSION_1: 859_520_964,
    Architecture.STABLE_DIFFUSION_XL: 2_567_463_684,
    Architecture.FLUX_1: 11_901_408_320,
}
"""Of UNet or transformer, counted in the published configs."""


EMBEDDING_WIDTH = 768 + 1280
"""Of one vector: both encoders of XL; 768 of SD 1."""
TEXT_ADAPTER_PARAMETERS = {
    Architecture.STABLE_DIFFUSION_1: 12 * (4 * 2 * 768 + 2 * (768 + 3072)),
    Architecture.STABLE_DIFFUSION_XL: 12 * (4 * 2 * 768 + 2 * (768 + 3072)) + 32 * (4 * 2 * 1280 + 2 * (1280 + 5120)),
    Architecture.FLUX_1: 0,
}
"""By rank, of the text encoders' attention and MLP."""


@dataclass(frozen=True)
class BaseModelSize:
    """How large a base model is, as far as a run's needs depend on it."""

    denoiser_parameters: int
    weights_bytes: int | None = None
    """Of all its weights as they lie there. None: as in the published one."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need."""

    gpu_memory_bytes: int
    """Where the pod's disk holds `cache_bytes`; else encoders that were to rest stay."""
    storage_bytes: int
    """Of checkpoints, samples and the two states that are kept."""
    cache_bytes: int
    """Of the dataset's encodings, which belong to the dataset and serve later runs too."""
    seconds: int
    """Of the steps alone."""


def estimate_run(
    architecture: Architecture, settings: Settings, base: BaseModelSize, items: Sequence[DatasetItem]
) -> Estimate:
    """Return what a run will need.

    Args:
        architecture: family of the base model.
        settings: as resolved.
        base: size of the base model; of the published one, its `PUBLISHED_PARAMETERS`.
        items: pictures of the dataset.
    """
    costs = COSTS[architecture]
    area = (settings.resolution / FACTS[architecture].resolution_px) ** 2
    trained = count_trained(architecture, settings)
    has_prior = settings.concept_model is not None and settings.concept_model.prior is not None
    rows = settings.steps * settings.batch_size * (PRIOR_ROWS if has_prior else 1)
    # A denoiser smaller than the published one costs less in proportion, a pruned FLUX or a tiny model of tests.
    size = min(1.0, base.denoiser_parameters / PUBLISHED_PARAMETERS[architecture])
    return Estimate(
        gpu_memory_bytes=int(_estimate_memory(architecture, settings, base, trained, area * size)),
        storage_bytes=int(_estimate_storage(settings, trained)),
        cache_bytes=int(_estimate_cache(settings, costs, items)),
        seconds=int(rows * costs.seconds_per_picture * area * size),
    )


def count_trained(architecture: Architecture, settings: Settings) -> int:
    """Return the number of weights that a run trains, for the published widths."""
    costs = COSTS[architecture]
    concept = settings.concept_model
    if concept is None:
        return (settings.embedding.vectors if settings.embedding else 1) * EMBEDDING_WIDTH
    trained = costs.adapter_parameters[concept.targets] * concept.rank
    if concept.text_encoder_learning_rate is not None:
        trained += TEXT_ADAPTER_PARAMETERS[architecture] * concept.rank
    return trained + (concept.embedding.vectors * EMBEDDING_WIDTH if concept.embedding else 0)


def count_text_bytes(architecture: Architecture, settings: Settings) -> int:
    """Return the size of the published text encoders, in the number formats that the settings ask for."""
    costs = COSTS[architecture]
    return costs.text_bytes + (_count_widenings(settings) - 1) * costs.t5_bytes


def _count_widenings(settings: Settings) -> int:
    """Return how many bytes there are for one of half precision, in all that follows the denoiser's number format."""
    return FLOAT_BYTES // HALF_BYTES if settings.precision == "float32" else 1


def _estimate_memory(
    architecture: Architecture, settings: Settings, base: BaseModelSize, trained: int, work: float
) -> float:
    """Return the greatest of three phases: texts without the denoiser, pictures beside it, training.

    Args:
        architecture: family of the base model.
        settings: as resolved.
        base: size of the base model.
        trained: numbers that are trained.
        work: of a picture, as a share of one at the native size in the published model.
    """
    costs = COSTS[architecture]
    widening = _count_widenings(settings)
    lean = costs.linear_share if settings.quantization != "none" else 0.0
    weight_bytes = lean * WEIGHT_BYTES[settings.quantization] + (1 - lean) * WEIGHT_BYTES["none"] * widening
    denoiser = base.denoiser_parameters * weight_bytes
    most = math.inf if base.weights_bytes is None else base.weights_bytes * HALF_BYTES
    text, vae = min(count_text_bytes(architecture, settings), most), min(costs.picture_bytes, most)
    encoding = ENCODING_BYTES_PER_PIXEL * FACTS[architecture].resolution_px ** 2 * work
    beside = denoiser + (text if learns_text(settings) else 0)
    steps = trained * (FLOAT_BYTES + HALF_BYTES) + _count_state_bytes(settings, trained)
    phases = (text + vae, beside + vae + encoding, beside + steps + costs.activation_bytes * widening * work)
    return FRAMEWORK_BYTES + CONTEXT_MARGIN * max(phases)


def _count_state_bytes(settings: Settings, trained: int) -> int:
    """Return the size of what a state keeps: weights, the optimiser's moments and the running mean."""
    return trained * FLOAT_BYTES + count_moment_bytes(settings, trained) + count_mean_bytes(settings, trained)


def _estimate_storage(settings: Settings, trained: int) -> float:
    checkpoints = settings.steps // settings.every_steps + 1
    samples = len(settings.validation.prompts or "four") * settings.resolution**2 * SAMPLE_BYTES_PER_PIXEL
    return checkpoints * (trained * FLOAT_BYTES + samples) + KEPT_STATES * _count_state_bytes(settings, trained)


def _estimate_cache(settings: Settings, costs: FamilyCosts, items: Sequence[DatasetItem]) -> float:
    """Return the size of means in half precision, once or with their mirror, and of each text that is encoded ahead."""
    sides = 2 if settings.flip else 1
    latents = sides * costs.latent_channels * (settings.resolution // 8) ** 2 * HALF_BYTES
    captions = [caption for item in items for caption in (item.caption or "", *item.other_captions)]
    texts = 0 if learns_text(settings) else sum(count_orders(settings, caption) for caption in captions)
    token_bytes = costs.token_bytes + (_count_widenings(settings) - 1) * costs.t5_token_bytes
    return len(items) * latents + texts * token_bytes
