"""Objects as text: YAML and JSON for people and pipes, equal for equal objects.

In come plain documents, out goes text. Numbers are written as people write them: YAML 1.1 readers take `1e-4` for a
word, and `learningRate: 0.0001` is what the guide shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

Object = dict[str, Any]
WIDTH = 100
"""Characters of a line of YAML before long text is folded."""


def write_number(value: float) -> str:
    """Return a number without an exponent: 0.0001, 2000, 0.5."""
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def write_yaml(document: Object | Sequence[Object]) -> str:
    """Return YAML with the keys in the order given; several documents are parted by `---`."""
    import yaml  # noqa: PLC0415  (only some verbs print YAML, and all should start at once)

    class Writer(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True  # an anchor for an equal list is no help to people

    def write_float(writer: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
        return writer.represent_scalar("tag:yaml.org,2002:float", format(Decimal(repr(value)), "f"))

    Writer.add_representer(float, write_float)
    documents = [document] if isinstance(document, dict) else list(document)
    text: str = yaml.dump_all(documents, Dumper=Writer, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text


def write_json(document: Object | Sequence[Object]) -> str:
    """Return indented JSON, with a line's end; several objects become one List, as `kubectl get -o json` has it."""
    if not isinstance(document, dict):
        document = {"apiVersion": "v1", "kind": "List", "items": list(document)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def name_object(body: Object) -> str:
    """Return kind and name as `kubectl -o name` writes them: trainingjob.atelier.dev/teapot."""
    group = str(body["apiVersion"]).partition("/")[0]
    return f"{str(body['kind']).lower()}.{group}/{body['metadata']['name']}"


def drop_bookkeeping(body: Object) -> Object:
    """Return an object without what only the API server keeps in it (managedFields); rows of ours have no such."""
    if "metadata" not in body:
        return body
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
