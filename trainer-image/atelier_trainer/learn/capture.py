"""Captured steps: the operations of a whole step recorded once a shape, then started by one call.

A small model's step is thousands of launches, and a fast GPU waits for the host that makes them. A captured step costs
the host a copy of the inputs and one launch. It needs shapes that never change and buffers that stay where they are:
inputs are copied into buffers of the recording's own, and all that learns lies in flat buffers already.

Before it is recorded a step has to be run a few times, so that kernels, libraries and the optimiser have what they make
at first use. Everything these runs change is put back, so that capturing takes no step: weights, gradients, moments and
counts are the same to the bit afterwards.

`Graph` is the only thing that knows a device; on a GPU it is CUDA's. Knows passes as tensors and nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from atelier_trainer.learn.gradients import Pass

WARM_UP_RUNS = 3
"""As torch's documentation of CUDA graphs advises: library handles and autotuned kernels settle within them."""


class CaptureFailed(Exception):
    """A step cannot be captured; nothing has changed."""


class Graph(Protocol):
    """Operations recorded once, to be started as one."""

    def warm_up(self, work: Callable[[], None], runs: int) -> None:
        """Run the work as often, apart from what else the device does."""

    def record(self, work: Callable[[], None]) -> None:
        """Record the work's operations without running them.

        Raises:
            RuntimeError: the work does what cannot be recorded, such as waiting for the device.
        """

    def replay(self) -> None:
        """Start what was recorded."""


class CudaGraph:
    """A graph of CUDA kernels.

    Graphs of one attempt share the memory of what they compute in between: they run one at a time and leave nothing in
    it, so that many shapes need no more than the largest.
    """

    def __init__(self, sibling: Graph | None = None) -> None:
        """Record nothing yet; share a sibling's memory where there is one."""
        self._graph = torch.cuda.CUDAGraph()
        self._sibling = sibling if isinstance(sibling, CudaGraph) else None

    def warm_up(self, work: Callable[[], None], runs: int) -> None:
        """Run the work on a stream of its own, as recording will."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(runs):
                    work()
        finally:  # whatever comes next, be it putting back after a shortage, comes after these runs
            torch.cuda.current_stream().wait_stream(side)

    def record(self, work: Callable[[], None]) -> None:
        """Record the kernels that the work launches."""
        pool = self._sibling._graph.pool() if self._sibling else None  # noqa: SLF001 - its own kind
        self._sibling = None
        with torch.cuda.graph(self._graph, pool=pool):
            work()

    def replay(self) -> None:
        """Launch all of them."""
        self._graph.replay()


@dataclass(frozen=True)
class Recording:
    """One captured step, for one shape of passes."""

    graph: Graph
    passes: list[Pass]
    """Buffers that the graph reads."""
    loss: Tensor
    """Buffer that it writes."""


class CapturedSteps:
    """The captured steps of an attempt, one a shape."""

    def __init__(
        self,
        learn: Callable[[Sequence[Pass]], Tensor],
        list_state: Callable[[], list[Tensor]],
        build_graph: Callable[[Graph | None], Graph],
        seed: Callable[[int], None],
    ) -> None:
        """Capture nothing yet.

        Args:
            learn: a whole step on prepared passes, which returns its loss.
            list_state: every tensor that a step changes and a later one reads; a step adds none.
            build_graph: makes a graph, given another one of the attempt, if there is one.
            seed: given the steps done, seeds what the passes draw on the device (dropout).
        """
        self._learn, self._list_state, self._build_graph, self._seed = learn, list_state, build_graph, seed
        self._recordings: dict[object, Recording] = {}

    def take(self, passes: Sequence[Pass], step: int, variant: object = None) -> Tensor:
        """Take a step on these passes, capturing it where their shape is new; return its loss.

        Args:
            passes: what to learn from.
            step: steps done before.
            variant: whatever else makes two steps different operations.

        Raises:
            CaptureFailed: it cannot be captured; nothing has changed.
            torch.OutOfMemoryError: the passes do not fit the device; nothing has changed.
        """
        shape = (variant, describe_shape(passes))
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recordings[shape] = self._record(passes)
        else:
            for buffer, value in zip(list_tensors(recording.passes), list_tensors(passes), strict=True):
                buffer.copy_(value, non_blocking=True)
        self._seed(step)
        recording.graph.replay()
        return recording.loss.clone()

    def drop(self) -> bool:
        """Forget all recordings and the memory they hold; return whether there were any."""
        had_any = bool(self._recordings)
        self._recordings.clear()
        return had_any

    def _record(self, passes: Sequence[Pass]) -> Recording:
        buffers = [copy_pass(one) for one in passes]
        loss = torch.zeros((), device=buffers[0].part.latents.device)

        def work() -> None:
            loss.copy_(self._learn(buffers))

        sibling = next(iter(self._recordings.values()), None)
        graph = self._build_graph(sibling.graph if sibling else None)
        before = [(tensor, tensor.detach().clone()) for tensor in self._list_state()]
        try:
            try:
                graph.warm_up(work, WARM_UP_RUNS)
            finally:
                put_back(before)
            graph.record(work)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise CaptureFailed(str(error)) from error
        return Recording(graph, buffers, loss)


@torch.no_grad()
def put_back(before: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give every tensor the values that were noted of it."""
    for tensor, value in before:
        tensor.copy_(value)


def copy_pass(one: Pass) -> Pass:
    """Return a pass in buffers of its own. A sum of masks, which differs from step to step, becomes a tensor."""
    part = one.part
    masked = part.masks is not None
    return Pass(
        replace(
            part,
            latents=part.latents.clone(),
            noise=part.noise.clone(),
            timesteps=part.timesteps.clone(),
            row_weights=part.row_weights.clone(),
            masks=None if part.masks is None else part.masks.clone(),
            mask_total=torch.as_tensor(part.mask_total).to(part.latents) if masked else part.mask_total,
        ),
        {name: tensor.clone() for name, tensor in one.conditions.items()},
    )


def list_tensors(passes: Sequence[Pass]) -> Iterator[Tensor]:
    """Yield every tensor that differs from step to step, in one order."""
    for one in passes:
        part = one.part
        yield from (part.latents, part.noise, part.timesteps, part.row_weights)
        if part.masks is not None:
            yield part.masks
            yield torch.as_tensor(part.mask_total)
        yield from (one.conditions[name] for name in sorted(one.conditions))


def describe_shape(passes: Sequence[Pass]) -> object:
    """Return what passes of one recording have in common: shapes, and the numbers that become part of it."""
    return tuple(
        (
            tuple((tuple(tensor.shape), tensor.dtype) for tensor in list_tensors([one])),
            one.part.prior_rows,
            one.part.prior_total,
            None if one.part.masks is not None else one.part.mask_total,
            tuple(sorted(one.conditions)),
        )
        for one in passes
    )
