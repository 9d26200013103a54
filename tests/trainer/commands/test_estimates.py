"""What a run will need: the greatest of its phases, and what the chosen optimiser keeps."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract.architectures import Architecture
from atelier_materials.estimates import COSTS, GIB, PUBLISHED_PARAMETERS, BaseModelSize, count_trained, estimate_run
from learning import EMBEDDING, build_settings

PUBLISHED_BYTES = {
    Architecture.STABLE_DIFFUSION_1: 4_300_000_000,
    Architecture.STABLE_DIFFUSION_XL: 13_900_000_000,
    Architecture.FLUX_1: 33_900_000_000,
}
"""Of the published models' needed weights, as they lie there: enough for no part to be taken for a tiny one."""


def estimate_memory(architecture: Architecture, resolution: int = 1024, **changes: Any) -> int:
    """Return the memory that a run on a published model is expected to need, in bytes."""
    size = BaseModelSize(PUBLISHED_PARAMETERS[architecture], PUBLISHED_BYTES[architecture])
    settings = build_settings(resolution=resolution, **changes)
    return estimate_run(architecture, settings, size, []).gpu_memory_bytes


def test_flux_in_few_bits_fits_a_card_of_24_gib() -> None:
    """T5 and the denoiser are not counted as one: FLUX in 8 bits is asked no more than training itself takes."""
    need = estimate_memory(Architecture.FLUX_1, quantization="8bit")
    together = COSTS[Architecture.FLUX_1].text_bytes + PUBLISHED_PARAMETERS[Architecture.FLUX_1]
    assert need < 22 * GIB
    assert need < together


def test_texts_alone_can_be_the_most() -> None:
    """A run that trains little on a small denoiser still needs room for T5."""
    size = BaseModelSize(1_000_000, PUBLISHED_BYTES[Architecture.FLUX_1])
    assert (
        estimate_run(Architecture.FLUX_1, build_settings(), size, []).gpu_memory_bytes
        > COSTS[Architecture.FLUX_1].text_bytes
    )


@pytest.mark.parametrize("changes", [{"conceptModel": {"textEncoderLearningRate": 1e-4}}, {"embedding": EMBEDDING}])
def test_encoders_that_learn_are_counted_to_the_end(changes: dict[str, Any]) -> None:
    """Where a text encoder learns, both of XL's lie beside the denoiser in every step."""
    text = COSTS[Architecture.STABLE_DIFFUSION_XL].text_bytes
    frozen = estimate_memory(Architecture.STABLE_DIFFUSION_XL)
    assert estimate_memory(Architecture.STABLE_DIFFUSION_XL, **changes) - frozen > 0.9 * text


@pytest.mark.parametrize(
    ("changes", "floats"),
    [({"optimizer": "Prodigy", "learningRate": 1.0}, 2), ({"emaDecay": 0.99}, 1), ({"optimizer": "AdamW8bit"}, -1.5)],
    ids=["Prodigy", "mean", "8 bits"],
)
def test_the_optimisers_own_memory_is_counted(changes: dict[str, Any], floats: float) -> None:
    """Prodigy keeps two floats a number more than AdamW, a running mean one, moments of 8 bits one and a half less."""
    large = {"conceptModel": {"rank": 128}}
    trained = count_trained(Architecture.STABLE_DIFFUSION_XL, build_settings(**large))
    more = estimate_memory(Architecture.STABLE_DIFFUSION_XL, **large, **changes)
    less = estimate_memory(Architecture.STABLE_DIFFUSION_XL, **large)
    assert (more - less) / (trained * 4 * 1.1) == pytest.approx(floats, rel=0.03)
