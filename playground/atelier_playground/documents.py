"""YAML as kubectl reads it. Pure.

PyYAML follows YAML 1.1, where `1e-4` without a dot is a text; kubectl's reader takes it for a number, and so must we.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

Object = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the floats of YAML 1.2 (its core schema, section 10.3.2)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_documents(text: str) -> list[Object]:
    """Read every document of a YAML text that is not empty."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]
