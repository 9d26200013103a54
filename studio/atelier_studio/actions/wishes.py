"""What a person asks of a new TrainingJob, as its document: out of options, answers, and `--set FIELD=VALUE`.

In come plain values, out goes the document that is applied, checked by the contract's own rules, so that most refusals
need no cluster. What is left out stays out: the operator resolves defaults and prints them back.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from atelier_contract import names
from atelier_contract.identity import slugify
from atelier_contract.training_job import KIND, TrainingJobSpec
from atelier_studio.actions.refusals import propose
from atelier_studio.errors import BadRequest

Object = dict[str, Any]
CLAIM, HUB = "claim:", "hub:"
"""How `--base-model` begins where it names a volume or the Hugging Face hub instead of a key of the store."""
REVISION_LENGTH = 40
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_NUMBER = re.compile(r"^[0-9.]+[eE][-+]?[0-9]+$")
TRANSIENT = ("suspend", "stop", "selection")
"""Fields that steer one run and are not copied into another."""


@dataclass(frozen=True)
class Wishes:
    """What is asked of a job. None leaves a field as it is, an empty text takes it out.

    Attributes:
        kind: ConceptModel or Embedding; None in a clone: as it was.
        base_model: key in the store, `claim:NAME/PATH` or `hub:OWNER/NAME@REVISION`.
        start_from: name of a job and of its checkpoint.
        settings: `FIELD=VALUE`, the field below spec with dots, the value in YAML; applied last.
    """

    kind: str | None = None
    model_name: str | None = None
    dataset: str | None = None
    architecture: str | None = None
    base_model: str | None = None
    template: str | None = None
    caption_prefix: str | None = None
    rank: int | None = None
    initial_phrase: str | None = None
    placeholder: str | None = None
    vectors: int | None = None
    learning_rate: float | None = None
    steps: int | None = None
    every_steps: int | None = None
    prompts: Sequence[str] = ()
    start_from: tuple[str, str] | None = None
    settings: Sequence[str] = ()


def build_job(name: str, wishes: Wishes, spec: Object | None = None) -> Object:
    """Return the TrainingJob to apply.

    Args:
        name: of the job; empty: the slug of the model's name.
        wishes: what is asked.
        spec: what to begin with, as of the job that is cloned.

    Raises:
        BadRequest: something is missing or cannot be meant; says what to change.
    """
    spec = dict(spec or {})
    asked = {
        "modelName": wishes.model_name,
        "datasetRef": wishes.dataset and {"name": wishes.dataset},
        "baseModel": _build_base(wishes, spec.get("baseModel") or {}) or None,
        "templateRef": wishes.template and {"name": wishes.template},
    }
    spec = _put(spec, asked)
    _put_method(spec, wishes)
    if wishes.learning_rate is not None:
        spec["learningRate"] = wishes.learning_rate
    if wishes.steps is not None:
        spec["steps"] = wishes.steps
    if wishes.every_steps is not None:
        spec["checkpoints"] = {**(spec.get("checkpoints") or {}), "everySteps": wishes.every_steps}
    if wishes.prompts:
        spec["validation"] = {**(spec.get("validation") or {}), "prompts": list(wishes.prompts)}
    if wishes.start_from:
        job, checkpoint = wishes.start_from
        spec["startFrom"] = {"trainingJobRef": {"name": job}, "checkpoint": checkpoint}
    for setting in wishes.settings:
        put_setting(spec, setting)
    check_spec(spec)
    name = name or slugify(spec["modelName"])
    if not name:
        raise BadRequest(f"{spec['modelName']} has no Latin letter or digit to make a name of: name the job yourself")
    check_name(name)
    # In the order in which the contract tells of them: what it is, from what, how; the API server sorts by letters.
    ordered = {field: spec[field] for field in list_fields(TrainingJobSpec, ()) if field in spec}
    return {"apiVersion": names.API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": ordered}


def check_name(name: str) -> None:
    """Refuse a name that no object can have.

    Raises:
        BadRequest: proposes one like it that can be had.
    """
    if not _NAME.match(name) or len(name) > names.MAX_NAME_LENGTH:
        proposal = slugify(name)[: names.MAX_NAME_LENGTH].strip("-") or "teapot"
        raise BadRequest(
            f"{name} cannot be a job's name: use lower-case letters, digits and dashes, at most "
            f"{names.MAX_NAME_LENGTH}, such as {proposal}"
        )


def copy_spec(spec: Object) -> Object:
    """Return the part of a job's spec that another job like it takes over."""
    return {key: value for key, value in spec.items() if key not in TRANSIENT}


