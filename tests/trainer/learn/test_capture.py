"""Captured steps: capturing takes no step, replaying is the step, and what cannot be captured is computed plainly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.capture import CapturedSteps, list_tensors
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.gradients import GradientComputer, Pass
from atelier_trainer.learn.optimizer import build_optimizer, set_rate
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.stepping import Stepper
from drawn_batches import draw_batch
from learning import build_settings
from learning_results import build_on, load_family


class RecordedGraph:
    """A graph for any device: it keeps the work and does it when replayed."""

    def __init__(self, sibling: object) -> None:
        self.sibling = sibling

    def warm_up(self, work: Callable[[], None], runs: int) -> None:
        for _ in range(runs):
            work()

    def record(self, work: Callable[[], None]) -> None:
        self.work = work

    def replay(self) -> None:
        self.work()


class RefusedGraph(RecordedGraph):
    """A graph of a device that cannot record the work."""

    def record(self, work: Callable[[], None]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


class ScarceGraph(RecordedGraph):
    """A graph of a device on which no pass of more than two pictures fits."""

    def warm_up(self, work: Callable[[], None], runs: int) -> None:
        closure = work.__closure__ or ()
        passes = next(cell.cell_contents for cell in closure if isinstance(cell.cell_contents, list))
        if len(passes[0].part.texts) > 2:
            super().warm_up(work, 1)
            raise torch.OutOfMemoryError("as CUDA says it")
        super().warm_up(work, runs)


def build_stepper(graph: type[RecordedGraph] | None) -> Stepper:
    """Return a stepper on the tiny base, which captures with such graphs, or computes plainly."""
    torch.manual_seed(0)
    family, settings = load_family(), build_settings(warmupSteps=0)
    method = build_on(family, settings)
    gradients = GradientComputer(family, method, PromptEncoder(family, method), settings, Draws(7), micro_batch=4)
    optimizer = build_optimizer(method.rate_groups(), settings)
    stepper = Stepper(gradients, optimizer, settings.max_grad_norm)
    if graph is not None:
        stepper.captured = CapturedSteps(stepper.learn, stepper.list_state, graph, lambda step: None)
    return stepper


def take(stepper: Stepper, batches: list[Batch]) -> list[Tensor]:
    """Take a step on each batch; return the losses."""
    losses = []
    for step, batch in enumerate(batches):
        set_rate(stepper.optimizer, 1 / (step + 1), step)
        losses.append(stepper.take(batch, step))
    return losses


def read_all(stepper: Stepper) -> list[Tensor]:
    """Return everything a step changes."""
    return [tensor.detach().clone() for tensor in stepper.list_state()]


def test_capturing_changes_nothing() -> None:
    """Running and recording a step leaves weights, gradients, moments and counts as they were, to the bit."""
    stepper = build_stepper(RecordedGraph)
    take(stepper, [draw_batch(0)])
    before = read_all(stepper)
    assert stepper.captured is not None
    stepper.captured._record(stepper.gradients.prepare(draw_batch(1), 1))
    assert all(torch.equal(one, other) for one, other in zip(read_all(stepper), before, strict=True))


@pytest.mark.parametrize("masked", [False, True])
def test_replayed_steps_are_the_plain_ones(masked: bool) -> None:
    """Six steps in two shapes end the same to the bit, with the same losses, whether captured or not."""
    batches = [draw_batch(step, side, masked=masked) for step, side in enumerate((8, 8, 4, 8, 4, 8))]
    captured, plain = build_stepper(RecordedGraph), build_stepper(None)
    assert torch.equal(torch.stack(take(captured, batches)), torch.stack(take(plain, batches)))
    assert all(torch.equal(one, other) for one, other in zip(read_all(captured), read_all(plain), strict=True))


def test_every_shape_is_recorded_once() -> None:
    """The first step is computed plainly, while the optimiser makes its moments; then each shape beside the first."""
    made: list[RecordedGraph] = []

    class Counted(RecordedGraph):
        def __init__(self, sibling: object) -> None:
            super().__init__(sibling)
            made.append(self)

    take(build_stepper(Counted), [draw_batch(step, side) for step, side in enumerate((8, 8, 4, 8, 4))])
    assert [graph.sibling for graph in made] == [None, made[0]]


def test_losses_outlive_the_next_replay() -> None:
    """A loss that is read late is its own step's, though the graph writes all of them into one place."""
    losses = take(build_stepper(RecordedGraph), [draw_batch(step) for step in range(4)])
    assert len({float(loss) for loss in losses}) == 4


def test_what_cannot_be_captured_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    """Where recording is refused the same steps are taken plainly, and the log says why."""
    batches = [draw_batch(step) for step in range(3)]
    refused, plain = build_stepper(RefusedGraph), build_stepper(None)
    assert torch.equal(torch.stack(take(refused, batches)), torch.stack(take(plain, batches)))
    assert "not permitted when stream is capturing" in caplog.text
    assert refused.describe()["compile_mode"] == "eager"


def test_a_shortage_halves_the_passes_and_captures_anew() -> None:
    """Passes that do not fit are halved, and the steps are those of halved passes from then on."""
    batches = [draw_batch(step) for step in range(3)]
    scarce, plain = build_stepper(ScarceGraph), build_stepper(None)
    first = take(scarce, batches[:1]) + take(plain, batches[:1])
    assert torch.equal(*first)
    plain.gradients.micro_batch = 2
    for step in (1, 2):
        assert torch.equal(scarce.take(batches[step], step), plain.take(batches[step], step))
    assert scarce.gradients.micro_batch == 2
    assert scarce.describe()["compile_mode"] == "captured"
    assert all(torch.equal(one, other) for one, other in zip(read_all(scarce), read_all(plain), strict=True))


def test_released_steps_are_captured_anew() -> None:
    """Giving the recordings' memory back changes no step; there is nothing to give back a second time."""
    batches = [draw_batch(step) for step in range(4)]
    released, plain = build_stepper(RecordedGraph), build_stepper(None)
    take(released, batches[:2])
    assert [released.release(), released.release()] == [True, False]
    take(plain, batches[:2])
    for step in (2, 3):
        assert torch.equal(released.take(batches[step], step), plain.take(batches[step], step))
    assert released.release()
    assert not plain.release()


def test_one_picture_that_cannot_be_captured_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    """Where memory does not suffice to capture even one picture at a time, the same steps are taken plainly."""

    class Full(RecordedGraph):
        def warm_up(self, work: Callable[[], None], runs: int) -> None:
            super().warm_up(work, 1)
            raise torch.OutOfMemoryError("as CUDA says it")

    batches = [draw_batch(step) for step in range(3)]
    full, plain = build_stepper(Full), build_stepper(None)
    full.gradients.micro_batch = plain.gradients.micro_batch = 1
    assert torch.equal(torch.stack(take(full, batches)), torch.stack(take(plain, batches)))
    assert all(torch.equal(one, other) for one, other in zip(read_all(full), read_all(plain), strict=True))
    assert "as CUDA says it" in caplog.text
    assert full.describe()["compile_mode"] == "eager"


def test_buffers_are_the_recordings_own() -> None:
    """What a step is given may be overwritten at once: the recording reads copies."""
    stepper = build_stepper(RecordedGraph)
    take(stepper, [draw_batch(0)])
    assert stepper.captured is not None
    passes = stepper.gradients.prepare(draw_batch(1), 1)
    recording = stepper.captured._record(passes)
    given: list[Pass] = list(passes)
    kept = {tensor.data_ptr() for tensor in list_tensors(recording.passes)}
    assert not kept & {tensor.data_ptr() for tensor in list_tensors(given)}
