"""Mistakes in the settings: each refused by one sentence before anything is read, or said and trained all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atelier_contract.architectures import Architecture
from atelier_contract.inputs import BaseModelInput, DatasetInput, TrainingInput
from atelier_contract.manifests import DatasetItem
from atelier_contract.settings import Settings
from atelier_materials.errors import InvalidInput
from atelier_materials.estimates import PUBLISHED_PARAMETERS, BaseModelSize, estimate_run
from atelier_materials.store.documents import parse_document
from atelier_trainer.commands.advice import list_advice
from atelier_trainer.commands.refusals import check_settings
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from learning import CONCEPT_MODEL, EMBEDDING, build_settings
from mistakes import assert_one_sentence

PIVOTAL = EMBEDDING | {"learningRate": 3e-4, "untilPercent": 50}
FLUX = Architecture.FLUX_1
FACTS = BaseModelFacts(files=(), weights_bytes=0, denoiser_parameters=0)


def ask(settings: Settings, architecture: str = "StableDiffusion1", **changes: Any) -> TrainingInput:
    """Return a run with these settings."""
    base = {"architecture": architecture, "source": {"storage": {"path": "base-models/tiny"}}}
    values: dict[str, Any] = {
        "store": {"kind": "Volume", "namespace": "art", "clusterUid": "c", "namespaceUid": "n"},
        "job": "teapot",
        "runIdentity": "1" * 64,
        "specDigest": "5" * 64,
        "trainerImage": "trainer:test",
        "modelName": "TKXW teapot",
        "slug": "tkxw-teapot",
        "type": "Embedding" if settings.embedding else "ConceptModel",
        "dataset": DatasetInput.model_validate({"name": "teapots", "source": {"upload": {}}, "revision": "d" * 64}),
        "baseModel": BaseModelInput.model_validate(base),
        "settings": settings,
    }
    return TrainingInput.model_validate(values | changes)


REFUSED: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "embedding-for-flux": (
        {"embedding": EMBEDDING, "snrGamma": 0},
        FLUX,
        ("embeddings cannot be trained for FLUX.1", "use conceptModel"),
    ),
    "pivotal-for-flux": (
        {"conceptModel": {"embedding": PIVOTAL}, "snrGamma": 0},
        FLUX,
        ("embeddings cannot be trained for FLUX.1", "captionPrefix"),
    ),
    "text-encoder-rate-on-flux": (
        {"conceptModel": {"textEncoderLearningRate": 1e-5}, "snrGamma": 0},
        FLUX,
        ("conceptModel.textEncoderLearningRate", "leave it out"),
    ),
    "convolutions-of-flux": (
        {"conceptModel": {"targets": "attentionMlpConv"}, "snrGamma": 0},
        FLUX,
        ("conceptModel.targets attentionMlpConv", "no convolutions", "set attentionMlp"),
    ),
    "snr-gamma-on-flux": ({"snrGamma": 5}, FLUX, ("tuning.snrGamma does not apply to FLUX.1", "leave it out")),
    "noise-offset-on-flux": (
        {"noiseOffset": 0.05, "snrGamma": 0},
        FLUX,
        ("tuning.noiseOffset does not apply to FLUX.1", "leave it out"),
    ),
    "negative-prompt-on-flux": (
        {"validation": {"negativePrompt": "ugly"}, "snrGamma": 0},
        FLUX,
        ("validation.negativePrompt does not apply to FLUX.1", "leave it out"),
    ),
    "prefix-of-spaces": (
        {"conceptModel": {"captionPrefix": "  "}},
        "StableDiffusion1",
        ("conceptModel.captionPrefix", "nothing but spaces", "leave it out"),
    ),
    "checkpoints-without-end": (
        {"steps": 100_000, "everySteps": 1},
        "StableDiffusion1",
        ("checkpoints.everySteps 1 of 100000 steps", "at most 40", "set 2500 or more"),
    ),
    "rate-typed-for-prodigy": (
        {"learningRate": 1.0},
        "StableDiffusion1",
        ("learningRate 1 is far beyond what AdamW takes", "set about 0.0001", "tuning.optimizer to Prodigy"),
    ),
    "rate-of-adam-for-prodigy": (
        {"learningRate": 1e-4, "optimizer": "Prodigy"},
        "StableDiffusion1",
        ("learningRate 0.0001 is not meant for Prodigy", "leave it out or set 1"),
    ),
    "rate-of-a-text-encoder-typed-for-prodigy": (
        {"conceptModel": {"textEncoderLearningRate": 1.0}},
        "StableDiffusion1",
        ("conceptModel.textEncoderLearningRate 1 is far beyond what AdamW takes", "leave it out"),
    ),
    "rate-of-a-pivotal-run-typed-for-prodigy": (
        {"conceptModel": {"embedding": PIVOTAL | {"learningRate": 1.0}}},
        "StableDiffusion1",
        ("conceptModel.embedding.learningRate 1 is far beyond what AdamW takes", "leave it out"),
    ),
    "rate-of-its-own-beside-prodigy": (
        {"conceptModel": {"embedding": PIVOTAL}, "optimizer": "Prodigy", "learningRate": 1.0},
        "StableDiffusion1",
        ("conceptModel.embedding.learningRate 0.0003 is not learningRate 1", "one rate", "set both to 1"),
    ),
    "warm-up-longer-than-the-run": (
        {"steps": 100, "warmupSteps": 500},
        "StableDiffusion1",
        ("tuning.warmupSteps 500 is not less than steps 100", "set it to 10 or 0"),
    ),
    "resolution-off-the-grid": (
        {"resolution": 500},
        "StableDiffusion1",
        ("tuning.resolution 500 is not a multiple of 64", "set 448 or 512"),
    ),
    "micro-batch-beyond-the-batch": (
        {"batchSize": 2, "microBatchSize": 4},
        "StableDiffusion1",
        ("tuning.microBatchSize 4 is more than tuning.batchSize 2", "lower it"),
    ),
    "prior-without-pictures": (
        {"conceptModel": {"prior": {"weight": 1, "pictures": 4}}},
        "StableDiffusion1",
        ("conceptModel.priorPreservation has neither datasetRef nor prompt", "name a Dataset"),
    ),
    "phrase-too-long": (
        {"embedding": EMBEDDING | {"initialPhrase": "nine char"}},
        "StableDiffusion1",
        ("embedding.initialPhrase has 9 characters", "1 to 8"),
    ),
    "phrase-of-spaces": (
        {"embedding": EMBEDDING | {"initialPhrase": "  "}},
        "StableDiffusion1",
        ("embedding.initialPhrase", "not only spaces"),
    ),
    "placeholder-that-is-a-word": (
        {"embedding": EMBEDDING | {"placeholder": "teapot"}},
        "StableDiffusion1",
        ("embedding.placeholder is 'teapot'", "angle brackets", "<tkxw>"),
    ),
    "placeholder-of-a-pivotal-run": (
        {"conceptModel": {"embedding": PIVOTAL | {"placeholder": "<TKXW>"}}},
        "StableDiffusion1",
        ("conceptModel.embedding.placeholder is '<TKXW>'", "small letters"),
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused(mistake: str) -> None:
    """A setting that cannot be meant ends the run before anything is read, in one sentence."""
    changes, architecture, words = REFUSED[mistake]
    with pytest.raises(InvalidInput) as refusal:
        check_settings(ask(build_settings(**changes), architecture))
    assert_one_sentence(str(refusal.value), *words)


WRITTEN_BY_HAND: dict[str, tuple[dict[str, Any], str]] = {
    "rate-of-nothing": ({"learningRate": 0}, "learningRate"),
    "rate-below-nothing": ({"learningRate": -1e-4}, "learningRate"),
    "rate-that-is-no-number": ({"learningRate": "NaN"}, "learningRate"),
    "rate-of-a-text-encoder-of-nothing": (
        {"conceptModel": {"textEncoderLearningRate": 0}},
        "conceptModel.textEncoderLearningRate",
    ),
    "every-caption-dropped": ({"captionDropout": 1}, "captionDropout"),
    "warm-up-below-nothing": ({"warmupSteps": -5}, "warmupSteps"),
    "min-snr-below-nothing": ({"snrGamma": -1}, "snrGamma"),
    "weights-that-grow": ({"weightDecay": -1}, "weightDecay"),
    "gradients-clipped-to-nothing": ({"maxGradNorm": 0}, "maxGradNorm"),
    "a-pass-of-no-picture": ({"microBatchSize": 0}, "microBatchSize"),
    "sides-of-a-million-pixels": ({"resolution": 1 << 20}, "resolution"),
    "no-prompt-to-draw": ({"validation": {"prompts": []}}, "validation.prompts"),
    "guidance-below-nothing": ({"validation": {"guidance": -3}}, "validation.guidance"),
}


@pytest.mark.parametrize("mistake", WRITTEN_BY_HAND)
def test_out_of_range(mistake: str) -> None:
    """An input written by hand is held to the ranges that the API server holds a TrainingJob to."""
    changes, name = WRITTEN_BY_HAND[mistake]
    written = ask(build_settings()).as_json()
    for key, value in changes.items():
        held = written["settings"].get(key)
        written["settings"][key] = held | value if isinstance(held, dict) else value
    with pytest.raises(InvalidInput) as refusal:
        parse_document(json.dumps(written).encode(), TrainingInput, "input.json")
    assert_one_sentence(str(refusal.value), "input.json is not a TrainingInput", f"(settings.{name}", "correct it")


def test_neither_type() -> None:
    """An input that trains nothing is refused."""
    settings = build_settings().model_copy(update={"concept_model": None})
    with pytest.raises(InvalidInput, match="exactly one of conceptModel and embedding"):
        check_settings(ask(settings))


def draw_items(
    count: int, side_px: int = 512, caption: str | None = "a teapot on a table", **more: Any
) -> list[DatasetItem]:
    """Return pictures as an inspection lists them; `%d` in a caption is their number."""
    return [
        DatasetItem(
            path=f"{number:03d}.png",
            bytes=1000,
            sha256=f"{number:064d}",
            width=side_px,
            height=side_px,
            caption=caption.replace("%d", str(number)),
            **more,
        )
        for number in range(count)
    ]


TWENTY = draw_items(20, caption="a teapot on table %d")
USUAL: dict[str, Any] = {"learningRate": 1e-4, "steps": 200, "everySteps": 100}
SAID: dict[str, tuple[dict[str, Any], list[DatasetItem], BaseModelFacts, tuple[str, ...]]] = {
    "rate-hundred-times-too-high": (
        {"learningRate": 1e-2},
        TWENTY,
        FACTS,
        ("learningRate 0.01 is 100 times the usual 0.0001", "first checkpoint"),
    ),
    "rate-hundred-times-too-low": (
        {"learningRate": 1e-6},
        TWENTY,
        FACTS,
        ("learningRate 1e-06 is 100 times below the usual 0.0001", "little will be learned"),
    ),
    "pictures-smaller-than-the-resolution": (
        {"resolution": 1024},
        draw_items(20, 700, "a teapot on table %d"),
        FACTS,
        ("20 of 20 pictures have fewer pixels than tuning.resolution 1024", "set 640"),
    ),
    "prefix-in-the-captions": (
        {},
        draw_items(20, caption="TKXW teapot on table %d"),
        FACTS,
        ("conceptModel.captionPrefix stands in 20 of 20 captions already", "not put there a second time"),
    ),
    "captions-of-one-word": (
        {},
        draw_items(20, caption="teapot"),
        FACTS,
        ("20 of 20 captions have at most one word", "describe what may change"),
    ),
    "the-same-caption-everywhere": (
        {},
        draw_items(20),
        FACTS,
        ("all 20 captions are the same", "describe in each"),
    ),
    "one-picture": ({}, draw_items(1), FACTS, ("the dataset has one picture", "add ten or more")),
    "batch-beyond-the-dataset": (
        {"batchSize": 16},
        draw_items(6, caption="a teapot on table %d"),
        FACTS,
        ("tuning.batchSize 16 is more than the 6 pictures", "set 3 or less"),
    ),
    "hardly-a-pass": (
        {"steps": 10, "everySteps": 5},
        TWENTY,
        FACTS,
        ("each picture is seen about 2.0 times in 10 steps", "20 to 200"),
    ),
    "thousands-of-passes": (
        {"steps": 10_000, "everySteps": 1000},
        TWENTY,
        FACTS,
        ("each picture is seen about 2000 times in 10000 steps", "20 to 200"),
    ),
    "checkpoints-beyond-the-end": (
        {"everySteps": 500},
        TWENTY,
        FACTS,
        ("checkpoints.everySteps 500 is more than steps 200", "one checkpoint"),
    ),
    "guidance-on-schnell": (
        {},
        TWENTY,
        BaseModelFacts(files=(), weights_bytes=0, denoiser_parameters=0, has_guidance=False),
        ("schnell", "validation.guidance is not used"),
    ),
    "masks-that-are-not-used": (
        {"masks": "none"},
        draw_items(20, caption="a teapot on table %d", mask_path="a.mask.png", mask_sha256="0" * 64),
        FACTS,
        ("20 pictures have masks, and tuning.masks is none", "not used"),
    ),
}


@pytest.mark.parametrize("mistake", SAID)
def test_said(mistake: str) -> None:
    """A setting that was probably not meant is said in one sentence, and nothing else is."""
    changes, items, facts, words = SAID[mistake]
    told = list_advice(ask(build_settings(**{**USUAL, **changes})), items, facts)
    assert len(told) == 1, told
    assert_one_sentence(told[0], *words)


def test_usual_settings_draw_no_advice() -> None:
    """A run with usual settings on a usual dataset is told nothing."""
    assert list_advice(ask(build_settings(**USUAL)), TWENTY, FACTS) == []


def test_large_caches_are_said() -> None:
    """Encodings of tens of gigabytes are said before they fill the store."""
    told = list_advice(ask(build_settings(**USUAL)), TWENTY, FACTS, cache_bytes=52_000_000_000)
    assert_one_sentence(told[0], "take about 52 GB of the store")


def test_a_disk_that_is_too_small_for_shuffled_tags_is_said() -> None:
    """FLUX with 2,000 shuffled captions is told how much disk keeps T5 off the GPU, and what T5 takes there."""
    settings = build_settings(**USUAL | {"steps": 20_000, "shuffleTags": True, "snrGamma": 0})
    items = draw_items(2_000, caption="tkxw, red, round, glossy, steel, lid %d")
    size = BaseModelSize(PUBLISHED_PARAMETERS[FLUX])
    told = list_advice(ask(settings, FLUX.value), items, FACTS, estimate_run(FLUX, settings, size, items).cache_bytes)
    words = (
        "shuffleTags: up to 8 orders",
        "67 GB of the store",
        "ephemeralStorage below 126Gi for each of its GPUs",
        "9.3 GiB more",
    )
    assert_one_sentence(told[0], *words)


def test_encoders_that_learn_are_not_said_to_stay() -> None:
    """Where text encoders learn they are in the estimate already: a small disk adds nothing to it."""
    settings = build_settings(**USUAL, conceptModel={"textEncoderLearningRate": 1e-5})
    told = list_advice(ask(settings), TWENTY, FACTS, cache_bytes=52_000_000_000)
    assert "take about 52 GB" in told[0]
    assert "GPU memory" not in told[0]


def test_prodigy_needs_no_usual_rate() -> None:
    """Prodigy's rate of 1 is neither refused nor spoken of."""
    asked = ask(build_settings(**USUAL | {"learningRate": 1.0, "optimizer": "Prodigy"}))
    check_settings(asked)
    assert list_advice(asked, TWENTY, FACTS) == []


def test_concept_model_settings_of_the_examples_are_fine() -> None:
    """The settings that most tests use pass every refusal."""
    check_settings(ask(build_settings(conceptModel=CONCEPT_MODEL)))


def test_type_of_another_kind() -> None:
    """An input whose type is not what its settings describe is refused before anything is read."""
    with pytest.raises(InvalidInput) as refusal:
        check_settings(ask(build_settings(), type="Embedding"))
    assert_one_sentence(str(refusal.value), "type is Embedding", "make them agree")
