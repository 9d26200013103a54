"""Resolving what is trained: the rows of a concept model, of what is trained or kept beside it, and of an embedding."""

from __future__ import annotations

from collections.abc import Iterator

from atelier_contract import defaults
from atelier_contract.architectures import FACTS
from atelier_contract.identity import slugify
from atelier_contract.methods import ConceptModelSpec, EmbeddingSpec, PivotalSpec, PriorSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import ResolvedSetting
from atelier_operator.plan.asked import Asked, pick, pick_block

PIVOTAL, PRIOR = "conceptModel.embedding", "conceptModel.priorPreservation"
OFF = "none"
"""Value of the row of something that is not asked for."""


def resolve_concept_model(asked: Asked) -> Iterator[ResolvedSetting]:
    """Yield the rows of a concept model."""
    mine = asked.spec.concept_model or ConceptModelSpec()
    theirs = (asked.recipe and asked.recipe.concept_model) or ConceptModelSpec()
    rank = mine.rank or theirs.rank or defaults.RANK
    built_in: dict[str, object] = {
        "captionPrefix": "",
        "rank": defaults.RANK,
        "alpha": float(rank),
        "targets": defaults.TARGETS,
        "dropout": defaults.ADAPTER_DROPOUT,
    }
    if mine.rank is not None and mine.alpha is None:
        # A template's alpha belongs to its own rank; with another rank the update would be scaled by accident.
        theirs = theirs.model_copy(update={"alpha": None})
    yield from pick_block("conceptModel", mine, theirs, built_in)
    yield _resolve_text_rate(asked, mine, theirs)
    yield from _resolve_pivotal(asked, mine.embedding, theirs.embedding)
    yield from _resolve_prior(mine.prior_preservation, theirs.prior_preservation)


def resolve_embedding(asked: Asked) -> Iterator[ResolvedSetting]:
    """Yield the rows of an embedding that is trained alone."""
    mine = asked.spec.embedding or EmbeddingSpec()
    theirs = (asked.recipe and asked.recipe.embedding) or EmbeddingSpec()
    built_in: dict[str, object] = {
        "initialPhrase": defaults.INITIAL_PHRASE,
        "placeholder": name_placeholder(asked.job, asked.spec),
        "vectors": defaults.VECTORS,
    }
    return pick_block("embedding", mine, theirs, built_in)


def name_placeholder(job: str, spec: TrainingJobSpec) -> str:
    """Return the placeholder of an embedding that was given none: the model's slug, or the job's name."""
    return f"<{slugify(spec.model_name) or job.replace('.', '-')}>"


def _resolve_text_rate(asked: Asked, mine: ConceptModelSpec, theirs: ConceptModelSpec) -> ResolvedSetting:
    """Return the text encoder's rate, empty where it stays frozen. Prodigy knows one rate for all that learns."""
    name, spec, template = (
        "conceptModel.textEncoderLearningRate",
        mine.text_encoder_learning_rate,
        theirs.text_encoder_learning_rate,
    )
    if asked.uses_prodigy and spec is None and template is not None:
        template = _prodigy_rate(asked)
    elif not asked.template_rates_apply:
        template = None
    return pick(name, spec, template, "")


def _resolve_pivotal(asked: Asked, mine: PivotalSpec | None, theirs: PivotalSpec | None) -> Iterator[ResolvedSetting]:
    has_embeddings = FACTS[asked.spec.base_model.architecture].embeddings
    if mine is None and (theirs is None or not has_embeddings):
        yield pick(PIVOTAL, None, None, OFF)
        return
    theirs = theirs or PivotalSpec()
    if not asked.template_rates_apply:
        theirs = theirs.model_copy(update={"learning_rate": None})
    built_in: dict[str, object] = {
        "initialPhrase": defaults.INITIAL_PHRASE,
        "placeholder": name_placeholder(asked.job, asked.spec),
        "vectors": defaults.PIVOTAL_VECTORS,
        "learningRate": _prodigy_rate(asked) if asked.uses_prodigy else defaults.PIVOTAL_LEARNING_RATE,
        "untilPercent": defaults.PIVOTAL_UNTIL_PERCENT,
    }
    yield from pick_block(PIVOTAL, mine or PivotalSpec(), theirs, built_in)


def _resolve_prior(mine: PriorSpec | None, theirs: PriorSpec | None) -> Iterator[ResolvedSetting]:
    """Yield the rows of prior preservation. Only a spec can ask for it: a template knows no run's pictures."""
    if mine is None:
        yield pick(PRIOR, None, None, OFF)
        return
    theirs = theirs or PriorSpec()
    yield pick(f"{PRIOR}.weight", mine.weight, theirs.weight, defaults.PRIOR_WEIGHT)
    if mine.dataset_ref is not None:
        yield pick(f"{PRIOR}.datasetRef", mine.dataset_ref.name, None, None)
        return
    yield pick(f"{PRIOR}.prompt", mine.prompt, None, None)
    yield pick(f"{PRIOR}.pictures", mine.pictures, theirs.pictures, defaults.PRIOR_PICTURES)


def _prodigy_rate(asked: Asked) -> float:
    theirs = asked.recipe.learning_rate if asked.recipe and asked.template_rates_apply else None
    return asked.spec.learning_rate or theirs or defaults.PRODIGY_LEARNING_RATE
