"""Resolving: spec over template over defaults, told in rows, and read back from them."""

from __future__ import annotations

import pytest

from atelier_contract import defaults
from atelier_contract.architectures import Architecture
from atelier_contract.reasons import Condition
from atelier_contract.settings import Settings
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.training_job_status import MAX_RESOLVED_ROWS
from atelier_operator.plan.decide_training_job import decide
from atelier_operator.plan.resolve import resolve, space_checkpoints
from atelier_operator.plan.resolved import read_row, read_settings
from operator_builders import NOW, a_dataset, a_spec, a_view, condition_of

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


EVERYTHING = {
    "conceptModel": {
        "embedding": {"vectors": 3},
        "priorPreservation": {"prompt": "a teapot"},
        "textEncoderLearningRate": 1e-5,
    },
    "tuning": {"schedule": "cosineWithRestarts", "loss": "huber", "shuffleTags": True},
}
"""A spec under which every setting of a concept model has a meaning."""


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("architecture", list(Architecture))
def test_every_architecture_resolves(architecture: Architecture, changes: dict) -> None:
    """Each family has its defaults, in at most as many rows as status holds."""
    if architecture is Architecture.FLUX_1 and changes:
        changes = {**changes, "conceptModel": {}}
    source = {"architecture": architecture.value, "source": {"storage": {"path": "m"}}}
    rows = resolve("teapot", a_spec(baseModel=source, **changes), None)
    assert len(rows) <= MAX_RESOLVED_ROWS
    assert len({row.name for row in rows}) == len(rows)


def test_every_setting_has_a_row() -> None:
    """What the trainer may be told is printed in status, but for what is told of the dataset's own texts."""
    rows = resolve("teapot", a_spec(**EVERYTHING), None)
    told = {name.removeprefix("tuning.").removeprefix("checkpoints.") for name in (row.name for row in rows)}
    fields = {field.alias for field in Settings.model_fields.values()} - {"conceptModel", "embedding", "validation"}
    assert fields <= told


def a_recipe(**changes: object) -> TrainingTemplateSpec:
    """A template with one recipe for a concept model of Stable Diffusion 1."""
    recipe = {"architecture": "StableDiffusion1", "type": "ConceptModel", **changes}
    return TrainingTemplateSpec.model_validate({"description": "for tests", "recipes": [recipe]})


@pytest.mark.parametrize(
    ("pictures", "steps"), [(20, 250), (8, 200), (9, 200), (48, 600), (49, 600), (21, 263), (None, 200), (0, 200)]
)
def test_steps_follow_from_passes(pictures: int | None, steps: int) -> None:
    """Every picture is seen as often as the template wants, within its fewest and most steps."""
    template = a_recipe(passesPerPicture=50, minSteps=200, maxSteps=600)
    rows = resolve("teapot", a_spec(steps=None), template, pictures)
    assert (read_row(rows, "steps"), source_of(rows, "steps")) == (str(steps), "Template")


def test_passes_are_told_beside_the_steps() -> None:
    """A person reads in status what the steps follow from; the trainer reads the steps alone."""
    template = a_recipe(passesPerPicture=50, minSteps=200, maxSteps=600, tuning={"batchSize": 2})
    rows = resolve("teapot", a_spec(steps=None), template, 10)
    words = "50, of 10 pictures in batches of 2, at least 200 steps, at most 600 steps"
    assert read_row(rows, "passesPerPicture") == words
    assert read_settings("teapot", a_spec(steps=None), rows).steps == 250


def test_steps_of_the_spec_are_taken_as_they_are() -> None:
    """Limits and passes of a template do not touch what the user asked."""
    rows = resolve("teapot", a_spec(steps=7), a_recipe(passesPerPicture=50, minSteps=200), 10)
    assert (read_row(rows, "steps"), source_of(rows, "steps")) == ("7", "Spec")
    assert "passesPerPicture" not in {row.name for row in rows}


