"""Objects as text for people and programs."""

import json

import pytest
import yaml

from atelier_studio.actions.documents import name_object, write_json, write_number, write_yaml

JOB = {
    "apiVersion": "atelier.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "teapot"},
    "spec": {"learningRate": 1e-4, "steps": 2000, "conceptModel": {}},
}


def test_rates_are_written_as_people_write_them():
    """A learning rate has no exponent: YAML 1.1 readers take 1e-4 for a word."""
    assert "learningRate: 0.0001\n" in write_yaml(JOB)


@pytest.mark.parametrize("rate", [1e-4, 5e-5, 3e-7, 1.0, 0.5, 2.5e-4])
def test_numbers_come_back_as_they_were(rate: float):
    """What is printed can be applied: the same number is read from it."""
    assert yaml.safe_load(write_yaml({"rate": rate}))["rate"] == rate


@pytest.mark.parametrize(("value", "text"), [(1e-4, "0.0001"), (1.0, "1"), (2e-3, "0.002")])
def test_numbers_in_sentences_have_no_exponent(value: float, text: str):
    """A number in a sentence is written as it would be said."""
    assert write_number(value) == text


def test_yaml_keeps_the_order_of_keys():
    """A manifest begins with what it is: keys are not sorted by letters."""
    assert list(yaml.safe_load(write_yaml(JOB))) == ["apiVersion", "kind", "metadata", "spec"]


def test_several_objects_are_a_list_in_json():
    """`-o json` of several objects is one List, as kubectl prints it."""
    assert json.loads(write_json([JOB, JOB]))["kind"] == "List"


def test_several_objects_are_several_documents_in_yaml():
    """`-o yaml` of several objects can be applied again as it is."""
    assert len(list(yaml.safe_load_all(write_yaml([JOB, JOB])))) == 2


def test_names_are_those_of_kubectl():
    """`-o name` prints what kubectl takes."""
    assert name_object(JOB) == "trainingjob.atelier.dev/teapot"