def read_base(words: str) -> Object:
    """Return `baseModel.source` out of what was typed.

    Raises:
        BadRequest: a hub's repository without a commit.
    """
    if words.startswith(CLAIM):
        claim, _, path = words.removeprefix(CLAIM).partition("/")
        return {"persistentVolumeClaim": {"claimName": claim, **({"path": path} if path else {})}}
    if words.startswith(HUB):
        repository, _, revision = words.removeprefix(HUB).partition("@")
        if len(revision) != REVISION_LENGTH:
            raise BadRequest(
                f"{words} names no commit: write {HUB}{repository}@ and its 40 hex digits, because a branch could "
                "change under a run"
            )
        return {"huggingFace": {"repository": repository, "revision": revision}}
    return {"storage": {"path": words.strip("/")}}


def put_setting(spec: Object, setting: str) -> None:
    """Write one `FIELD=VALUE` into a spec; an empty value takes the field out.

    Raises:
        BadRequest: it is not of that form.
    """
    import yaml  # noqa: PLC0415  (only --set reads YAML)

    field, equals, text = setting.partition("=")
    parts = field.removeprefix("spec.").split(".")
    if not equals or not all(parts):
        raise BadRequest(f"--set {setting} is not FIELD=VALUE, such as --set tuning.resolution=512")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRequest(f"the value of --set {field} is no YAML: put quotes around text") from error
    if isinstance(value, str):
        # YAML 1.1 takes 1e-4 for a word, and nobody means one.
        value = float(value) if _NUMBER.match(value) else value
    place = spec
    for part in parts[:-1]:
        inner = place.get(part)
        place[part] = place = dict(inner) if isinstance(inner, dict) else {}
    if value is None:
        place.pop(parts[-1], None)
    else:
        place[parts[-1]] = value


def check_spec(spec: Object) -> None:
    """Refuse a spec that the contract refuses.

    Raises:
        BadRequest: every fault in one sentence each, with the options or fields to change.
    """
    try:
        TrainingJobSpec.model_validate(spec)
    except ValidationError as error:
        faults = [describe_fault(tuple(str(word) for word in fault["loc"]), fault) for fault in error.errors()]
        raise BadRequest("; ".join(dict.fromkeys(faults))) from error


OPTIONS = {
    "modelName": "--model-name",
    "datasetRef": "--dataset",
    "baseModel": "--base-model and --architecture",
    "baseModel.source": "--base-model",
    "baseModel.architecture": "--architecture",
}
"""The option that gives a field which every job needs."""


def describe_fault(location: tuple[str, ...], fault: Any) -> str:
    """Return one fault of a spec in words.

    Args:
        location: the field, from spec downwards.
        fault: as pydantic tells it: `type` and `msg`.
    """
    field = ".".join(location)
    if fault["type"] == "missing":
        return f"{OPTIONS.get(field, field)} is missing"
    if fault["type"] == "extra_forbidden":
        return f"there is no field {field}: {propose(location[-1], list_fields(TrainingJobSpec, location[:-1]))}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message.replace("String should have", "it should have").replace("Input should be", "it should be")
    return f"{field}: {message}" if field else message


def list_fields(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Return the names of the fields at a place of a document, as they are written in YAML."""
    for word in location:
        field = next((one for name, one in model.model_fields.items() if word in {one.alias, name}), None)
        inner = field and next(_find_models(field.annotation), None)
        if not inner:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _find_models(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _find_models(inner)


def _build_base(wishes: Wishes, before: Object) -> Object:
    architecture = wishes.architecture and str(wishes.architecture)
    source = wishes.base_model and read_base(wishes.base_model)
    return _put(before, {"architecture": architecture, "source": source})


def _put_method(spec: Object, wishes: Wishes) -> None:
    """Write conceptModel or embedding: what is asked, over what was there."""
    kind = wishes.kind or ("Embedding" if "embedding" in spec else "ConceptModel")
    concept = {"captionPrefix": wishes.caption_prefix, "rank": wishes.rank}
    embedding = {
        "initialPhrase": wishes.initial_phrase,
        "placeholder": wishes.placeholder,
        "vectors": wishes.vectors,
    }
    chosen, other = ("embedding", "conceptModel") if kind == "Embedding" else ("conceptModel", "embedding")
    own, others = (embedding, concept) if chosen == "embedding" else (concept, embedding)
    foreign = [key for key, value in others.items() if value not in (None, "")]
    if foreign:
        raise BadRequest(f"{' and '.join(foreign)} belongs to {other}, and this job trains {chosen}: leave it out")
    spec.pop(other, None)
    spec[chosen] = _put(spec.pop(chosen, None) or {}, own)


def _put(before: Object, asked: Object) -> Object:
    """Return fields with what is asked of them. 0 is asked, too: the contract refuses it, nobody drops it."""
    kept = {key: value for key, value in before.items() if asked.get(key) is None}
    return kept | {key: value for key, value in asked.items() if value is not None and value != ""}
