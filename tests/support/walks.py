"""The pages walked: their commands run in order, each page in a room that holds what the page presumes.

What cannot be run is listed with its reason; a test sees that the list is exact.
"""

from __future__ import annotations

import re

from pages import Block

RUN_HERE = ("kubectl", "source")
"""First words of commands that are run as they stand. Everything else is left out, with a reason."""

LEFT_OUT = {
    r": docker (build|push)": "needs a container engine and a registry",
    r"^docs/how-to/install\.md: helm install": "the chart's own tests install it; its images are not there",
    r"^README\.md: helm install": "as above",
    r"^README\.md: make (demo|test)": "is what runs all tests, and the demo has a test of its own",
    r"^docs/quickstart\.md: make playground$": "leaves a cluster up; the walk has one",
}
"""Commands that are not run, by a pattern over `page: command`, and why."""


def is_left_out(block: Block, command: str) -> bool:
    """Return whether a command is in the list of those that are not run."""
    return any(
        re.search(pattern, f"{block.page}: {command.split('#', maxsplit=1)[0].rstrip()}") for pattern in LEFT_OUT
    )
