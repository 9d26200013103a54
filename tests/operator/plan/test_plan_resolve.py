"""Resolving: spec over template over defaults, told in rows, and read back from them."""

from __future__ import annotations

import pytest

from atelier_contract import defaults
from atelier_contract.architectures import Architecture
from atelier_contract.template import TrainingTemplateSpec
from atelier_operator.plan.resolve import read_row, read_settings, resolve, space_checkpoints
from operator_builders import a_spec

TEMPLATE = TrainingTemplateSpec.model_validate(
    {
        "description": "for tests",
        "recipes": [
            {
                "architecture": "StableDiffusion1",
                "type": "ConceptModel",
                "learningRate": 3e-4,
                "steps": 500,
                "conceptModel": {"rank": 8, "alpha": 4},
                "tuning": {"batchSize": 2},
            },
            {"architecture": "StableDiffusion1", "type": "Embedding", "steps": 900, "embedding": {"vectors": 6}},
        ],
    }
)
EMBEDDING = {"conceptModel": None, "embedding": {"initialPhrase": "painting"}}


def source_of(rows: list, name: str) -> str:
    """Where a row's value came from."""
    return next(row.source for row in rows if row.name == name)


def test_spec_wins_over_template_and_default() -> None:
    """A value in the spec is used even where the template has one."""
    rows = resolve("teapot", a_spec(learningRate=1e-5), TEMPLATE)
    assert (read_row(rows, "learningRate"), source_of(rows, "learningRate")) == ("1e-05", "Spec")


def test_template_wins_over_default() -> None:
    """A value of the template's recipe is used where the spec is silent."""
    rows = resolve("teapot", a_spec(steps=None), TEMPLATE)
    assert (read_row(rows, "steps"), source_of(rows, "steps")) == ("500", "Template")
    assert read_row(rows, "tuning.batchSize") == "2"


def test_default_is_used_where_nobody_says() -> None:
    """Without spec and template the contract's own number is used, and said to be a default."""
    rows = resolve("teapot", a_spec(), None)
    assert read_row(rows, "tuning.batchSize") == str(defaults.BATCH_SIZE)
    assert source_of(rows, "tuning.batchSize") == "Default"


def test_recipe_of_another_type_is_not_used() -> None:
    """A template gives only what it has for this architecture and type."""
    rows = resolve("teapot", a_spec(steps=None, **EMBEDDING), TEMPLATE)
    assert read_row(rows, "steps") == "900"
    assert read_row(rows, "embedding.vectors") == "6"


def test_false_and_zero_are_values() -> None:
    """A setting of 0 or false is asked for, not left out."""
    rows = resolve("teapot", a_spec(tuning={"flip": False, "snrGamma": 0}), None)
    assert (read_row(rows, "tuning.flip"), source_of(rows, "tuning.flip")) == ("false", "Spec")
    assert read_settings("teapot", a_spec(), rows).snr_gamma == 0


@pytest.mark.parametrize("changes", [{}, EMBEDDING, {"learningRate": 0.1 + 0.2, "tuning": {"flip": True}}])
def test_settings_are_read_back_exactly(changes: dict) -> None:
    """What the trainer gets is what the rows say, to the last bit."""
    spec = a_spec(**changes)
    rows = resolve("teapot", spec, None)
    settings = read_settings("teapot", spec, rows)
    assert settings.learning_rate == float(read_row(rows, "learningRate"))
    assert spec.learning_rate in {None, settings.learning_rate}
    assert settings.flip == (read_row(rows, "tuning.flip") == "true")
    assert (settings.concept_model is None) == (spec.concept_model is None)


def test_long_prompts_reach_the_trainer_whole() -> None:
    """Texts longer than a row are cut in status only."""
    prompt = "a teapot " * 50
    spec = a_spec(validation={"prompts": [prompt], "negativePrompt": prompt})
    rows = resolve("teapot", spec, None)
    assert len(read_row(rows, "validation.prompts")) == 128
    settings = read_settings("teapot", spec, rows)
    assert settings.validation.prompts == [prompt]
    assert settings.validation.negative_prompt == prompt


@pytest.mark.parametrize("kind", [{"conceptModel": {"captionPrefix": "p" * 100}}, EMBEDDING])
def test_texts_cut_in_a_large_status_reach_the_trainer_whole(kind: dict) -> None:
    """A status that grew too large keeps 32 bytes of a value; the trainer's settings do not change with it."""
    spec = a_spec(modelName="x" * 48, **kind)
    rows = resolve("teapot", spec, None)
    cut = [row.model_copy(update={"value": row.value[:32]}) for row in rows]
    assert read_settings("teapot", spec, cut) == read_settings("teapot", spec, rows)


def test_alpha_defaults_to_the_rank() -> None:
    """Without an alpha the update is not scaled, also with a rank of one's own over a template's."""
    rows = resolve("teapot", a_spec(conceptModel={"rank": 32}), TEMPLATE)
    assert read_row(rows, "conceptModel.alpha") == "32.0"


def test_frozen_text_encoder_reads_back_as_none() -> None:
    """An empty row of the text encoder's rate means that it is not trained."""
    spec = a_spec()
    concept_model = read_settings("teapot", spec, resolve("teapot", spec, None)).concept_model
    assert concept_model is not None
    assert concept_model.text_encoder_learning_rate is None


@pytest.mark.parametrize(
    ("name", "job", "placeholder"), [("TKXW teapot", "a", "<tkxw-teapot>"), ("茶壺", "tea.pot", "<tea-pot>")]
)
def test_placeholder_follows_the_name(name: str, job: str, placeholder: str) -> None:
    """The placeholder is the model's slug, or the job's name where the slug is empty."""
    rows = resolve(job, a_spec(modelName=name, **EMBEDDING), None)
    assert read_row(rows, "embedding.placeholder") == placeholder


@pytest.mark.parametrize(
    ("steps", "asked", "spaced"),
    [(100, None, 10), (5, None, 1), (2000, 50, 50), (2000, 49, 98), (2000, 10, 80), (1_000_000, 1, 32768)],
)
def test_cadence_doubles_until_forty_fit(steps: int, asked: int | None, spaced: int) -> None:
    """Checkpoints come every tenth of the steps or as asked, at most forty."""
    assert space_checkpoints(steps, asked) == spaced
    assert -(-steps // spaced) <= 40


@pytest.mark.parametrize("architecture", list(Architecture))
def test_every_architecture_resolves(architecture: Architecture) -> None:
    """Each family has its defaults, in at most as many rows as status holds."""
    source = {"architecture": architecture.value, "source": {"storage": {"path": "m"}}}
    rows = resolve("teapot", a_spec(baseModel=source), None)
    assert len(rows) <= 48
    assert len({row.name for row in rows}) == len(rows)
