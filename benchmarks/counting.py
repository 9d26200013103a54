"""How many framework operations a piece of work takes: what bounds a fast device while the host cannot keep up.

An operation is one call below autograd, as the framework's dispatcher sees it: forward, backward, optimiser, and views
too, because a view costs the host as much as a small kernel does. The profiler's own marks are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

PROFILER = "profiler"
"""Namespace of the marks that the optimiser leaves for the profiler."""


class OperationCounter(TorchDispatchMode):
    """Counts the operations between entering and leaving it, by name. May be entered again, and goes on counting."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All operations so far."""
        return self.counts.total()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note one operation and let it compute."""
        if func.namespace != PROFILER:
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def count_operations(work: Callable[[], object]) -> Counter[str]:
    """Return the operations of a piece of work, by name."""
    with OperationCounter() as counter:
        work()
    return counter.counts
