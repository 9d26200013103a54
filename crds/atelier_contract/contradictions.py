"""Settings of a TrainingJob that cannot be meant together: each a rule for the API server and the same in Python.

The rules stand on `spec`, because each looks at more than one of its fields. In comes a spec, out goes what is wrong
with it in words. Knows neither templates nor defaults: what only they make contradictory, the operator refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atelier_contract.architectures import FACTS
from atelier_contract.base import CelRule

if TYPE_CHECKING:
    from atelier_contract.methods import ConceptModelSpec
    from atelier_contract.training_job import TrainingJobSpec

NO_EMBEDDINGS = [str(name) for name, facts in FACTS.items() if not facts.embeddings]
"""Families for which no textual inversion is trained."""
NO_TEXT = [str(name) for name, facts in FACTS.items() if not facts.adapts_text]
"""Families whose text encoders are not trained."""
NO_CONVOLUTIONS = [str(name) for name, facts in FACTS.items() if not facts.convolutions]
"""Families without convolutions."""
NO_SNR = [str(name) for name, facts in FACTS.items() if not facts.weighs_noise]
"""Families whose loss weighs all noise levels alike."""
NO_NEGATIVE = [str(name) for name, facts in FACTS.items() if not facts.negative_prompt]
"""Families whose samples have no negative prompt."""
PRODIGY_RATES = (0.1, 10.0)
"""Learning rates that can be meant for Prodigy: a factor on the rate that it finds, 1 as its authors advise."""

EXACTLY_ONE_TYPE: CelRule = {
    "rule": "[has(self.conceptModel), has(self.embedding)].exists_one(x, x)",
    "message": "name exactly one of conceptModel (write `conceptModel: {}` for its defaults) and embedding",
}
NO_EMBEDDING: CelRule = {
    "rule": f"!has(self.embedding) || !(self.baseModel.architecture in {NO_EMBEDDINGS})",
    "message": f"embeddings cannot be trained for {', '.join(NO_EMBEDDINGS)}: use conceptModel instead of embedding",
}
NO_PIVOTAL: CelRule = {
    "rule": "!has(self.conceptModel) || !has(self.conceptModel.embedding)"
    f" || !(self.baseModel.architecture in {NO_EMBEDDINGS})",
    "message": f"embeddings cannot be trained for {', '.join(NO_EMBEDDINGS)}: leave conceptModel.embedding out",
}
NO_TEXT_RATE: CelRule = {
    "rule": "!has(self.conceptModel) || !has(self.conceptModel.textEncoderLearningRate)"
    f" || !(self.baseModel.architecture in {NO_TEXT})",
    "message": f"text encoders are not trained for {', '.join(NO_TEXT)}: "
    "leave conceptModel.textEncoderLearningRate out",
}
NO_CONVOLUTION_TARGETS: CelRule = {
    "rule": "!has(self.conceptModel) || !has(self.conceptModel.targets)"
    " || self.conceptModel.targets != 'attentionMlpConv'"
    f" || !(self.baseModel.architecture in {NO_CONVOLUTIONS})",
    "message": f"{', '.join(NO_CONVOLUTIONS)} has no convolutions: set conceptModel.targets to attentionMlp",
}
NO_SNR_GAMMA: CelRule = {
    "rule": "!has(self.tuning) || !has(self.tuning.snrGamma) || self.tuning.snrGamma == 0.0"
    f" || !(self.baseModel.architecture in {NO_SNR})",
    "message": f"tuning.snrGamma does not apply to {', '.join(NO_SNR)}, whose loss weighs all noise levels alike: "
    "leave it out",
}
NO_NEGATIVE_PROMPT: CelRule = {
    "rule": "!has(self.validation) || !has(self.validation.negativePrompt) || self.validation.negativePrompt == ''"
    f" || !(self.baseModel.architecture in {NO_NEGATIVE})",
    "message": f"validation.negativePrompt does not apply to {', '.join(NO_NEGATIVE)}, whose guidance is built in: "
    "leave it out",
}
PRIOR_NEEDS_PICTURES: CelRule = {
    "rule": "!has(self.conceptModel) || !has(self.conceptModel.priorPreservation)"
    " || has(self.conceptModel.priorPreservation.datasetRef) || has(self.conceptModel.priorPreservation.prompt)",
    "message": "conceptModel.priorPreservation needs pictures of the kind: name a Dataset in datasetRef, or say in "
    "prompt what the base model is to draw",
}
PRODIGY_RATE: CelRule = {
    "rule": "!has(self.tuning) || !has(self.tuning.optimizer) || self.tuning.optimizer != 'Prodigy'"
    " || !has(self.learningRate)"
    f" || (self.learningRate >= {PRODIGY_RATES[0]} && self.learningRate <= {PRODIGY_RATES[1]})",
    "message": "Prodigy finds its own rate: leave learningRate out or set 1",
}
PRODIGY_ONE_RATE: CelRule = {
    "rule": "!has(self.tuning) || !has(self.tuning.optimizer) || self.tuning.optimizer != 'Prodigy'"
    " || !has(self.conceptModel)"
    " || ((!has(self.conceptModel.textEncoderLearningRate) || self.conceptModel.textEncoderLearningRate =="
    " (has(self.learningRate) ? self.learningRate : 1.0))"
    " && (!has(self.conceptModel.embedding) || !has(self.conceptModel.embedding.learningRate)"
    " || self.conceptModel.embedding.learningRate == (has(self.learningRate) ? self.learningRate : 1.0)))",
    "message": "Prodigy finds one rate for all that learns: set textEncoderLearningRate and embedding.learningRate to "
    "learningRate (1 where that is left out)",
}
NEEDS_GPU: CelRule = {
    "rule": "!has(self.tuning) || !has(self.pod) || !has(self.pod.gpus) || self.pod.gpus > 0"
    " || ((!has(self.tuning.optimizer) || self.tuning.optimizer != 'AdamW8bit')"
    " && (!has(self.tuning.quantization) || self.tuning.quantization == 'none'))",
    "message": "tuning.optimizer AdamW8bit and tuning.quantization need a GPU, and pod.gpus is 0: leave them out, or "
    "ask for a GPU",
}
MICRO_IN_BATCH: CelRule = {
    "rule": "!has(self.tuning) || !has(self.tuning.microBatchSize) || !has(self.tuning.batchSize)"
    " || self.tuning.microBatchSize <= self.tuning.batchSize",
    "message": "tuning.microBatchSize is a part of tuning.batchSize and may not exceed it",
}
CONTRADICTIONS = [
    EXACTLY_ONE_TYPE,
    NO_EMBEDDING,
    NO_PIVOTAL,
    NO_TEXT_RATE,
    NO_CONVOLUTION_TARGETS,
    NO_SNR_GAMMA,
    NO_NEGATIVE_PROMPT,
    PRIOR_NEEDS_PICTURES,
    PRODIGY_RATE,
    PRODIGY_ONE_RATE,
    NEEDS_GPU,
    MICRO_IN_BATCH,
]
"""All rules, in the order in which they are looked at."""


def find_contradiction(spec: TrainingJobSpec) -> str:
    """Return what cannot be meant so, in the API server's words; empty: nothing."""
    family, concept = spec.base_model.architecture, spec.concept_model
    gamma = (spec.tuning and spec.tuning.snr_gamma) or 0
    negative = (spec.validation and spec.validation.negative_prompt) or ""
    prior = concept.prior_preservation if concept else None
    broken = (
        (EXACTLY_ONE_TYPE, (concept is None) == (spec.embedding is None)),
        (NO_EMBEDDING, spec.embedding is not None and family in NO_EMBEDDINGS),
        (NO_PIVOTAL, concept is not None and concept.embedding is not None and family in NO_EMBEDDINGS),
        (NO_TEXT_RATE, concept is not None and bool(concept.text_encoder_learning_rate) and family in NO_TEXT),
        (NO_CONVOLUTION_TARGETS, _convolves(concept) and family in NO_CONVOLUTIONS),
        (NO_SNR_GAMMA, gamma > 0 and family in NO_SNR),
        (NO_NEGATIVE_PROMPT, bool(negative) and family in NO_NEGATIVE),
        (PRIOR_NEEDS_PICTURES, prior is not None and prior.dataset_ref is None and prior.prompt is None),
        (PRODIGY_RATE, _uses_prodigy(spec) and not is_prodigy_rate(spec.learning_rate or 1.0)),
        (PRODIGY_ONE_RATE, _uses_prodigy(spec) and _has_other_rates(spec)),
        (NEEDS_GPU, _lacks_gpu(spec)),
        (MICRO_IN_BATCH, _exceeds_batch(spec)),
    )
    return next((str(rule["message"]) for rule, is_broken in broken if is_broken), "")