@pytest.mark.parametrize(
    ("mine", "theirs", "rate"),
    [
        ({"optimizer": "Prodigy"}, None, 1.0),
        ({"optimizer": "Prodigy"}, {"optimizer": "AdamW"}, 1.0),
        ({}, {"optimizer": "Prodigy"}, 0.5),
        ({"optimizer": "AdamW"}, {"optimizer": "Prodigy"}, defaults.CONCEPT_LEARNING_RATE),
    ],
)
def test_a_templates_rate_is_used_for_its_own_optimizer(mine: dict, theirs: dict | None, rate: float) -> None:
    """Prodigy's rate is a factor near 1: it is never taken for AdamW's, nor AdamW's for Prodigy's."""
    template = a_recipe(learningRate=0.5 if theirs == {"optimizer": "Prodigy"} else 1e-4, tuning=theirs)
    rows = resolve("teapot", a_spec(tuning=mine), template)
    assert float(read_row(rows, "learningRate")) == rate


def test_prodigy_moves_all_parts_at_one_rate() -> None:
    """With Prodigy a pivotal embedding has the run's own rate, because it finds one for all."""
    spec = a_spec(tuning={"optimizer": "Prodigy"}, conceptModel={"embedding": {}})
    concept_model = read_settings("teapot", spec, resolve("teapot", spec, None)).concept_model
    assert concept_model is not None
    assert concept_model.embedding is not None
    assert concept_model.embedding.learning_rate == 1.0


def test_a_rate_against_a_templates_prodigy_is_refused() -> None:
    """What the schema cannot see, a typed rate under a template's Prodigy, is refused before anything starts."""
    view = a_view(
        a_spec(learningRate=1e-4, templateRef={"name": "quick"}),
        template=a_recipe(tuning={"optimizer": "Prodigy"}),
        dataset=a_dataset(),
    )
    ready = condition_of(decide(view, NOW), Condition.READY)
    assert ready.reason == "Invalid"
    assert "leave learningRate out or set 1" in ready.message


def test_flux_weighs_all_noise_alike() -> None:
    """A template's min-SNR is shown as not used for a family whose loss has none."""
    source = {"architecture": "Flux1", "source": {"storage": {"path": "m"}}}
    recipe = {"architecture": "Flux1", "type": "ConceptModel", "tuning": {"snrGamma": 5}}
    template = TrainingTemplateSpec.model_validate({"description": "for tests", "recipes": [recipe]})
    rows = resolve("teapot", a_spec(baseModel=source), template)
    assert read_row(rows, "tuning.snrGamma") == "0.0"
    assert (read_row(rows, "validation.guidance"), read_row(rows, "tuning.batchSize")) == ("3.5", "1")


def test_pivotal_and_prior_are_read_back() -> None:
    """Nested blocks come back whole, with their defaults, long texts from the spec."""
    prompt = "a teapot " * 40
    spec = a_spec(conceptModel={"embedding": {"learningRate": 2e-4}, "priorPreservation": {"prompt": prompt}})
    rows = resolve("teapot", spec, None)
    cut = [row.model_copy(update={"value": row.value[:32]}) for row in rows]
    concept_model = read_settings("teapot", spec, cut).concept_model
    assert concept_model is not None
    assert concept_model.embedding is not None
    assert concept_model.prior is not None
    assert (concept_model.embedding.placeholder, concept_model.embedding.learning_rate) == ("<tkxw-teapot>", 2e-4)
    assert concept_model.embedding.vectors == defaults.PIVOTAL_VECTORS
    assert (concept_model.prior.prompt, concept_model.prior.pictures) == (prompt, defaults.PRIOR_PICTURES)


def test_a_template_alone_preserves_no_prior() -> None:
    """A template gives numbers for prior preservation; only a spec, which knows the kind, asks for it."""
    template = a_recipe(conceptModel={"priorPreservation": {"weight": 0.5}})
    plain = a_spec()
    asked = a_spec(conceptModel={"priorPreservation": {"prompt": "a cup"}})
    assert read_settings("teapot", plain, resolve("teapot", plain, template)).concept_model.prior is None
    prior = read_settings("teapot", asked, resolve("teapot", asked, template)).concept_model.prior
    assert prior is not None
    assert prior.weight == 0.5


def test_rows_of_an_earlier_release_are_read() -> None:
    """A run that was resolved before a setting existed goes on with the value it had then."""
    rows = [row for row in resolve("teapot", a_spec(), None) if row.name not in {"tuning.optimizer", "tuning.loss"}]
    settings = read_settings("teapot", a_spec(), rows)
    assert (settings.optimizer, settings.loss) == ("AdamW", "mse")
