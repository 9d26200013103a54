"""Settings that cannot be meant, told from the input alone: refused before anything is read.

Pure. Most contradictions are refused when the TrainingJob is created (`atelier_contract.contradictions`); here they are
looked at once more, with what the templates and defaults added, because an input can also be written by hand. Each
refusal is one sentence that names the setting and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from atelier_contract import defaults
from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.contradictions import is_prodigy_rate
from atelier_contract.inputs import TrainingInput
from atelier_contract.settings import Settings
from atelier_contract.training_job import MAX_CHECKPOINTS
from atelier_materials.errors import InvalidInput

PLACEHOLDER = re.compile(r"^<[a-z0-9-]+>$")
MAX_PHRASE_LENGTH = 8
GRID_PX = 64
"""Sides of training pictures are multiples of it: three halvings in the VAE and up to three in the UNet."""
LARGEST_ADAM_RATE = 0.1
"""AdamW moves each weight by about its rate in every step: at a tenth an adapter is noise after one. Rates from here on
are meant for Prodigy, whose rate is a factor, 1 as its authors advise."""


def check_settings(asked: TrainingInput) -> None:
    """Refuse what no store is needed to refuse.

    Raises:
        InvalidInput: settings that contradict each other, or have no meaning for the family.
    """
    for sentence in _find_faults(asked):
        raise InvalidInput(sentence)


def _find_faults(asked: TrainingInput) -> Iterator[str]:
    settings, family = asked.settings, asked.base_model.architecture
    if (settings.concept_model is None) == (settings.embedding is None):
        yield "exactly one of conceptModel and embedding must be given"
    elif asked.type != ("ConceptModel" if settings.concept_model else "Embedding"):
        yield f"type is {asked.type}, but the settings describe the other: make them agree"
    yield from _find_word_faults(settings)
    if family is Architecture.FLUX_1:
        yield from _find_flux_faults(settings)
    yield from _find_rate_faults(settings)
    yield from _find_size_faults(settings)
    checkpoints = -(-settings.steps // settings.every_steps)
    if checkpoints > MAX_CHECKPOINTS:
        yield (
            f"checkpoints.everySteps {settings.every_steps} of {settings.steps} steps would keep {checkpoints} "
            f"checkpoints, at most {MAX_CHECKPOINTS} are: set {-(-settings.steps // MAX_CHECKPOINTS)} or more"
        )
    prior = settings.concept_model.prior if settings.concept_model else None
    if prior is not None and not prior.prompt.strip() and asked.prior_dataset is None:
        yield (
            "conceptModel.priorPreservation has neither datasetRef nor prompt: name a Dataset of pictures of the kind, "
            "or say in prompt what the base model is to draw"
        )


def _find_word_faults(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the words that call a model: a caption prefix, or an embedding's own."""
    prefix = settings.concept_model.caption_prefix if settings.concept_model else ""
    if prefix and not prefix.strip():
        yield "conceptModel.captionPrefix is nothing but spaces: write the word that calls the model, or leave it out"
    if settings.embedding is not None:
        where, phrase, placeholder = "embedding", settings.embedding.initial_phrase, settings.embedding.placeholder
    elif settings.concept_model is not None and settings.concept_model.embedding is not None:
        pivotal = settings.concept_model.embedding
        where, phrase, placeholder = "conceptModel.embedding", pivotal.initial_phrase, pivotal.placeholder
    else:
        return
    if not phrase.strip() or len(phrase) > MAX_PHRASE_LENGTH:
        yield f"{where}.initialPhrase has {len(phrase)} characters: 1 to {MAX_PHRASE_LENGTH}, and not only spaces"
    if not PLACEHOLDER.match(placeholder):
        yield (
            f"{where}.placeholder is {placeholder!r}: write small letters, digits and dashes in angle brackets, such "
            "as <tkxw>; tools read others in part only"
        )


def _find_flux_faults(settings: Settings) -> Iterator[str]:
    title, concept = FACTS[Architecture.FLUX_1].title, settings.concept_model
    if settings.embedding is not None or (concept is not None and concept.embedding is not None):
        yield (
            f"embeddings cannot be trained for {title}: no tool loads one that its T5 encoder would need; use "
            "conceptModel, with a captionPrefix as the word that calls it"
        )
    if concept is not None and concept.text_encoder_learning_rate is not None:
        yield (
            f"conceptModel.textEncoderLearningRate: {title} learns without its text encoders (T5 is too large to adapt "
            "beside the transformer): leave it out"
        )
    if concept is not None and concept.targets == "attentionMlpConv":
        yield f"conceptModel.targets attentionMlpConv: {title} has no convolutions, set attentionMlp"
    if settings.snr_gamma > 0:
        yield f"tuning.snrGamma does not apply to {title}, whose loss weighs all noise levels alike: leave it out"
    if settings.noise_offset > 0:
        yield (
            f"tuning.noiseOffset does not apply to {title}, which begins its pictures at pure noise and needs no help "
            "with dark and bright ones: leave it out"
        )
    if settings.validation.negative_prompt:
        yield f"validation.negativePrompt does not apply to {title}, which is not guided away from texts: leave it out"


def _find_rate_faults(settings: Settings) -> Iterator[str]:
    rate = settings.learning_rate
    usual = defaults.CONCEPT_LEARNING_RATE if settings.embedding is None else defaults.EMBEDDING_LEARNING_RATE
    if settings.optimizer == "Prodigy" and not is_prodigy_rate(rate):
        yield f"learningRate {rate:g} is not meant for Prodigy, which finds its own rate: leave it out or set 1"
    if settings.optimizer != "Prodigy" and rate >= LARGEST_ADAM_RATE:
        yield (
            f"learningRate {rate:g} is far beyond what {settings.optimizer} takes: set about {usual:g}, or "
            "tuning.optimizer to Prodigy if that is what it was typed for"
        )
    yield from _find_other_rate_faults(settings)
    if settings.warmup_steps >= settings.steps:
        yield (
            f"tuning.warmupSteps {settings.warmup_steps} is not less than steps {settings.steps}: the learning rate "
            f"would never be reached, set it to {settings.steps // 10} or 0"
        )


def _find_other_rate_faults(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the rates of what is trained beside the adapters."""
    concept = settings.concept_model
    if concept is None:
        return
    rates = {
        "conceptModel.textEncoderLearningRate": concept.text_encoder_learning_rate,
        "conceptModel.embedding.learningRate": concept.embedding.learning_rate if concept.embedding else None,
    }
    for name, rate in rates.items():
        if rate is None:
            continue
        if settings.optimizer == "Prodigy" and rate != settings.learning_rate:
            yield (
                f"{name} {rate:g} is not learningRate {settings.learning_rate:g}: Prodigy finds one rate for all that "
                "learns, leave both out or set both to 1"
            )
        if settings.optimizer != "Prodigy" and rate >= LARGEST_ADAM_RATE:
            yield (
                f"{name} {rate:g} is far beyond what {settings.optimizer} takes: leave it out, or set "
                "tuning.optimizer to Prodigy if that is what it was typed for"
            )


def _find_size_faults(settings: Settings) -> Iterator[str]:
    if settings.resolution % GRID_PX:
        below = settings.resolution // GRID_PX * GRID_PX
        yield (
            f"tuning.resolution {settings.resolution} is not a multiple of {GRID_PX}: set {below} or {below + GRID_PX}"
        )
    if settings.micro_batch_size is not None and settings.micro_batch_size > settings.batch_size:
        yield (
            f"tuning.microBatchSize {settings.micro_batch_size} is more than tuning.batchSize {settings.batch_size}, "
            "of which it is a part: lower it, or leave it out"
        )
