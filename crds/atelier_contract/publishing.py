"""Where published models go besides the store."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atelier_contract.base import Spec
from atelier_contract.references import NameRef


class InvokeAiSpec(Spec):
    """An InvokeAI server that installs the published models."""

    url: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s@]+$")]
    """Address of the server. Example: http://invoke:9090."""
    credentials_secret_ref: NameRef | None = None
    """Secret whose key atelier-invokeai-token holds a bearer token. Default: none is sent."""


class PublishSpec(Spec):
    """Where published models go besides `models/` in the store."""

    invoke_ai: InvokeAiSpec | None = Field(default=None, alias="invokeAI")
    """Also install the models in an InvokeAI server."""
