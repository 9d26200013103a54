"""The two kinds of document in the contract, and how strict each is.

What a person or the operator asks (`Spec`) refuses unknown fields, so that a misspelt setting is never silently
ignored. What a program reports (`Document`) ignores unknown fields, because operator and trainer images of different
versions meet in the field; it refuses only a newer major version. This room knows pydantic and nothing else: no
cluster, no store, no clock.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

SCHEMA_VERSION = 1
"""Major version of every document in the store and between the pods. Raised only by an incompatible change."""


CelRule = dict[str, JsonValue]
"""A validation rule of the CRD: `rule` in CEL and the `message` a person reads when it fails."""


class Spec(BaseModel):
    """Something asked for: unknown fields are refused, values never change after reading."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # errors are logged, and values can be captions
        use_attribute_docstrings=True,
    )

    def as_json(self) -> dict[str, Any]:
        """Return the plain JSON form with serialised names, unset and null fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Report(Spec):
    """Something told by a program: unknown fields are ignored, so that a newer writer can be read."""

    model_config = ConfigDict(extra="ignore")


class Document(Report):
    """A report that is stored or sent by itself and therefore carries its version."""

    schema_version: int = SCHEMA_VERSION
    """Major version of this document's shape."""

    @field_validator("schema_version")
    @classmethod
    def refuse_newer(cls, value: int) -> int:
        """Refuse a document of a newer major version.

        Raises:
            ValueError: the document was written by a newer release; the reader must be upgraded.
        """
        if value > SCHEMA_VERSION:
            message = f"document has schemaVersion {value}, this release reads up to {SCHEMA_VERSION}: upgrade it"
            raise ValueError(message)
        return value

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the document: equal contents give equal bytes."""
        return canonical_json(self.as_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a document.

        Raises:
            pydantic.ValidationError: the bytes are not JSON, or not of this shape or version.
        """
        return cls.model_validate_json(data)


def keyed_by(*fields: str) -> JsonDict:
    """Return the schema extras of a list whose rows are told apart by these fields: appliers merge row by row."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(fields)}


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces, so that equal values have equal digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return the sha256 (64 hex characters) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
