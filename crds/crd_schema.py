"""From a pydantic model to the structural schema that Kubernetes asks of a CRD.

In comes a model of the contract, out goes its `openAPIV3Schema`: references inlined, an optional field reduced to its
one arm, constants turned into enumerations, exclusive bounds into a bound and a boolean, and everything dropped that a
structural schema may not hold (titles, defaults, closed objects). What cannot be said in such a schema is refused here,
in words, instead of by an API server later: an open union, a field without description, a string, list or map without
bound. It knows pydantic's JSON schema; it may not know files, the chart or a cluster.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = ("type", "format", "enum", "pattern", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems",
         "maxItems", "minProperties", "maxProperties", "required")  # fmt: skip
"""Keywords that mean the same in both dialects."""
_EXCLUSIVE = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))


class SchemaRefused(Exception):
    """A model says something that a CRD cannot hold, or leaves out what our rules ask for."""


def build_structural_schema(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model, with its docstring as description.

    Raises:
        SchemaRefused: a field has no description, no bound, or a shape that no structural schema can hold. The message
            names the field by its path.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(raw, raw.get("$defs", {}), model.__name__)


def _convert(raw: Schema, definitions: Schema, path: str) -> Schema:
    """Convert one node and everything below it."""
    node = _inline(raw, definitions, path)
    result: Schema = {"description": _unwrap(node["description"])} if "description" in node else {}
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    result.update({key: node[key] for key in _KEPT if key in node})
    for exclusive, bound in _EXCLUSIVE:
        if exclusive in node:
            result[bound], result[exclusive] = node[exclusive], True
    if "properties" in node:
        result["properties"] = {
            name: _convert_field(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _convert(node["additionalProperties"], definitions, f"{path}{{}}")
    if "items" in node:
        result["items"] = _convert(node["items"], definitions, f"{path}[]")
        result["x-kubernetes-list-type"] = "atomic"
    result.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    _require_bounds(result, path)
    return result


def _convert_field(raw: Schema, definitions: Schema, path: str) -> Schema:
    field = _convert(raw, definitions, path)
    # Only the field's own words count: those of a shared model do not say what this use of it is for.
    if not raw.get("description"):
        raise SchemaRefused(f"{path} has no description: write a docstring under the field")
    return field


def _inline(node: Schema, definitions: Schema, path: str) -> Schema:
    """Follow references and optional arms; what the field itself says wins over what it refers to."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            target = definitions[node["$ref"].rpartition("/")[2]]
        else:
            arms = [arm for arm in node["anyOf"] if arm.get("type") != "null"]
            if len(arms) != 1:
                raise SchemaRefused(f"{path} is a union: give each variant a field of its own and a CEL rule for one")
            target = arms[0]
        node = {**target, **{key: value for key, value in node.items() if key not in ("$ref", "anyOf")}}
    for keyword in ("oneOf", "allOf", "not", "prefixItems"):
        if keyword in node:
            raise SchemaRefused(f"{path} uses {keyword}, which a structural schema cannot hold")
    if "type" not in node and "enum" not in node and "const" not in node:
        raise SchemaRefused(f"{path} has no type: a CRD would prune or refuse it")
    return {"type": "string", **node}


def _require_bounds(schema: Schema, path: str) -> None:
    """Refuse what could grow without limit: the API server could not estimate the cost of a rule over it."""
    kind = schema["type"]
    missing = (
        (kind == "string" and "enum" not in schema and "maxLength" not in schema)
        or (kind == "array" and "maxItems" not in schema)
        or (kind == "object" and "additionalProperties" in schema and "maxProperties" not in schema)
    )
    if missing:
        raise SchemaRefused(f"{path} ({kind}) has no upper bound: give its field a max_length")


def _unwrap(text: str) -> str:
    """Return a docstring as paragraphs of one line each, as `kubectl explain` wants to wrap them itself."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
