"""CRDs follow from the models, and what cannot be a CRD is refused when it is generated."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from checkout import CHECKOUT

CRDS = CHECKOUT / "crds"
MAX_CRD_BYTES = 256 * 1024


def load(name: str) -> ModuleType:
    """Load a script of the folder crds, which is no package."""
    spec = importlib.util.spec_from_file_location(name, CRDS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMA = load("crd_schema")


class Model(BaseModel):
    """A model."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def test_nothing_has_drifted() -> None:
    """The files beside the models and the chart's copies are what the models say."""
    command = [sys.executable, str(CRDS / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda path: path.name)
def test_definition_is_small_enough_to_apply(path: Path) -> None:
    """Kubectl keeps a copy of what it applies in an annotation, which ends at 256 KiB."""
    assert path.stat().st_size < MAX_CRD_BYTES


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from walk(schema[part], f"{path}[]")


def list_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        yield from walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], crd["spec"]["names"]["kind"])


def test_schema_has_no_default() -> None:
    """Defaults are resolved into status: in the schema they would come between Git and the cluster."""
    assert not [path for path, node in list_nodes() if "default" in node]


def test_schema_keeps_nothing_unknown() -> None:
    """No field takes arbitrary content, and none is a reference that a structural schema cannot hold."""
    odd = {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "$ref", "anyOf", "oneOf", "allOf"}
    assert not [path for path, node in list_nodes() if odd & set(node)]


def test_every_list_says_how_it_merges() -> None:
    """A list without a type is replaced as a whole by whoever applies last, silently."""
    assert not [
        path for path, node in list_nodes() if node.get("type") == "array" and "x-kubernetes-list-type" not in node
    ]


def test_every_rule_has_a_message() -> None:
    """A refusal in CEL is for machines: each rule says in words what to change."""
    rules = [rule for _, node in list_nodes() for rule in node.get("x-kubernetes-validations", [])]
    assert rules
    assert all(rule.get("message") for rule in rules)


def test_optional_field_is_its_one_arm() -> None:
    """`X | None` is X, not required."""

    class Some(Model):
        size: Annotated[int, Field(gt=0, lt=10)] | None = None
        """Size."""

    schema = SCHEMA.build_structural_schema(Some)
    assert schema["properties"]["size"] == {
        "description": "Size.",
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 10,
        "exclusiveMaximum": True,
    }
    assert "required" not in schema


def test_union_is_refused() -> None:
    """A union of two types cannot be a structural schema; the message names the field and the remedy."""

    class Either(Model):
        rate: Annotated[str, Field(max_length=5)] | float
        """Rate."""

    with pytest.raises(SCHEMA.SchemaRefused, match=r"Either\.rate is a union"):
        SCHEMA.build_structural_schema(Either)


def test_field_without_description_is_refused() -> None:
    """Kubectl explain has a sentence for every field."""

    class Silent(Model):
        size: int

    with pytest.raises(SCHEMA.SchemaRefused, match=r"Silent\.size has no description"):
        SCHEMA.build_structural_schema(Silent)


@pytest.mark.parametrize("kind", [str, list[int], dict[str, int]], ids=["string", "list", "map"])
def test_unbounded_field_is_refused(kind: Any) -> None:
    """What could grow without limit is refused, because no rule over it could be priced."""
    unbounded = type(
        "Unbounded", (Model,), {"__annotations__": {"value": kind}, "value": Field(description="A value.")}
    )
    with pytest.raises(SCHEMA.SchemaRefused, match=r"Unbounded\.value \(\w+\) has no upper bound"):
        SCHEMA.build_structural_schema(unbounded)
