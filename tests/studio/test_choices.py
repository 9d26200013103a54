"""What a person is shown to choose from, and what is refused because it could not be trained from."""

from typing import Any

import pytest

from atelier_contract.template import Recipe
from atelier_studio.actions import choices
from atelier_studio.actions.choices import CONCEPT, EMBEDDING
from atelier_studio.cli.questions import check_count, check_number, check_phrase
from atelier_studio.errors import BadRequest
from journey import build_spec


def a_dataset(name: str, state: str = "Inspected", **status: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": state, "message": "m", "lastTransitionTime": "t"}
    given = {"observedGeneration": 1, "conditions": [ready], **status}
    return {"kind": "Dataset", "metadata": {"name": name, "generation": 1}, "status": given}


CAPTIONED = a_dataset("teapots", items=12, captioned=12, usableFor=[CONCEPT, EMBEDDING])
BARE = a_dataset("bare", items=5, captioned=2, usableFor=[EMBEDDING])
TEMPLATE = {
    "metadata": {"name": "object"},
    "spec": {
        "description": "One thing. More words.",
        "recipes": [
            {
                "architecture": "StableDiffusion1",
                "type": "ConceptModel",
                "learningRate": 1e-4,
                "passesPerPicture": 200,
                "minSteps": 300,
                "maxSteps": 600,
            }
        ],
    },
}


def test_usable_datasets_come_first():
    """A dataset that the type can be trained from stands before one that it cannot, whatever their names."""
    found = choices.list_datasets([BARE, CAPTIONED], CONCEPT)
    assert [choice.value for choice in found] == ["teapots", "bare"]
    assert found[1].title == "bare   (5 pictures, 2 with captions, not usable for a concept model)"


def test_a_dataset_that_is_not_inspected_tells_its_state():
    """Before the inspection nothing is known but the state."""
    assert choices.list_datasets([a_dataset("new", "Inspecting")], CONCEPT)[0].title == "new   (Inspecting)"


def test_a_concept_model_needs_captions():
    """A dataset without captions is refused for a concept model, with both ways out."""
    with pytest.raises(BadRequest, match=r"3 of its 5 pictures have no caption.*train an embedding"):
        choices.check_dataset(BARE, CONCEPT)


@pytest.mark.parametrize("body", [CAPTIONED, BARE, a_dataset("new", "Inspecting")])
def test_what_can_be_used_is_not_refused(body: dict[str, Any]):
    """Embeddings need no captions, and a job waits for an inspection that is not over."""
    choices.check_dataset(body, EMBEDDING)


def test_an_unusable_dataset_is_refused_with_its_sentence():
    """What the inspection said of it is said again."""
    with pytest.raises(BadRequest, match="cannot be trained from: m"):
        choices.check_dataset(a_dataset("bad", "Unusable"), EMBEDDING)


def test_only_templates_with_a_recipe_are_offered():
    """A template without a recipe for the type and architecture is not offered."""
    assert [one.title for one in choices.list_templates([TEMPLATE], CONCEPT, "StableDiffusion1")] == [
        "object   One thing"
    ]
    assert not choices.list_templates([TEMPLATE], EMBEDDING, "StableDiffusion1")


def test_a_template_without_a_recipe_is_refused():
    """A template that is named by an option is checked too."""
    with pytest.raises(BadRequest, match="only for StableDiffusion1 ConceptModel"):
        choices.check_template(TEMPLATE, CONCEPT, "Flux1")


def test_defaults_are_told_with_their_source():
    """Whoever leaves rate and steps out is told what is used, and whose it is."""
    recipe = choices.find_recipe(TEMPLATE, CONCEPT, "StableDiffusion1")
    assert choices.tell_default_rate(recipe, CONCEPT) == "0.0001 by the template"
    assert choices.tell_default_rate(None, EMBEDDING) == "0.0005 by default"
    assert choices.tell_default_steps(recipe).endswith("each picture is seen 200 times, 300 to 600")
    assert choices.tell_default_steps(None) == "2000 by default"
    assert choices.tell_default_phrase(None) == "object by default"


def test_a_recipe_with_steps_tells_them():
    """A recipe may name steps instead of passes."""
    recipe = Recipe.model_validate({"architecture": "Flux1", "type": "ConceptModel", "steps": 1500})
    assert choices.tell_default_steps(recipe) == "1500 by the template"


def test_base_models_of_other_jobs_are_offered():
    """What others of the namespace start from is offered, of the same architecture, each once."""
    jobs = [{"metadata": {"name": str(number)}, "spec": build_spec()} for number in range(2)]
    assert choices.list_bases(jobs, "StableDiffusion1") == ["base-models/tiny"]
    assert not choices.list_bases(jobs, "Flux1")


def test_embeddings_are_offered_no_architecture_without_them():
    """FLUX.1 takes no embeddings: it is not offered for one."""
    assert "Flux1" not in {choice.value for choice in choices.list_architectures(EMBEDDING)}


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (check_phrase, ("", "painting"), ("paintings",)),
        (check_number, ("", "1e-4", "0.0001"), ("fast", "0", "11")),
        (check_count, ("", "2000"), ("0", "-1", "many", "1.5")),
    ],
)
def test_answers_are_judged_while_they_are_typed(check: Any, right: tuple[str, ...], wrong: tuple[str, ...]):
    """A wrong answer is refused at its question, an empty one means the default."""
    assert not [text for text in right if check(text)]
    assert all(check(text) for text in wrong)
