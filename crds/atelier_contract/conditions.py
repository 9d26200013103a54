"""The shape of a condition in status, as Kubernetes' own metav1.Condition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Report


class ConditionStatus(Report):
    """One observation of an object's state."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """Name of the condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    """One CamelCase word saying why."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """One sentence for people: what is so, and what to do about it."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec that this condition speaks of."""
    last_transition_time: Annotated[str, Field(max_length=32)]
    """When status last changed, RFC 3339."""
