"""What a training on a dataset would be, before anything is asked for: shapes, steps, memory, time and room.

In: usable pictures. Out: a plan for each family and type of model, with the contract's built-in defaults. A template or
a TrainingJob may say otherwise; `preflight` counts again with what was really asked. Pure arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from atelier_contract import defaults
from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.dataset import ModelType
from atelier_contract.manifests import DatasetItem
from atelier_contract.report import BucketCount, TrainingPlan
from atelier_contract.settings import ConceptModelSettings, EmbeddingSettings, Settings, ValidationSettings
from atelier_materials.dataset.buckets import assign_shapes
from atelier_materials.estimates import PUBLISHED_PARAMETERS, BaseModelSize, estimate_run

TYPES: tuple[ModelType, ...] = ("ConceptModel", "Embedding")
PLACEHOLDER = "<dataset>"
"""Any will do: nothing that is estimated depends on it."""


def build_plans(
    items: Sequence[DatasetItem], *, architecture: Architecture | None = None, steps: int | None = None
) -> list[TrainingPlan]:
    """Return what training on these pictures takes; nothing for none.

    Args:
        items: usable pictures.
        architecture: the family that is meant; None: all of them.
        steps: as many as are meant; None: the built-in default.
    """
    if not items:
        return []
    families = [architecture] if architecture is not None else list(Architecture)
    return [
        _build_plan(items, build_settings(family, kind, steps or defaults.STEPS), family, kind)
        for family in families
        for kind in TYPES
        if kind == "ConceptModel" or FACTS[family].embeddings
    ]


def build_settings(architecture: Architecture, kind: ModelType, steps: int) -> Settings:
    """Return a run's settings where nothing but the steps is asked: the built-in defaults."""
    is_concept = kind == "ConceptModel"
    return Settings(
        learning_rate=defaults.CONCEPT_LEARNING_RATE if is_concept else defaults.EMBEDDING_LEARNING_RATE,
        steps=steps,
        batch_size=defaults.BATCH_SIZES[architecture],
        resolution=FACTS[architecture].resolution_px,
        seed=0,
        snr_gamma=defaults.SNR_GAMMA if FACTS[architecture].weighs_noise else 0.0,
        caption_dropout=defaults.CAPTION_DROPOUT if is_concept else defaults.EMBEDDING_CAPTION_DROPOUT,
        flip=False,
        warmup_steps=defaults.WARMUP_STEPS,
        schedule="cosine",
        precision="auto",
        weight_decay=defaults.WEIGHT_DECAY if is_concept else defaults.EMBEDDING_WEIGHT_DECAY,
        max_grad_norm=defaults.MAX_GRAD_NORM,
        every_steps=-(-steps // defaults.CHECKPOINT_SHARE),
        concept_model=ConceptModelSettings(
            rank=defaults.RANK, alpha=float(defaults.RANK), targets="attentionMlp", dropout=defaults.ADAPTER_DROPOUT
        )
        if is_concept
        else None,
        embedding=None
        if is_concept
        else EmbeddingSettings(
            initial_phrase=defaults.INITIAL_PHRASE, placeholder=PLACEHOLDER, vectors=defaults.VECTORS
        ),
        validation=ValidationSettings(
            guidance=defaults.GUIDANCE[architecture],
            sampler_steps=defaults.SAMPLER_STEPS,
            held_out="auto",
            seed=0,
        ),
    )


def _build_plan(
    items: Sequence[DatasetItem], settings: Settings, architecture: Architecture, kind: ModelType
) -> TrainingPlan:
    base = BaseModelSize(PUBLISHED_PARAMETERS[architecture])
    estimate = estimate_run(architecture, settings, base, items)
    repeats = [item.repeats for item in items]
    return TrainingPlan(
        architecture=architecture,
        type=kind,
        resolution=settings.resolution,
        batch_size=settings.batch_size,
        steps=settings.steps,
        passes=round(settings.steps * settings.batch_size / sum(repeats), 1),
        buckets=_count_buckets(items, settings, repeats),
        gpu_memory_bytes=estimate.gpu_memory_bytes,
        storage_bytes=estimate.storage_bytes,
        cache_bytes=estimate.cache_bytes,
        seconds=estimate.seconds,
    )


def _count_buckets(items: Sequence[DatasetItem], settings: Settings, repeats: Sequence[int]) -> list[BucketCount]:
    sizes = [(item.width, item.height) for item in items]
    shapes = Counter(assign_shapes(sizes, settings.resolution, settings.batch_size, repeats))
    rows = sorted(shapes.items(), key=lambda row: (-row[1], row[0]))
    return [BucketCount(width=width, height=height, pictures=count) for (width, height), count in rows]
