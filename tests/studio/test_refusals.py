"""The API server's answers in user words."""

import json
from typing import Any

import pytest

from atelier_studio.actions.refusals import describe_missing, describe_refusal, propose


def an_answer(message: str = "", **details: Any) -> str:
    return json.dumps({"kind": "Status", "message": message, "details": details})


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (
            {"field": "spec", "message": 'Invalid value: "object": steps and passes exclude one another'},
            "steps and passes exclude one another",
        ),
        (
            {"field": "spec", "message": 'Invalid value: {"a":[1]}: name exactly one: storage or hub'},
            "name exactly one: storage or hub",
        ),
        (
            {"field": "spec.steps", "message": "Invalid value: 0: should be at least 1"},
            "spec.steps: should be at least 1",
        ),
        ({"field": "spec.modelName", "message": "Required value"}, "spec.modelName: Required value"),
    ],
)
def test_validation_messages_lose_their_wrapping(cause: dict[str, str], sentence: str):
    """A rule's own sentence is shown, with the field where it is one, and nothing around it."""
    assert describe_refusal(422, an_answer("is invalid", causes=[cause])) == sentence


def test_all_causes_are_told_once():
    """Several faults are told together, equal ones once."""
    causes = [{"field": "spec.a", "message": "one"}, {"field": "spec.b", "message": "two"}] * 2
    assert describe_refusal(422, an_answer(causes=causes)) == "spec.a: one; spec.b: two"


def test_unchecked_rules_are_no_cause():
    """That rules were not checked because of another fault helps nobody."""
    causes = [
        {"reason": "FieldValueInvalid", "message": "some validation rules were not checked because the object ..."},
        {"field": "spec.a", "message": "one"},
    ]
    assert describe_refusal(422, an_answer(causes=causes)) == "spec.a: one"


def test_unknown_fields_are_named():
    """A misspelt field of a strict request is named."""
    told = describe_refusal(400, an_answer('strict decoding error: unknown field "spec.stepz"'))
    assert told.startswith("there is no field spec.stepz")


def test_who_may_not_is_told_which_role():
    """A refusal for lack of rights names the role that people need."""
    assert "The role `edit`" in describe_refusal(403, an_answer("trainingjobs is forbidden"))


@pytest.mark.parametrize("body", ["", "<html>", "[]", None])
def test_an_answer_that_is_no_document_is_told_by_its_status(body: str | None):
    """A proxy's page instead of the API server's document gives a sentence, no error."""
    assert describe_refusal(502, body) == "the API server answered 502 without a reason"


def test_near_names_are_proposed():
    """A misspelt name gets the names like it."""
    told = describe_missing("TrainingJob", "teapto", "studio", ["teapot", "dragon"])
    assert told == "there is no TrainingJob teapto in namespace studio: did you mean teapot?"


def test_without_a_near_name_the_first_are_told():
    """A name like none gets those there are, not all of a thousand."""
    assert propose("zzz", [f"job-{number}" for number in range(9)]).endswith("job-4 and 4 more")


def test_where_there_is_none_it_is_said():
    """In an empty namespace there is nothing to propose."""
    assert propose("teapot", []) == "there is none yet"
