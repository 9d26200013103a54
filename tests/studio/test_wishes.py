"""Options and answers as the document that is applied."""

from typing import Any

import pytest

from atelier_contract.training_job import TrainingJobSpec
from atelier_studio.actions.wishes import Wishes, build_job, copy_spec, read_base
from atelier_studio.errors import BadRequest

REVISION = "0123456789abcdef0123456789abcdef01234567"


def wishes(**changes: Any) -> Wishes:
    given: dict[str, Any] = {
        "kind": "ConceptModel",
        "model_name": "TKXW teapot",
        "dataset": "teapots",
        "architecture": "StableDiffusion1",
        "base_model": "base-models/tiny",
    }
    return Wishes(**{**given, **changes})


def test_the_least_is_a_whole_job():
    """Five answers make a job that the contract takes; what is left out is left to the operator."""
    body = build_job("teapot", wishes())
    assert body["spec"] == {
        "modelName": "TKXW teapot",
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {},
    }


def test_the_name_follows_from_the_model():
    """Without a name of its own a job is called by the model's slug."""
    assert build_job("", wishes(model_name="Größer & TKXW"))["metadata"]["name"] == "groer-tkxw"


def test_a_model_without_latin_letters_needs_a_name():
    """A name for the job cannot be made of every model's name: that is said."""
    with pytest.raises(BadRequest, match="name the job yourself"):
        build_job("", wishes(model_name="急須"))


def test_an_impossible_name_gets_a_possible_one():
    """A name that no object can have is refused with one like it."""
    with pytest.raises(BadRequest, match="such as teapot-x"):
        build_job("Teapot_X", wishes())


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("base-models/sdxl", {"storage": {"path": "base-models/sdxl"}}),
        ("claim:models/sdxl", {"persistentVolumeClaim": {"claimName": "models", "path": "sdxl"}}),
        ("claim:models", {"persistentVolumeClaim": {"claimName": "models"}}),
        (f"hub:owner/name@{REVISION}", {"huggingFace": {"repository": "owner/name", "revision": REVISION}}),
    ],
)
def test_base_models_are_named_in_one_word(words: str, source: dict[str, Any]):
    """A key of the store, a folder of a volume and a commit of the hub have a spelling each."""
    assert read_base(words) == source


def test_a_branch_of_the_hub_is_refused():
    """A branch could change under a run: a commit is asked for."""
    with pytest.raises(BadRequest, match="40 hex digits"):
        read_base("hub:owner/name@main")


def test_settings_reach_any_field():
    """--set writes any field below spec, in YAML, over what other options said."""
    body = build_job("t", wishes(steps=10, settings=("tuning.resolution=64", "spec.steps=20", "tuning.flip=true")))
    assert body["spec"]["steps"] == 20
    assert body["spec"]["tuning"] == {"resolution": 64, "flip": True}


def test_a_rate_with_an_exponent_is_a_number():
    """1e-4 is what people type, and a word to YAML 1.1."""
    assert build_job("t", wishes(settings=("learningRate=1e-4",)))["spec"]["learningRate"] == 0.0001


def test_an_empty_setting_takes_a_field_out():
    """--set FIELD= leaves a field of a clone out again."""
    before = build_job("a", wishes(steps=10))["spec"]
    assert "steps" not in build_job("b", Wishes(settings=("steps=",)), before)["spec"]


@pytest.mark.parametrize("setting", ["steps", "=3", "a..b=1", "steps=[1"])
def test_what_is_no_setting_is_refused(setting: str):
    """--set takes FIELD=VALUE and says so."""
    with pytest.raises(BadRequest, match="--set"):
        build_job("t", wishes(settings=(setting,)))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("tuning.resolutoin=64", r"no field tuning\.resolutoin: did you mean resolution\?"),
        ("stpes=10", r"no field stpes: did you mean steps"),
        ("steps=0", r"steps: it should be greater than or equal to 1"),
        ("tuning.optimizer=Adam", r"tuning\.optimizer: it should be 'AdamW'"),
    ],
)
def test_faults_are_told_in_words(setting: str, sentence: str):
    """A wrong field or value is refused before anything is sent, with the field and what would be right."""
    with pytest.raises(BadRequest, match=sentence):
        build_job("t", wishes(settings=(setting,)))


def test_a_long_phrase_is_refused():
    """An initial phrase has at most eight characters."""
    with pytest.raises(BadRequest, match=r"embedding\.initialPhrase: it should have at most 8 characters"):
        build_job("t", wishes(kind="Embedding", initial_phrase="watercolour"))


def test_an_option_of_the_other_type_is_refused():
    """An embedding has no caption prefix: it is refused instead of being lost."""
    with pytest.raises(BadRequest, match="captionPrefix belongs to conceptModel"):
        build_job("t", wishes(kind="Embedding", caption_prefix="TKXW"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"rank": 0}, r"conceptModel\.rank: it should be greater than or equal to 1"),
        ({"kind": "Embedding", "vectors": 0}, r"embedding\.vectors: it should be greater than or equal to 1"),
        ({"vectors": 0}, "vectors belongs to embedding"),
    ],
)
def test_zero_is_asked_too(asked: dict[str, Any], sentence: str):
    """A number that cannot be meant is refused instead of being lost."""
    with pytest.raises(BadRequest, match=sentence):
        build_job("t", wishes(**asked))


def test_an_empty_option_takes_a_field_out():
    """What a clone shall not take over is given as an empty text."""
    before = build_job("a", wishes(caption_prefix="TKXW", rank=8, template="object"))["spec"]
    after = build_job("b", Wishes(caption_prefix="", template=""), before)["spec"]
    assert (after["conceptModel"], "templateRef" in after) == ({"rank": 8}, False)


@pytest.mark.parametrize(
    ("field", "option"), [("dataset", "--dataset"), ("base_model", "--base-model"), ("model_name", "--model-name")]
)
def test_a_clone_needs_what_every_job_needs(field: str, option: str):
    """A needed field that is given as an empty text is asked for, not silently taken over."""
    with pytest.raises(BadRequest, match=f"{option} is missing"):
        build_job("b", Wishes(**{field: ""}), build_job("a", wishes())["spec"])


def test_what_is_missing_is_named_by_its_option():
    """A job without a dataset names the option that gives one."""
    with pytest.raises(BadRequest, match="--dataset is missing"):
        build_job("t", wishes(dataset=None))


def test_a_clone_takes_over_what_decides_the_weights():
    """A clone has the settings of its origin and nothing of how that one was steered or chosen from."""
    spec = {**build_job("a", wishes(rank=8, steps=10))["spec"], "stop": True, "selection": {"checkpoints": []}}
    body = build_job("b", Wishes(steps=20, start_from=("a", "step-000010")), copy_spec(spec))
    assert body["spec"]["conceptModel"] == {"rank": 8}
    assert body["spec"]["steps"] == 20
    assert body["spec"]["startFrom"] == {"trainingJobRef": {"name": "a"}, "checkpoint": "step-000010"}
    assert not {"stop", "selection"} & set(body["spec"])


def test_fields_come_in_the_order_of_the_contract():
    """A printed manifest tells first what it is, then from what, then how."""
    spec = build_job("a", wishes(steps=10, template="object", caption_prefix="TKXW"))["spec"]
    known = [field.alias or name for name, field in TrainingJobSpec.model_fields.items()]
    assert list(spec) == [field for field in known if field in spec]
