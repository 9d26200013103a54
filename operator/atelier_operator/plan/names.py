"""Names of children. One name means one input for ever: another round, selection or try has another name."""

from __future__ import annotations

from atelier_contract.base import digest_of
from atelier_contract.roles import Role

MAX_LENGTH = 63
"""A Job's name becomes a label of its pods, and a label's value has at most 63 characters."""
_SHORT = 8


def name_ordinal(owner: str, role: Role, ordinal: int) -> str:
    """Return the name of a numbered child: `<owner>-inspect-3`."""
    return _fit(owner, f"-{role.value}-{ordinal}")


def name_errand(owner: str, role: Role, digest: str) -> str:
    """Return the name of a child that does one stated thing: `<owner>-publish-1a2b3c4d`."""
    return _fit(owner, f"-{role.value}-{digest[:_SHORT]}")


def name_surroundings(owner: str) -> str:
    """Return the name of a TrainingJob's one NetworkPolicy, and of its one Service: they serve all rounds."""
    return _fit(owner, f"-{Role.TRAIN.value}")


def is_host_name(owner: str) -> bool:
    """Return whether an object's name can begin a host name and a Service's: those follow RFC 1035."""
    return owner[:1].isalpha() and "." not in owner


def read_ordinal(name: str) -> int:
    """Return the number at the end of a child's name; 0 if there is none."""
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else 0


def _fit(owner: str, suffix: str) -> str:
    """Join both; a long owner is cut and its digest put in, so that two long names never share a child."""
    if len(owner) + len(suffix) <= MAX_LENGTH:
        return owner + suffix
    mark = digest_of(owner)[:5]
    return f"{owner[: MAX_LENGTH - len(suffix) - len(mark) - 1]}-{mark}{suffix}"
