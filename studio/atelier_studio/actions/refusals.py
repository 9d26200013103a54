"""The API server's answers in user words: out of its error documents, without its wrapping.

In comes what it answered, out goes one sentence. Its own validation messages are sentences of the contract already;
only what it puts around them is taken away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_WRAPPING = re.compile(r'^(Invalid|Unsupported|Required) value: (("(\\.|[^"\\])*"|[\[{].*[\]}]|[^\s:]+): )?')
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
_NEAR = 0.5
"""How alike a name must be to be proposed, 0 to 1: `teapto` and `teapot` are 0.83, `cat` and `teapot` 0.44."""


def read_answer(body: str | bytes | None) -> dict[str, Any]:
    """Return the document of an error answer; empty where it is none."""
    try:
        document = json.loads(body or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def describe_refusal(status: int, body: str | bytes | None) -> str:
    """Return why the API server refused, as one sentence.

    Args:
        status: HTTP status.
        body: what it answered.
    """
    answer = read_answer(body)
    message = str(answer.get("message") or "")
    if status == 401:
        return "the cluster does not know you: log in again, or check the user of the kubeconfig's context"
    if status == 403:
        return (
            f"{message or 'you may not do this'}. The role `edit` in the namespace is what people need who train; "
            "whoever looks after the cluster can bind it"
        )
    causes = [describe_cause(cause) for cause in (answer.get("details") or {}).get("causes") or ()]
    if causes:
        return "; ".join(dict.fromkeys(cause for cause in causes if cause))
    fields = _UNKNOWN_FIELD.findall(message)
    if fields:
        return f"there is no field {' and no field '.join(fields)}: `kubectl explain` shows those there are"
    return message or f"the API server answered {status} without a reason"


def describe_cause(cause: dict[str, Any]) -> str:
    """Return one cause of a refusal: the field and what is wrong with it."""
    message = str(cause.get("message") or "")
    if cause.get("reason") == "FieldValueInvalid" and message.startswith("some validation rules were not checked"):
        return ""
    message = _WRAPPING.sub("", message)
    field = str(cause.get("field") or "")
    return message if field in {"", "spec", "<nil>"} else f"{field}: {message}"


def describe_missing(kind: str, name: str, namespace: str | None, known: Iterable[str]) -> str:
    """Return the sentence for a name that is not there, with the names that are like it.

    Args:
        kind: TrainingJob, Dataset, …
        name: what was asked for.
        namespace: where; None for what belongs to the whole cluster.
        known: the names there are.
    """
    where = f" in namespace {namespace}" if namespace else ""
    return f"there is no {kind} {name}{where}: {propose(name, known)}"


def propose(name: str, known: Iterable[str], limit: int = 5) -> str:
    """Return what a person may have meant: names like the one typed, else the first of those there are."""
    names = sorted(known)
    near = get_close_matches(name, names, limit, _NEAR)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "there is none yet"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"there are {', '.join(names[:limit])}{more}"
