"""The chart as Helm renders it, offline: objects by kind and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import helm_python
import yaml

from checkout import CHECKOUT

CHART = CHECKOUT / "charts" / "atelier"
NAMESPACE = "atelier-system"
Object = dict[str, Any]


def render(values: Mapping[str, Any] | None = None) -> list[Object]:
    """Return every object that a release of the chart makes."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(dict(values or {}), name="atelier", namespace=NAMESPACE)
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def pick(objects: list[Object], kind: str, name: str | None = None) -> list[Object]:
    """Return the objects of a kind, and of a name where one is given."""
    return [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
