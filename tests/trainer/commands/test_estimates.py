"""What a run will need: the greatest of its phases, and what the chosen optimiser keeps."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract.architectures import Architecture
from atelier_contract.manifests import DatasetItem
from atelier_materials.estimates import COSTS, GIB, PUBLISHED_PARAMETERS, BaseModelSize, count_trained, estimate_run
from learning import EMBEDDING, build_settings

PUBLISHED_BYTES = {
    Architecture.STABLE_DIFFUSION_1: 4_300_000_000,
    Architecture.STABLE_DIFFUSION_XL: 13_900_000_000,
    Architecture.FLUX_1: 33_900_000_000,
}
"""Of the published models' needed weights, as they lie there: enough for no part to be taken for a tiny one."""


PRIOR = {"weight": 1.0, "prompt": "a teapot", "pictures": 10}
TAGS = "tkxw, red, round, glossy, steel, lid"


def estimate_texts(architecture: Architecture, caption: str = TAGS, **changes: Any) -> int:
    """Return what a picture's texts are expected to take in the cache, beside its latents."""
    item = DatasetItem(path="a.png", bytes=1, sha256="0" * 64, width=64, height=64, caption=caption)
    size = BaseModelSize(PUBLISHED_PARAMETERS[architecture])
    learned = estimate_run(
        architecture, build_settings(conceptModel={"textEncoderLearningRate": 1e-4}), size, [item]
    ).cache_bytes
    return estimate_run(architecture, build_settings(**changes), size, [item]).cache_bytes - learned


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


def test_float32_doubles_weights_and_activations() -> None:
    """FLUX in float32 is asked as much again for its weights, and for what one picture leaves for the way back."""
    more = estimate_memory(Architecture.FLUX_1, precision="float32") - estimate_memory(Architecture.FLUX_1)
    assert more > PUBLISHED_PARAMETERS[Architecture.FLUX_1] * 2 + COSTS[Architecture.FLUX_1].activation_bytes


def test_float32_widens_t5() -> None:
    """Beside a small denoiser T5 is the most, and in float32 it takes 9.5 GB more."""
    size = BaseModelSize(1_000_000, PUBLISHED_BYTES[Architecture.FLUX_1])
    half, wide = (
        estimate_run(Architecture.FLUX_1, build_settings(precision=precision), size, []).gpu_memory_bytes
        for precision in ("bfloat16", "float32")
    )
    assert (wide - half) / (1.1 * 4_762_310_656 * 2) == pytest.approx(1, rel=0.01)


def test_weights_in_few_bits_are_no_wider_in_float32() -> None:
    """What is kept in few bits stays so in float32: FLUX in 8 bits gains only what is not, and its activations."""
    need = estimate_memory(Architecture.FLUX_1, quantization="8bit", precision="float32")
    assert need < estimate_memory(Architecture.FLUX_1, precision="bfloat16")


def test_prior_rows_double_the_time() -> None:
    """Each step of a run with prior preservation computes as many rows again."""
    size = BaseModelSize(PUBLISHED_PARAMETERS[Architecture.FLUX_1])
    without, beside = (
        estimate_run(
            Architecture.FLUX_1, build_settings(steps=1000, resolution=1024, conceptModel=concept), size, []
        ).seconds
        for concept in ({}, {"prior": PRIOR})
    )
    assert beside == 2 * without > 0


def test_every_order_of_tags_is_counted() -> None:
    """Where tags are shuffled the cache holds eight texts of a caption instead of one."""
    plain = estimate_texts(Architecture.FLUX_1)
    assert estimate_texts(Architecture.FLUX_1, shuffleTags=True) == 8 * plain


def test_a_caption_without_tags_has_one_order() -> None:
    """A sentence is one text, whether or not tags are shuffled."""
    sentence = "a red teapot on a table"
    assert estimate_texts(Architecture.FLUX_1, sentence, shuffleTags=True) == estimate_texts(
        Architecture.FLUX_1, sentence
    )


@pytest.mark.parametrize(
    ("architecture", "precision", "size_bytes"),
    [
        (Architecture.STABLE_DIFFUSION_1, "bfloat16", 77 * 768 * 4),
        (Architecture.STABLE_DIFFUSION_XL, "bfloat16", (77 * 2048 + 1280) * 4),
        (Architecture.FLUX_1, "bfloat16", 512 * 4096 * 2),
        (Architecture.FLUX_1, "float32", 512 * 4096 * 4),
    ],
)
def test_texts_are_counted_as_encoders_answer(architecture: Architecture, precision: str, size_bytes: int) -> None:
    """CLIP answers in float32, T5 in the denoiser's number format; nothing is rounded to be kept."""
    assert estimate_texts(architecture, precision=precision) == pytest.approx(size_bytes, rel=0.002)
