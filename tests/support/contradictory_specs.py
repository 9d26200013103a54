"""Settings that cannot be meant together, and the words of each refusal: asked of Python and the API server alike."""

from __future__ import annotations

from typing import Any

FLUX = {"architecture": "Flux1", "source": {"storage": {"path": "base-models/flux"}}}

CONTRADICTORY: dict[str, tuple[dict[str, Any], str]] = {
    "Prodigy at a typed rate": (
        {"learningRate": 0.0001, "tuning": {"optimizer": "Prodigy"}},
        "Prodigy finds its own rate: leave learningRate out or set 1",
    ),
    "Prodigy at two rates": (
        {"conceptModel": {"textEncoderLearningRate": 0.00005}, "tuning": {"optimizer": "Prodigy"}},
        "Prodigy finds one rate for all that learns",
    ),
    "Prodigy at a pivotal rate": (
        {"conceptModel": {"embedding": {"learningRate": 0.0003}}, "tuning": {"optimizer": "Prodigy"}},
        "Prodigy finds one rate for all that learns",
    ),
    "restarts of another schedule": (
        {"tuning": {"schedule": "cosine", "restarts": 2}},
        "set schedule to it, or leave restarts out",
    ),
    "delta of another loss": ({"tuning": {"huberDelta": 0.1}}, "set loss to it, or leave huberDelta out"),
    "kept tags without shuffling": ({"tuning": {"keepTags": 2}}, "set shuffleTags to true"),
    "part larger than the batch": ({"tuning": {"batchSize": 2, "microBatchSize": 4}}, "may not exceed it"),
    "8-bit moments without a GPU": (
        {"tuning": {"optimizer": "AdamW8bit"}, "pod": {"gpus": 0}},
        "need a GPU, and pod.gpus is 0",
    ),
    "quantised base without a GPU": (
        {"tuning": {"quantization": "4bit"}, "pod": {"gpus": 0}},
        "need a GPU, and pod.gpus is 0",
    ),
    "prior of nothing": (
        {"conceptModel": {"priorPreservation": {"weight": 1}}},
        "name a Dataset in datasetRef, or say in prompt",
    ),
    "pivotal for FLUX": (
        {"baseModel": FLUX, "conceptModel": {"embedding": {}}},
        "leave conceptModel.embedding out",
    ),
    "text encoders of FLUX": (
        {"baseModel": FLUX, "conceptModel": {"textEncoderLearningRate": 0.0001}},
        "leave conceptModel.textEncoderLearningRate out",
    ),
    "convolutions of FLUX": (
        {"baseModel": FLUX, "conceptModel": {"targets": "attentionMlpConv"}},
        "set conceptModel.targets to attentionMlp",
    ),
    "min-SNR for FLUX": ({"baseModel": FLUX, "tuning": {"snrGamma": 5}}, "snrGamma does not apply to Flux1"),
    "negative prompt for FLUX": (
        {"baseModel": FLUX, "validation": {"negativePrompt": "blurry"}},
        "negativePrompt does not apply to Flux1",
    ),
}
"""Changes to `contract_examples.a_spec`, and what the answer says."""

COMPATIBLE: dict[str, dict[str, Any]] = {
    "Prodigy alone": {"tuning": {"optimizer": "Prodigy"}},
    "Prodigy near 1": {"learningRate": 0.5, "tuning": {"optimizer": "Prodigy"}},
    "Prodigy for all parts": {
        "conceptModel": {"textEncoderLearningRate": 1, "embedding": {"learningRate": 1}},
        "tuning": {"optimizer": "Prodigy"},
    },
    "restarts": {"tuning": {"schedule": "cosineWithRestarts", "restarts": 2}},
    "delta": {"tuning": {"loss": "huber", "huberDelta": 0.2}},
    "kept tags": {"tuning": {"shuffleTags": True, "keepTags": 0}},
    "parts of the batch": {"tuning": {"batchSize": 4, "microBatchSize": 4}},
    "8-bit moments on a GPU": {"tuning": {"optimizer": "AdamW8bit", "quantization": "8bit"}, "pod": {"gpus": 1}},
    "the processor alone": {"tuning": {"optimizer": "AdamW", "quantization": "none"}, "pod": {"gpus": 0}},
    "prior by prompt": {"conceptModel": {"priorPreservation": {"prompt": "a teapot"}}},
    "prior by dataset": {"conceptModel": {"priorPreservation": {"datasetRef": {"name": "others"}}}},
    "convolutions where there are any": {
        "conceptModel": {"targets": "attentionMlpConv", "textEncoderLearningRate": 0.0001}
    },
    "FLUX with its MLP": {"baseModel": FLUX, "conceptModel": {"targets": "attentionMlp"}},
    "FLUX without weights": {"baseModel": FLUX, "tuning": {"snrGamma": 0}, "validation": {"negativePrompt": ""}},
}
"""Their neighbours, which can be meant."""