def is_prodigy_rate(rate: float) -> bool:
    """Return whether a learning rate can be meant for Prodigy."""
    return PRODIGY_RATES[0] <= rate <= PRODIGY_RATES[1]


def _convolves(concept: ConceptModelSpec | None) -> bool:
    return concept is not None and concept.targets == "attentionMlpConv"


def _uses_prodigy(spec: TrainingJobSpec) -> bool:
    return spec.tuning is not None and spec.tuning.optimizer == "Prodigy"


def _has_other_rates(spec: TrainingJobSpec) -> bool:
    concept, rate = spec.concept_model, spec.learning_rate or 1.0
    if concept is None:
        return False
    rates = (concept.text_encoder_learning_rate, concept.embedding and concept.embedding.learning_rate)
    return any(other not in {None, rate} for other in rates)


def _lacks_gpu(spec: TrainingJobSpec) -> bool:
    if spec.tuning is None or spec.pod is None or spec.pod.gpus != 0:
        return False
    return spec.tuning.optimizer == "AdamW8bit" or spec.tuning.quantization not in {None, "none"}


def _exceeds_batch(spec: TrainingJobSpec) -> bool:
    if spec.tuning is None or spec.tuning.micro_batch_size is None or spec.tuning.batch_size is None:
        return False
    return spec.tuning.micro_batch_size > spec.tuning.batch_size
