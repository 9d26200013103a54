"""What a run will need, before it has run: memory of the GPU, room in the store, time. Rough on purpose, and pure.

The figures are for the default way of training (frozen base in half precision, adapters and their moments in float32).
"""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract.inputs import TrainingInput
from atelier_contract.settings import Settings

FLOAT_BYTES = 4
ACTIVATION_BYTES_PER_PARAMETER = 1.5
"""Of one 512-pixel picture, forward and backward, by parameter of the denoiser. Chosen, not measured: a SD 1.5 UNet
(860 M) at batch 1 then takes 1.3 GB beside its weights."""
ADAPTER_SHARE_BY_RANK = 0.00042
"""Adapter parameters by denoiser parameter and rank: SDXL at rank 32 on attention and MLP keeps 1.0 GB of state
(12 bytes a parameter), that is 83 M of 2.6 G at rank 32, rounded down to SD's thinner layers."""
STATE_BYTES_PER_PARAMETER = 12
"""Weight and two moments in float32."""
EMBEDDING_WIDTH = 768
SECONDS_PER_PICTURE = 0.02
"""Of one 512-pixel picture of SD 1.5: 53 s for 8,000 pictures at 300 TFLOP/s, computed, times three for a GPU of a
third of that speed. Scaled by area and by parameters."""
REFERENCE_PARAMETERS = 860_000_000
REFERENCE_PX = 512
SAMPLE_BYTES_PER_PIXEL = 1.5
"""A PNG of a photograph."""
KEPT_STATES = 2


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need."""

    gpu_memory_bytes: int
    storage_bytes: int
    seconds: int


def estimate_run(asked: TrainingInput, weights_bytes: int, denoiser_parameters: int) -> Estimate:
    """Return what a run will need.

    Args:
        asked: the resolved run.
        weights_bytes: size of the base model's weight files.
        denoiser_parameters: weights of the UNet or transformer.
    """
    settings = asked.settings
    trained = _count_trained(settings, denoiser_parameters)
    area = (settings.resolution / REFERENCE_PX) ** 2
    # One picture at a time is the least: a larger batch is split, never refused.
    activations = denoiser_parameters * ACTIVATION_BYTES_PER_PARAMETER * area
    checkpoints = settings.steps // settings.every_steps + 1
    samples = len(settings.validation.prompts or "four") * settings.resolution**2 * SAMPLE_BYTES_PER_PIXEL
    kept = checkpoints * (trained * FLOAT_BYTES + samples) + KEPT_STATES * trained * STATE_BYTES_PER_PARAMETER
    pictures = settings.steps * settings.batch_size
    speed = SECONDS_PER_PICTURE * area * denoiser_parameters / REFERENCE_PARAMETERS
    return Estimate(
        gpu_memory_bytes=int(weights_bytes + trained * STATE_BYTES_PER_PARAMETER + activations),
        storage_bytes=int(kept),
        seconds=int(pictures * speed),
    )


def _count_trained(settings: Settings, denoiser_parameters: int) -> int:
    if settings.concept_model is not None:
        return int(denoiser_parameters * ADAPTER_SHARE_BY_RANK * settings.concept_model.rank)
    return (settings.embedding.vectors if settings.embedding else 1) * EMBEDDING_WIDTH
